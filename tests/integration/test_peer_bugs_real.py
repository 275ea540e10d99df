"""Bugs that were seen in other tools, held against real processes; see docs/compared.md.

Each test tells the rule in its docstring, and whose bug it was. What needs no real process is in
tests/scenarios.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, Receiver, until
from tests.workloads.supervised import Supervised, leaking, steady, supervised

GROUPS = {"site": ("web", "api"), "shop": ("cart",)}
FORTY = "40MiB"


def entry(server: Supervised, name: str, above: str = FORTY) -> dict[str, Any]:
    """Guard what supervisord has under a name or pattern."""
    return {
        "mode": "act",
        "target": {"supervisord": {"name": name, "socket": str(server.socket)}},
        "sample_every": "200ms",
        "sample_floor": "100ms",
        "restart": {"threshold": {"above": above}, "forecast": False},
    }


def leaks_once(folder: Path, name: str) -> dict[str, str]:
    """Give a program that leaks to 60 MiB in its first run, and holds 1 MiB in the next."""
    script = folder / f"{name}.sh"
    flag = folder / f"{name}.leaked"
    script.write_text(
        f"#!/bin/sh\n[ -e {flag} ] && exec {steady()}\n: > {flag}\nexec {leaking()}\n"
    )
    return {"command": f"/bin/sh {script}"}


def programs(**changed: dict[str, str]) -> dict[str, dict[str, str]]:
    """Give three programs in two groups that hold 1 MiB, but for those that are named."""
    return {name: {"command": steady()} for name in ("web", "api", "cart")} | changed


def spawned(server: Supervised) -> list[int]:
    """Count how often each of the three was started."""
    return [server.spawned(name) for name in ("web", "api", "cart")]


def assert_nothing_more_for(seconds: float) -> None:
    """Let time pass in which nothing shall happen."""
    with pytest.raises(AssertionError):
        until(lambda: False, seconds)


@pytest.mark.supervisord
def test_a_program_of_a_group_is_guarded_by_its_full_name(tmp_path: Path) -> None:
    """`group:name` is found, measured and restarted as any other, without its group.

    memmon documents `-p group:name=SIZE`, and dies of a KeyError at the first tick.
    """
    with supervised(tmp_path, programs(web=leaks_once(tmp_path, "web")), GROUPS) as server:
        server.running()
        with Daemon(tmp_path, {"services": {"app": entry(server, "site:web")}}) as daemon:
            daemon.wait_for("RestartSucceeded", "app")
            server.running()
        assert spawned(server) == [2, 1, 1]


@pytest.mark.supervisord
def test_a_program_that_two_patterns_match_is_restarted_once(tmp_path: Path) -> None:
    """One act for one process, also when two entries see it above their limits in the same tick.

    memmon restarts a process twice that more than one of `-p`, `-g` and `-a` match.
    """
    with supervised(tmp_path, programs(web=leaks_once(tmp_path, "web")), GROUPS) as server:
        server.running()
        both = {"group": entry(server, "site:*"), "any": entry(server, "*:*")}
        with Daemon(tmp_path, {"services": both}) as daemon:
            daemon.wait_for("RestartSucceeded")
            other = daemon.wait_for("RestartedByOthers")
            assert_nothing_more_for(2.0)
            decided = {event["service"] for event in daemon.events("RestartDecided")}
            failed = daemon.events("RestartFailed") + daemon.events("RestartSkipped")
        assert (len(decided), failed, spawned(server)) == (1, [], [2, 1, 1])
        assert other["message"].endswith(f"it was restarted as {decided.pop()}")


@pytest.mark.supervisord
def test_a_larger_limit_of_its_own_holds_beside_a_general_one(tmp_path: Path) -> None:
    """What has an entry of its own goes by that, and the pattern guards the rest.

    memmon restarts a process that is above `-a` although its own `-p` allows more.
    """
    made = programs(web={"command": steady("60MiB")}, api=leaks_once(tmp_path, "api"))
    with supervised(tmp_path, made, GROUPS) as server:
        server.running()
        services = {"rest": entry(server, "*:*"), "web": entry(server, "site:web", "200MiB")}
        with Daemon(tmp_path, {"services": services}) as daemon:
            daemon.wait_for("RestartSucceeded", "rest:site:api")
            assert_nothing_more_for(2.0)
            seen = {event["service"] for event in daemon.events()} - {None}
        assert (seen, spawned(server)) == ({"rest:site:api"}, [1, 2, 1])


@pytest.mark.supervisord
def test_the_name_of_the_host_is_not_that_of_a_process(tmp_path: Path) -> None:
    """Alerts come from the host as it is called in the configuration, about the service.

    memmon, called with `-n Project1 -p web=1GB`, names itself `web` in what it sends.
    """
    with supervised(tmp_path, programs(web=leaks_once(tmp_path, "web")), GROUPS) as server:
        server.running()
        with Receiver() as receiver:
            config = {
                "host": "Project1",
                "services": {"pages": entry(server, "site:web")},
                "alerts": {
                    "channels": {"hook": {"webhook": {"url": f"{receiver.url}/hook"}}},
                    "routes": [{"severity": "info", "to": ["hook"]}],
                },
            }
            with Daemon(tmp_path, config) as daemon:
                daemon.wait_for("RestartSucceeded", "pages")
                sent = until(lambda: receiver.accepted("/hook"), 20.0, "an alert")
        said = {(one.body["data"]["host"], one.body["data"]["service"]) for one in sent}
        assert said <= {("Project1", "pages"), ("Project1", None)}
        assert {one.body["source"] for one in sent} == {"/leakguard/Project1"}


def test_a_service_is_the_sum_of_its_processes(tmp_path: Path) -> None:
    """Three processes below the threshold are above it together.

    circus' ResourceWatcher takes the largest: two of 80 MB with a child of 80 MB are below 100 MB.
    """
    flag, many = tmp_path / "leaked", " & ".join([steady("20MiB")] * 3)
    script = f"[ -e {flag} ] && exec {steady()}; : > {flag}; {many} & wait"
    service = {
        "mode": "act",
        "target": {"child": {"argv": ["/bin/sh", "-c", script]}},
        "sample_every": "200ms",
        "restart": {"threshold": {"above": FORTY}, "forecast": False, "grace": "0s"},
    }
    with Daemon(tmp_path, {"services": {"app": service}}) as daemon:
        decided = daemon.wait_for("RestartDecided", "app", count=2)
        daemon.wait_for("RestartSucceeded", "app")
        assert_nothing_more_for(1.0)
    assert decided["trigger"] == "threshold"
    assert len(daemon.events("RestartSucceeded")) == 1
