"""What leakguard says will happen: the one place where the lab asks `leakguard victims`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.vm.guest.groups import place

ANSWER_S = 60.0


def predict(group: Path | None) -> dict[str, Any]:
    """Give the domain as `leakguard victims` sees it now, of the host or of a limited group.

    What went wrong stands under `error`, so that the kill itself is still observed.
    """
    argv = [sys.executable, "-m", "leakguard", "victims", "--json"]
    if group is not None:
        argv += ["--cgroup", str(group)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=ANSWER_S)
        if done.returncode != 0:
            return {"error": f"exit code {done.returncode}: {done.stderr.strip()}"}
        document = json.loads(done.stdout)
        domain = _pick(document["domains"], group) | {"kernel": document["kernel"]}
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    domain["candidates"] = [one for one in domain["candidates"] if one["eligible"]]
    return domain


def _pick(domains: list[dict[str, Any]], group: Path | None) -> dict[str, Any]:
    """Choose the domain that was asked for: the host, or the group, which comes first."""
    if group is not None:
        first = domains[0] if domains else {"kind": "none"}
        same = (first["kind"], first.get("path")) == ("memcg", place(group))
        if not same:
            raise KeyError(f"the first domain is the {first['kind']} {first.get('path')}")
        return first
    hosts = [domain for domain in domains if domain["kind"] == "host"]
    if not hosts:
        raise KeyError("no host among the domains")
    return hosts[0]
