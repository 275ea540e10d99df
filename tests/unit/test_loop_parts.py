"""The parts that the loop waits with: wake-up, agenda, and the state it begins from."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from leakguard.core.errors import DaemonError
from leakguard.core.sample import Incarnation, Measure
from leakguard.core.state import ServiceRecord
from leakguard.runtime.agenda import AT_LEAST_S, Agenda
from leakguard.runtime.restore import known_incarnations, restore
from leakguard.runtime.same_run import is_same_run
from leakguard.runtime.wake import MainThread, Wake
from leakguard.store.base import Saved, SavedSamples
from leakguard.testing.clock import BOOT_ID, FakeClock
from leakguard.testing.ticks import run_of


@pytest.fixture
def wake() -> Iterator[Wake]:
    """Give an open eventfd."""
    made = Wake()
    yield made
    made.close()


# ---- wake


def test_many_wake_ups_count_once(wake: Wake) -> None:
    """The second wait finds none left, and ends by its time."""
    wake.set()
    wake.set()
    wake.wait(30.0)
    wake.wait(0.0)
    wake.wait(-5.0)


def test_a_watched_descriptor_wakes(wake: Wake) -> None:
    """It is left readable for whoever reads it."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    wake.wait(30.0, [reader])
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.close(writer)


def serve(main: MainThread, wake: Wake, done: threading.Event) -> None:
    """Serve calls as the loop does, until the caller is done."""
    while not done.is_set():
        wake.wait(0.05)
        main.run_pending()


def called_from_a_thread(wake: Wake, work: object) -> list[object]:
    """Let a thread call through the main thread, and give what it got."""
    main, got, done = MainThread(wake), list[object](), threading.Event()

    def ask() -> None:
        try:
            got.append(main(work))  # type: ignore[arg-type]  # the tests hand in functions
        except ValueError as error:
            got.append(str(error))
        finally:
            done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    serve(main, wake, done)
    thread.join(30.0)
    return got


def test_work_for_the_main_thread_is_done_there(wake: Wake) -> None:
    """What it starts dies with it."""
    assert called_from_a_thread(wake, threading.current_thread) == [threading.main_thread()]


def test_an_error_in_the_main_thread_is_raised_where_it_was_asked(wake: Wake) -> None:
    """The loop goes on."""

    def fail() -> None:
        raise ValueError("no")

    assert called_from_a_thread(wake, fail) == ["no"]


def test_work_that_was_given_up_is_not_done_later(
    wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child that nobody waits for any more would have no owner."""
    monkeypatch.setattr("leakguard.runtime.wake.ANSWER_S", 0.01)
    main, done = MainThread(wake), list[int]()

    def ask() -> None:
        with pytest.raises(DaemonError):
            main(lambda: done.append(1))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30.0)
    main.run_pending()
    assert done == []


def test_in_the_main_thread_and_after_the_end_work_is_done_at_once(wake: Wake) -> None:
    """There is nobody to wait for."""
    main = MainThread(wake)
    assert main(lambda: 5) == 5
    main.close()
    got: list[int] = []
    thread = threading.Thread(target=lambda: got.append(main(lambda: 6)))
    thread.start()
    thread.join(30.0)
    assert got == [6]


def test_a_main_thread_that_does_not_serve_is_said(
    wake: Wake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer is no result."""
    monkeypatch.setattr("leakguard.runtime.wake.ANSWER_S", 0.01)
    main, said = MainThread(wake), list[str]()

    def ask() -> None:
        with pytest.raises(DaemonError) as caught:
            main(lambda: None)
        said.append(str(caught.value))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join(30.0)
    assert said == ["the main thread gave no answer within 0.01 s"]


# ---- agenda


def test_what_is_not_in_the_agenda_is_due_at_once() -> None:
    """A new service is looked at."""
    agenda, now = Agenda(), FakeClock().now()
    agenda.set("a", now.boot_s + 5)
    agenda.set("b", now.boot_s)
    assert agenda.due(["a", "b", "c"], (), now) == ("b", "c")


def test_what_is_asked_about_is_due_by_its_own_or_its_entrys_name() -> None:
    """A request for `worker` looks at all of its slots."""
    agenda, now = Agenda(), FakeClock().now()
    for name in ("worker:1", "worker:2", "other"):
        agenda.set(name, now.boot_s + 5)
    names = ("worker:1", "worker:2", "other")
    assert agenda.due(names, {"worker"}, now) == ("worker:1", "worker:2")
    assert agenda.due(names, {"worker:2"}, now) == ("worker:2",)


@pytest.mark.parametrize(("in_s", "wait"), [(5.0, 5.0), (-1.0, 0.0), (99.0, AT_LEAST_S)])
def test_the_loop_waits_for_the_first_that_is_due(in_s: float, wait: float) -> None:
    """And never longer than a bit, to see jumps and deadlines."""
    agenda, now = Agenda(), FakeClock().now()
    agenda.set("a", now.boot_s + in_s)
    agenda.set("b", now.boot_s + 500)
    assert (agenda.wait_s(["a", "b"], now), agenda.wait_s([], now)) == (wait, AT_LEAST_S)


def test_hastened_is_due_at_once() -> None:
    """Whatever was planned."""
    agenda, now = Agenda(), FakeClock().now()
    agenda.set("a", now.boot_s + 5.004)
    planned = agenda.sample_in_s("a", now)
    agenda.hasten("a")
    assert (planned, agenda.sample_in_s("a", now), agenda.wait_s(["a"], now)) == (5.0, 0.0, 0.0)


def test_hastened_while_it_is_read_is_due_once_more() -> None:
    """The kernel's word about a limit must not be lost to the time that the loop sets."""
    agenda, now = Agenda(), FakeClock().now()
    assert agenda.due(["a"], (), now) == ("a",)
    agenda.hasten("a")  # another thread, while the loop collects
    agenda.set("a", now.boot_s + 10)
    assert agenda.wait_s(["a"], now) == 0.0
    assert agenda.due(["a"], (), now) == ("a",)
    agenda.set("a", now.boot_s + 10)
    assert (agenda.due(["a"], (), now), agenda.wait_s(["a"], now)) == ((), 10.0)


# ---- restore


def saved(run: Incarnation) -> Saved:
    """Make what a store kept: a record of one run, samples of another or the same."""
    return Saved(
        instance="i",
        serial=7,
        records={
            "": ServiceRecord(name="", oom_kills=1),
            "worker": ServiceRecord(name="worker", incarnation=run_of(100)),
            "new": ServiceRecord(name="new"),
        },
        samples={
            "worker": SavedSamples(
                incarnation=run, measure=Measure.AUTO, recent=((60.0, 1), (70.0, 2))
            )
        },
    )


@pytest.mark.parametrize(("pid", "points"), [(100, 2), (101, 0)])
def test_the_series_of_the_known_run_goes_on(pid: int, points: int) -> None:
    """Another run's samples are no past."""
    state = restore(saved(run_of(pid)))
    assert (state.instance, state.serial, state.own.oom_kills) == ("i", 7, 1)
    assert sorted(state.services) == ["new", "worker"]
    assert len(state.services["worker"].series) == points
    assert len(state.services["new"].series) == 0


@pytest.mark.parametrize(
    ("measure", "boot_id", "points"),
    [(Measure.AUTO, BOOT_ID, 2), (Measure.RSS, BOOT_ID, 0), (Measure.AUTO, "another boot", 0)],
)
def test_a_series_goes_on_only_by_the_same_measure_and_in_the_same_boot(
    measure: Measure, boot_id: str, points: int
) -> None:
    """A slope from one measure to another is none, and times since another boot say nothing."""
    now = replace(FakeClock().now(), boot_id=boot_id)
    state = restore(saved(run_of()), measures={"worker": measure}, now=now)
    assert len(state.services["worker"].series) == points


def test_known_incarnations_are_those_of_the_records() -> None:
    """For the roster and for children that outlived an earlier daemon."""
    assert known_incarnations(restore(saved(run_of()))) == {"worker": run_of()}


def test_nothing_saved_is_an_empty_state() -> None:
    """A first start."""
    state = restore(Saved(instance="i"))
    assert (state.services, state.own) == ({}, ServiceRecord(name=""))


# ---- the same run


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"pid": 2}, False),
        ({"start_ticks": 2}, False),
        ({"boot_id": "c"}, False),
        ({"token": "c0ffee"}, False),
    ],
)
def test_a_run_is_known_by_boot_pid_and_start(changes: dict[str, Any], same: bool) -> None:
    """Pids and start times come again after a boot."""
    one = Incarnation(boot_id="b", pid=1, start_ticks=1)
    assert is_same_run(one, replace(one, **changes)) is same


@pytest.mark.parametrize(
    ("changes", "same"),
    [({"pid": 2, "start_ticks": 2}, True), ({"token": "decaf"}, False), ({"boot_id": "c"}, False)],
)
def test_a_managers_own_identity_alone_decides_within_a_boot(
    changes: dict[str, Any], same: bool
) -> None:
    """A container keeps its id over a boot, and runs anew all the same."""
    one = Incarnation(boot_id="b", pid=1, start_ticks=1, token="c0ffee")
    assert is_same_run(one, replace(one, **changes)) is same


def test_nothing_is_the_same_run_as_nothing() -> None:
    """And as nothing else."""
    one = Incarnation(boot_id="b", pid=1, start_ticks=1)
    assert (is_same_run(None, None), is_same_run(one, None), is_same_run(None, one)) == (
        True,
        False,
        False,
    )
