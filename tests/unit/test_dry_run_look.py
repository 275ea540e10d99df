"""What a dry run asks of driver, hooks and health gate; nothing is signalled, run or asked."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import cast

import pytest

from leakguard.core.decision import Reply
from leakguard.core.dry_run import DryRun, DryRunReply, NamedProcess
from leakguard.core.errors import DriverError
from leakguard.core.sample import Location
from leakguard.drivers.base import Driver
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.bootstrap import DriverBook, Machine, Parts, build
from leakguard.runtime.dry_run import MOST_NAMED, complete, complete_reply
from leakguard.testing.clock import FakeClock
from leakguard.testing.drivers import ScriptedDriver
from leakguard.testing.files import ProcFiles
from leakguard.testing.settings import load_text

FOUND = DryRun(service="w", running=True)
HOOKED = """
services:
  w:
    target: {cmdline: my-worker}
    restart:
      driver: {signal: {respawned_by: runit, to: tree, stop: [{signal: INT, wait: 7s}]}}
      ask: {http: "http://127.0.0.1:9/leave"}
      drain: {http: "http://user:secret@127.0.0.1:9/drain", wait: 30s}
      before: [{command: [/bin/true, before]}]
      after: [{command: [/bin/true, after]}]
      health: {http: "http://user:secret@127.0.0.1:9/healthz", within: 45s}
"""


class Bed:
    """A machine of files, on which one process and its two children run."""

    def __init__(self, folder: Path, text: str = HOOKED) -> None:
        """Build the parts of a configuration."""
        self.files, clock = ProcFiles(folder / "proc"), FakeClock()
        proc = ProcFs(str(folder / "proc"))
        self.machine = Machine(
            clock=clock,
            proc=proc,
            cgroups=CgroupFs(proc, str(folder / "cgroup")),
            children=Children(run_here, clock, proc),
        )
        self.parts = build(load_text(folder, text).plan, self.machine, {}, lambda _service: False)
        self.files.add(10, "my-worker", argv=("my-worker",))
        self.files.add(11, "helper", parent=10, argv=("helper",))

    def ask(self, found: DryRun = FOUND, *, within_s: float = 5.0) -> DryRun:
        """Have a dry run completed."""
        return complete(found, self.parts, self.machine, within_s=within_s)

    def driven_by(self, driver: Driver) -> Parts:
        """Put another driver in the place of the configured one."""
        drivers: Mapping[str, Driver] = {"w": driver}
        self.parts = replace(self.parts, drivers=cast("DriverBook", drivers))
        return self.parts


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    """Give the machine."""
    return Bed(tmp_path)


def test_driver_processes_and_times_are_told(bed: Bed) -> None:
    """The driver's own sentence, who is ended by name, how long they have, who starts it again."""
    found = bed.ask()
    assert (found.driver, found.how) == ("signal", "INT to the tree, KILL after 7s")
    assert found.ends == (
        NamedProcess(pid=10, name="my-worker"),
        NamedProcess(pid=11, name="helper"),
    )
    assert (found.processes, found.stop_within_s, found.started_by) == (2, 7.0, "runit")


def test_hooks_and_gate_are_told_without_their_secrets(bed: Bed) -> None:
    """What comes before and after, in the words of `check`; the gate with its time."""
    found = bed.ask()
    assert found.before == (
        "drains it: POST http://127.0.0.1:9/drain, for 30s at most",
        "runs '/bin/true before', at most 30s",
    )
    assert found.after == ("runs '/bin/true after', at most 30s",)
    assert found.health == "http://127.0.0.1:9/healthz must be well within 45s"


def test_the_question_is_told_where_it_would_be_asked(bed: Bed) -> None:
    """A forced restart asks nobody for leave, and one that has leave does not ask again."""
    asked = bed.ask(replace(FOUND, asks_leave=True)).before
    assert asked[0] == "asks whether it suits: POST http://127.0.0.1:9/leave"
    assert len(asked) == len(bed.ask().before) + 1


def test_what_does_not_run_has_nothing_to_drain(bed: Bed) -> None:
    """Only a run that there was is drained; hooks follow every start but the very first."""
    found = bed.ask(replace(FOUND, running=False))
    assert (found.before, len(found.after)) == ((), 1)
    assert bed.ask(replace(FOUND, running=False, first=True)).after == ()


def test_what_would_fail_is_a_problem_with_its_fix(tmp_path: Path) -> None:
    """What the rehearsal finds, and hooks that cannot be run."""
    text = """
services:
  w:
    target: {cmdline: my-worker}
    restart: {driver: signal, before: [{command: [/nonexistent/dump]}]}
"""
    hook, nobody, *_ = Bed(tmp_path, text).ask().problems
    assert "/nonexistent/dump" in hook
    assert "respawned_by" in nobody


def test_a_service_without_a_driver_is_described_as_far_as_it_goes(tmp_path: Path) -> None:
    """The guard `no_driver` has said so; there is nothing to ask."""
    bed = Bed(tmp_path, "services: {w: {target: {pid: 10}}}")
    found = bed.ask()
    assert (found.driver, found.how, found.ends) == ("", "", ())


def test_what_is_not_there_ends_nobody(bed: Bed) -> None:
    """The driver is asked all the same: whether it could act is known without a process."""
    for pid in (10, 11):
        bed.files.end(pid)
    found = bed.ask(replace(FOUND, running=False))
    assert (found.how, found.processes) == ("INT to the tree, KILL after 7s", 0)


def test_many_processes_are_counted_and_some_named(bed: Bed) -> None:
    """A pool of a hundred workers is no page of text."""
    for pid in range(100, 100 + MOST_NAMED):
        bed.files.add(pid, "worker", parent=10, argv=("worker",))
    found = bed.ask()
    assert (found.processes, len(found.ends)) == (MOST_NAMED + 2, MOST_NAMED)


class HangingDriver(ScriptedDriver):
    """Does not come back from its rehearsal."""

    def __init__(self) -> None:
        """Hang until `go` is set."""
        super().__init__()
        self.go = Event()

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Wait."""
        self.go.wait()
        return ()


@pytest.fixture
def hanging() -> Iterator[HangingDriver]:
    """Give a driver that hangs for the length of a test."""
    driver = HangingDriver()
    yield driver
    driver.go.set()


def test_a_driver_that_hangs_does_not_keep_the_person(bed: Bed, hanging: HangingDriver) -> None:
    """What else is known is told, and that the driver does not answer."""
    bed.driven_by(hanging)
    found = bed.ask(within_s=0.05)
    assert found.problems == (
        "the driver signal did not say within 50ms what it would do: see the log",
    )
    assert found.health != ""


class BrokenDriver(ScriptedDriver):
    """Fails in the middle of its answer."""

    def __init__(self, error: Exception) -> None:
        """Fail by this."""
        super().__init__()
        self.wrong = error

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Fail."""
        raise self.wrong


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DriverError("no bus: start it"), "no bus: start it"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_a_driver_that_fails_is_a_problem(bed: Bed, error: Exception, said: str) -> None:
    """A broken driver of another package is an answer, and no thread dies of it."""
    bed.driven_by(BrokenDriver(error))
    assert bed.ask().problems == (said,)


def test_of_a_service_that_is_not_guarded_any_more_nothing_is_asked(bed: Bed) -> None:
    """A reload came between the judgement and the look; a refused stranger has no dry run."""
    gone = DryRunReply(
        request_id="d", accepted=True, message="", dry_run=DryRun(service="x", running=True)
    )
    stranger = Reply(request_id="d", accepted=False, message="no service named 'x' is guarded")
    here = DryRunReply(request_id="d", accepted=True, message="", dry_run=FOUND)
    replies = [complete_reply(one, bed.parts, bed.machine) for one in (gone, stranger, here)]
    assert replies[:2] == [gone, stranger]
    assert isinstance(replies[2], DryRunReply)
    assert replies[2].dry_run.how == "INT to the tree, KILL after 7s"


def test_no_order_is_given(bed: Bed) -> None:
    """The driver is asked and described, and never told to act."""
    driver = ScriptedDriver()
    bed.driven_by(driver)
    found = bed.ask()
    assert (found.how, driver.orders) == ("does what a test says", [])
    assert [one.pid for one in found.ends] == [10, 11]
