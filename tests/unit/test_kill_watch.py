"""Names of kills for each tick: the kernel's log, the journal on demand, and failed ticks."""

import os
from collections.abc import Callable

import pytest

from leakguard.core.engine import Step
from leakguard.core.errors import ReadingError
from leakguard.core.kill_book import KillBook, Rise, SeenKill
from leakguard.core.kills import Killer, NamedKill
from leakguard.core.oomlog.parse import read_reports
from leakguard.core.oomlog.report import OomReport
from leakguard.core.series import Series
from leakguard.core.state import Death, ServiceRecord, ServiceState, State
from leakguard.linux.children import Children, run_here
from leakguard.linux.kernel_log import KernelLog
from leakguard.runtime import kill_watch
from leakguard.runtime.kill_watch import ASK_EVERY_S, ASK_TWICE, Journal, KillWatch
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

LINE = (
    "[{at:12.6f}] Out of memory: Killed process {pid} (app) total-vm:100kB, anon-rss:80kB, "
    "file-rss:10kB, shmem-rss:5kB, UID:5 pgtables:4kB oom_score_adj:7"
)
CLOCK = FakeClock()


class Kernel(KernelLog):
    """A log that says what the test puts in."""

    def __init__(self) -> None:
        """Watch a pipe that nobody writes to."""
        ends = os.pipe()
        super().__init__(f"/proc/self/fd/{ends[0]}")
        for end in ends:
            os.close(end)
        self.next: list[tuple[int, float]] = []
        self.broken = False

    def read(self, boot_s: float) -> tuple[OomReport, ...]:
        """Give what was put in."""
        if self.broken:
            raise ReadingError("the kernel's log cannot be read: gone")
        lines = [LINE.format(pid=pid, at=at) for pid, at in self.next]
        self.next = []
        return tuple(report for line in lines for report in read_reports([line]))


class Noted(Journal):
    """A journal that notes its questions, and answers when told to."""

    there = True

    def __init__(self, tell: Callable[[tuple[NamedKill, ...]], None]) -> None:
        """Answer by `tell`."""
        super().__init__(Children(run_here, CLOCK), CLOCK, tell)
        self.tell = tell
        self.asked: list[tuple[float, bool]] = []
        self.busy = False

    @property
    def exists(self) -> bool:
        """Say what the test wants."""
        return self.there

    def ask(self, since_wall_s: float, *, kernel: bool, foreign: bool) -> bool:
        """Note it."""
        if self.busy:
            return False
        self.asked.append((CLOCK.now().wall_s - since_wall_s, kernel))
        return True


class World:
    """A watch with both sources."""

    def __init__(self, *, kernel: bool = True, journal: bool = True, foreign: bool = False) -> None:
        self.kernel = Kernel() if kernel else None
        self.journals: list[Noted] = []
        self.woken = 0
        self.watch = KillWatch(
            self.kernel,
            journal_of=self._journal if journal else None,
            wake=self._wake,
            foreign=foreign,
            no_names="/dev/kmsg must not be read",
        )

    def _journal(self, tell: Callable[[tuple[NamedKill, ...]], None]) -> Journal:
        self.journals.append(Noted(tell))
        return self.journals[0]

    def _wake(self) -> None:
        self.woken += 1

    def take(self, owner: str = "") -> tuple[NamedKill, ...]:
        """Take what came."""
        return self.watch.take(CLOCK.now(), lambda _pid: owner).kills

    def tick(self, *dying: int, rises: int = 0, told: int = 0) -> bool:
        """End a tick in which these pids died; tells whether all is to be looked at."""
        now = CLOCK.now()
        deaths = tuple(Death(incarnation=run_of(pid), noticed=now) for pid in dying)
        record = ServiceRecord(name="worker", dying=deaths)
        state = State(
            instance="i",
            services={"worker": ServiceState(record=record, series=Series())},
            kills=KillBook(rises=(Rise(key="v1:/a", count=1, since=now),) * rises),
        )
        kills = (SeenKill(at=now, key=""),) * told
        return self.watch.after(Step(at=now, state=state, kills=kills))


@pytest.fixture(autouse=True)
def _moment() -> None:
    """Let time pass between tests."""
    CLOCK.advance(100.0)


def test_kills_of_the_kernel_carry_the_service_that_had_the_process() -> None:
    """As the collector knew it."""
    world = World()
    assert world.kernel is not None
    world.kernel.next = [(41, 5.0)]
    (kill,) = world.take("worker")
    assert (kill.pid, kill.member_of, kill.foreign) == (41, "worker", False)


def test_pids_of_another_namespace_are_nobodys() -> None:
    """The number means another process here."""
    world = World(foreign=True)
    assert world.kernel is not None
    world.kernel.next = [(41, 5.0)]
    (kill,) = world.take("worker")
    assert (kill.member_of, kill.foreign) == ("", True)


def test_the_kernels_stamp_counts_where_it_fits() -> None:
    """Between two looks at the log; else it is the moment of the look."""
    world = World()
    assert world.kernel is not None
    world.take()
    before = CLOCK.now().boot_s
    now = CLOCK.advance(5.0).boot_s
    world.kernel.next = [(41, before + 2.0), (42, before - 3600.0), (43, now + 9.0)]
    assert [round((k.boot_s or 0.0) - before, 3) for k in world.take()] == [2.0, 5.0, 5.0]


def test_what_a_failed_tick_took_is_given_once_more() -> None:
    """And not for ever: perhaps it is what makes the tick fail."""
    world = World()
    assert world.kernel is not None
    world.kernel.next = [(41, 5.0)]
    assert [[k.pid for k in world.take()] for _ in range(3)] == [[41], [41], []]


def test_what_a_tick_dealt_with_is_over() -> None:
    """Once."""
    world = World()
    assert world.kernel is not None
    world.kernel.next = [(41, 5.0)]
    world.take()
    world.tick()
    assert world.take() == ()


def test_a_death_that_nothing_explains_is_asked_about() -> None:
    """Twice at most, a second apart: journald may be late."""
    world = World()
    for _ in range(4):
        world.tick(7)
        CLOCK.advance(ASK_EVERY_S)
    (journal,) = world.journals
    assert journal.asked == [(kill_watch.LOOK_BACK_S, False)] * ASK_TWICE


def test_an_open_question_is_not_asked_again() -> None:
    """But afterwards."""
    world = World()
    world.journals[0].busy = True
    world.tick(7)
    world.journals[0].busy = False
    CLOCK.advance(0.1)
    world.tick(7)
    CLOCK.advance(0.1)
    world.tick(7)
    assert len(world.journals[0].asked) == 1


def test_at_rest_nobody_is_asked() -> None:
    """A journal costs a process."""
    world = World()
    world.tick()
    world.tick(rises=1)
    assert world.journals[0].asked == []


def test_without_the_kernels_log_counters_ask_the_journal() -> None:
    """For the kernel's lines too."""
    world = World(kernel=False)
    world.tick(rises=1)
    assert (world.journals[0].asked, world.watch.no_names) == ([(kill_watch.LOOK_BACK_S, True)], "")


def test_an_answer_wakes_the_loop() -> None:
    """It is taken in the next tick; an empty one changes nothing."""
    world = World(kernel=False)
    world.journals[0].tell(())
    world.journals[0].tell((NamedKill(pid=5, name="x", killer=Killer.NOHANG),))
    assert ([k.pid for k in world.take()], world.woken) == ([5], 1)


def test_without_any_source_the_reason_is_told() -> None:
    """Each unnamed kill says it."""
    world = World(kernel=False, journal=False)
    assert world.watch.take(CLOCK.now(), lambda _pid: "").no_names == "/dev/kmsg must not be read"
    world.tick(7, rises=1)


def test_a_machine_without_a_journal_has_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is that of the kernel's log."""
    monkeypatch.setattr(Noted, "there", False)
    world = World(kernel=False)
    world.tick(7)
    assert (world.journals[0].asked, world.watch.no_names) == ([], "/dev/kmsg must not be read")


def test_a_log_that_fails_is_given_up() -> None:
    """The journal takes its place."""
    world = World()
    assert world.kernel is not None
    world.kernel.broken = True
    assert world.take() == ()
    world.tick(rises=1)
    assert world.journals[0].asked == [(kill_watch.LOOK_BACK_S, True)]


def test_a_log_that_fails_without_a_journal_leaves_the_reason() -> None:
    """As if it had never been there."""
    world = World(journal=False)
    assert world.kernel is not None
    world.kernel.broken = True
    world.take()
    assert world.watch.no_names == "the kernel's log cannot be read: gone"


def test_a_kill_has_all_services_looked_at() -> None:
    """One of them may be the victim; not more than once a second in a storm."""
    world = World()
    looks = [world.tick(), world.tick(rises=1), world.tick(told=1)]
    CLOCK.advance(kill_watch.LOOK_EVERY_S)
    assert [*looks, world.tick(told=1)] == [False, True, False, True]


def test_closing_twice_is_harmless() -> None:
    """The end may come in two ways."""
    world = World()
    world.watch.close()
    world.watch.close()
    assert world.take() == ()


def test_lost_records_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """Once for each loss."""
    world = World()
    assert world.kernel is not None
    world.kernel.lost = 2
    world.take()
    world.take()
    assert caplog.messages == ["records of the kernel's log were lost before they were read"]


def test_a_default_watch_knows_nothing() -> None:
    """For tests, and for a collector on its own."""
    assert KillWatch().take(CLOCK.now(), lambda _pid: "").kills == ()
