"""What the guard beside the leak carries: modules of a daemon that really runs, and of `health`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.alerts import AlertRules
from leakguard.core.plan import ChannelPlan, HttpPlan, Plan, PluginSpec, ServicePlan, StatePlan
from leakguard.core.policy import ServiceRules
from leakguard.runtime.handover import Launch, Options, memory_file

HEAVY = {
    "apprise",
    "click",
    "docker",
    "kubernetes",
    "matplotlib",
    "numpy",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "rich",
    "textual",
    "yaml",
}

RARE = {
    "ctypes",
    "decimal",
    "difflib",
    "fractions",
    "jeepney",
    "psutil",
    "redis",
    "statistics",
    "xmlrpc",
}
"""What only a rare question or an entry of its own needs: imported where that is, in a function."""

PLUGINS = {
    "drivers": {"signal"},
    "notifiers": {"slack", "webhook"},
    "targets": {"cmdline", "pidfile"},
}
"""What the plan below names. A module beside it that is shared begins with an underscore."""

DAEMON = """
import contextlib, json, os, sys
from leakguard.core.errors import NotifyError
from leakguard.notifiers import _http
from leakguard.runtime import main
from leakguard.runtime.assembly import Assembly
from leakguard.runtime.handover import read_plan
from leakguard.runtime.upkeep import fired, schedules_of
from leakguard.runtime.wake import Wake

main.log.set_up("off")
everything = Assembly(read_plan(int(sys.argv[1])), Wake())
everything.web.start()
sampled = len(everything.daemon.tick().samples)
everything.scheduler.start(schedules_of(everything.plan), fired(everything.live.state))
everything.rehearsal.run(everything.live.parts)
everything.back.status()
with contextlib.suppress(NotifyError):
    _http.post("http://127.0.0.1:9/", b"", {})
everything.scheduler.close()
everything.web.close()
print(json.dumps({"sampled": sampled, "modules": sorted(sys.modules)}))
sys.stdout.flush()
os._exit(0)
"""

HEALTH = """
import json, sys

before = set(sys.modules)  # what the interpreter's own start brought along
from leakguard.cli.main import main

code = main(["health", "--socket", sys.argv[1], "--timeout", "1"])
print(json.dumps({"code": code, "added": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture
def watched() -> Iterator[int]:
    """A process that does nothing."""
    with subprocess.Popen(["sleep", "120"]) as sleeper:
        yield sleeper.pid
        sleeper.kill()


def plan(folder: Path, pid: int) -> Plan:
    """Give a plan with targets, a driver, both channels, a state file and both listeners."""
    pidfile = folder / "watched.pid"
    pidfile.write_text(f"{pid}\n", "ascii")
    url = "http://127.0.0.1:9/x"
    targets = {
        "one": PluginSpec(key="pidfile", options={"path": str(pidfile)}),
        "two": PluginSpec(key="cmdline", options={"pattern": "no-such-program"}),
    }
    return Plan(
        host="testhost",
        services=tuple(
            ServicePlan(
                rules=ServiceRules(name=name),
                target=target,
                driver=PluginSpec(key="signal", options={"respawned_by": "the test"}),
            )
            for name, target in targets.items()
        ),
        channels=(
            ChannelPlan(name="ops", notifier=PluginSpec(key="slack", options={"webhook_url": url})),
            ChannelPlan(name="hook", notifier=PluginSpec(key="webhook", options={"url": url})),
        ),
        alerts=AlertRules(),
        http=HttpPlan(listen="127.0.0.1:0"),
        state=StatePlan(path=str(folder / "state.db")),
        socket_path=str(folder / "control.sock"),
    )


@pytest.fixture
def seen(tmp_path: Path, watched: int) -> dict[str, Any]:
    """What a daemon that sampled, served, scheduled, rehearsed and sent says of itself."""
    fd = memory_file(Launch(plan=plan(tmp_path, watched), options=Options(log_level="off")))
    try:
        done = subprocess.run(
            [sys.executable, "-c", DAEMON, str(fd)],
            pass_fds=(fd,),
            check=True,
            stdout=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(fd)
    return dict(json.loads(done.stdout))


def test_the_daemon_never_imports_what_it_does_not_need(seen: dict[str, Any]) -> None:
    """It has no library that only the configuration needs, and none that few ever need."""
    packages = {name.partition(".")[0] for name in seen["modules"]}
    assert (seen["sampled"], packages & (HEAVY | RARE)) == (1, set())


@pytest.mark.parametrize("kind", PLUGINS)
def test_the_daemon_imports_only_the_plugins_that_are_configured(
    kind: str, seen: dict[str, Any]
) -> None:
    """A plug-in that the plan does not name costs nothing."""
    prefix = f"leakguard.{kind}."
    loaded = {n.removeprefix(prefix) for n in seen["modules"] if n.startswith(prefix)}
    assert {name for name in loaded if name[0] != "_"} - {"base"} == PLUGINS[kind]


def test_health_needs_the_standard_library_alone(tmp_path: Path) -> None:
    """A probe that runs every few seconds imports nothing from outside, and nothing of the core."""
    done = subprocess.run(
        [sys.executable, "-c", HEALTH, str(tmp_path / "nobody.sock")],
        check=True,
        capture_output=True,
        timeout=60,
    )
    seen = json.loads(done.stdout)
    foreign = [n for n in seen["added"] if n.partition(".")[0] not in sys.stdlib_module_names]
    foreign = [n for n in foreign if n.rpartition(".")[0] != "leakguard.cli"]
    assert (seen["code"], sorted(foreign)) == (1, ["leakguard", "leakguard.cli"])
