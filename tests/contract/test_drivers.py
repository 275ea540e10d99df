"""What holds for every driver, ours and those of other packages, found by name."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import DriverError, LeakguardError
from leakguard.core.sample import Incarnation, Location
from leakguard.drivers.base import Driver, DriverContext, RestartOrder
from leakguard.linux.children import Children, ChildSpec, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.testing.clock import BOOT_ID, FakeClock

NAMES = plugins.names("drivers")

OPTIONS: dict[str, dict[str, Any]] = {
    "command": {"argv": ["/nonexistent/restart-it", "worker"]},
    "docker": {"container": "web", "socket": "/nonexistent/docker.sock"},
    "pool": {"kind": "gunicorn"},
    "signal": {"respawned_by": "runit"},
    "systemd": {"unit": "leakguard-no-such.service", "user": False},
    "supervisord": {"name": "site:web", "socket": "/nonexistent/supervisor.sock"},
    "kubernetes": {"how": "evict", "api": {"token_file": "/nonexistent/token"}},
}
"""Plain options for drivers that cannot do without, chosen so that a right is missing."""

Make = Callable[[str], Driver]


@pytest.fixture
def foreign_proc(tmp_path: Path) -> ProcFs:
    """Give a /proc of another PID namespace, in which our own pid belongs to a stranger."""
    proc = tmp_path / "proc"
    (proc / "sys/kernel/random").mkdir(parents=True)
    (proc / "sys/kernel/random/boot_id").write_text(f"{BOOT_ID}\n")
    (proc / "self").symlink_to("99999999")
    for pid in (1, os.getpid()):
        (proc / str(pid)).mkdir()
        fields = " ".join(["S", "0", *["0"] * 17, "4711", *["0"] * 30])
        (proc / str(pid) / "stat").write_text(f"{pid} (stranger) {fields}\n")
    return ProcFs(str(proc))


@pytest.fixture
def context(foreign_proc: ProcFs) -> DriverContext:
    """Give the context of a service `worker` that cannot be acted on."""
    clock = FakeClock()
    return DriverContext(
        service="worker",
        proc=foreign_proc,
        children=Children(run_here, clock),
        clock=clock,
        locate=lambda: None,
        child=ChildSpec(argv=("/nonexistent/worker",)),
    )


@pytest.fixture
def make(context: DriverContext) -> Make:
    """Give a maker of drivers for the service `worker`."""

    def make_driver(key: str) -> Driver:
        driver = plugins.load("drivers", key).make(OPTIONS.get(key, {}), context)
        assert isinstance(driver, Driver)
        return driver

    return make_driver


def order(incarnation: Incarnation | None) -> RestartOrder:
    """Make an order."""
    return RestartOrder(incarnation=incarnation, reason="a test", deadline_s=5.0, cancelled=Event())


def stranger() -> Incarnation:
    """Name the stranger that has our pid in the other namespace."""
    return Incarnation(boot_id=BOOT_ID, pid=os.getpid(), start_ticks=4711)


@pytest.mark.parametrize("key", NAMES)
def test_every_option_is_documented(key: str) -> None:
    """`leakguard plugins` and the schema explain each option by its own `doc`."""
    loaded = plugins.load("drivers", key)
    assert loaded.summary.endswith(".")
    undocumented = [f.name for f in dataclasses.fields(loaded.options) if not f.metadata.get("doc")]
    assert undocumented == []


@pytest.mark.parametrize("key", NAMES)
def test_a_driver_describes_itself_in_one_sentence(key: str, make: Make) -> None:
    """The words go into events and `check`: one line, short, not empty."""
    words = make(key).describe()
    assert (bool(words), "\n" in words, len(words) < 160) == (True, False, True)


@pytest.mark.parametrize("key", NAMES)
def test_a_driver_says_who_starts_the_service(key: str, make: Make) -> None:
    """`check` prints it; an empty answer means that it is not known."""
    assert "\n" not in make(key).who_starts()


@pytest.mark.parametrize("key", NAMES)
def test_a_rehearsal_names_what_is_missing_and_the_fix(key: str, make: Make) -> None:
    """Each problem is one line `what is wrong: what to do`, and nothing was acted on."""
    problems = make(key).rehearse(Location(root=stranger()))
    assert problems != ()
    assert [p for p in problems if ": " not in p or "\n" in p] == []


@pytest.mark.parametrize("key", NAMES)
def test_a_driver_says_whom_a_restart_ends_or_why_it_cannot(key: str, make: Make) -> None:
    """A dry run shows it: our own process is the root, or the driver says what is in the way."""
    with contextlib.suppress(LeakguardError):
        ending = make(key).ending(Location(root=stranger()))
        assert ending.pids in (None, (os.getpid(),))
        assert ending.within_s is None or ending.within_s > 0


@pytest.mark.parametrize("key", NAMES)
def test_what_cannot_be_done_is_a_driver_error(key: str, make: Make) -> None:
    """A missing right or command is a permanent DriverError with words, never another exception."""
    meant = None if make(key).starts else stranger()
    with pytest.raises(DriverError) as caught:
        make(key).restart(order(meant))
    assert (caught.value.permanent, bool(str(caught.value))) == (True, True)


@pytest.mark.parametrize("key", NAMES)
def test_a_driver_that_could_act_refuses_nothing(key: str, make: Make) -> None:
    """What it says before is what it does then: an order is not held back for nothing."""
    assert make(key).refuses(running=True) == ""


def test_signal_refuses_to_act_until_a_respawn_was_seen(context: DriverContext) -> None:
    """Without `respawned_by` and without a respawn in the past, a signal would end the service."""
    loaded = plugins.load("drivers", "signal")
    driver = loaded.make({}, context)
    with pytest.raises(DriverError, match="respawned_by"):
        driver.restart(order(stranger()))
    assert any("respawned_by" in problem for problem in driver.rehearse(None))
    seen = loaded.make({}, dataclasses.replace(context, respawn_seen=lambda: True))
    assert (seen.rehearse(None), bool(seen.who_starts())) == ((), True)
    assert [bool(d.refuses(running=True)) for d in (driver, seen)] == [True, False]
    assert "not running" in seen.refuses(running=False)


def test_signal_does_not_start_anything(make: Make) -> None:
    """A service that does not run is not for `signal`; trying again later may help."""
    with pytest.raises(DriverError, match="not running") as caught:
        make("signal").restart(order(None))
    assert caught.value.permanent is False


@pytest.mark.parametrize(
    ("key", "options"),
    [
        ("signal", {"stop": [{"signal": "TREM"}]}),
        ("signal", {"stop": [{"signal": "KILL"}, {"signal": "TERM"}]}),
        ("child", {"stop": [{"signal": "TERM", "wait": -1}]}),
        ("pool", {"kind": "gunicorn", "at_once": 0}),
        ("pool", {"kind": "gunicorn", "wait": 0}),
        ("pool", {"kind": "gunicorn", "factor": 0.5}),
        ("command", {"argv": []}),
        ("command", {"argv": ["x"], "timeout": 0}),
        ("docker", {"socket": "docker.sock"}),
        ("docker", {"stop_timeout": -1}),
        ("systemd", {"unit": "worker@*.service"}),
        ("systemd", {"unit": "worker.socket"}),
        ("supervisord", {"name": "web", "socket": "supervisor.sock"}),
        ("supervisord", {"name": "web", "url": "https://127.0.0.1:9001"}),
    ],
)
def test_options_that_cannot_work_are_refused(key: str, options: dict[str, Any]) -> None:
    """What the file alone shows to be wrong is an error before anything is started."""
    with pytest.raises(ValueError, match=r"\w"):
        plugins.load("drivers", key).make(options, None)
