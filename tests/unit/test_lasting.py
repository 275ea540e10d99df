"""Growth in files of tmpfs, which outlive a service, told apart from growth of its own."""

from dataclasses import replace

import pytest

from leakguard.core.events import EventKind
from leakguard.core.lasting import KEEP_S, MARKS, RISE_LEAST_BYTES, Mark, remember, share_of_rise
from leakguard.core.policy import Policy
from leakguard.core.sample import Sample
from leakguard.core.series import AGREE
from leakguard.core.units import MIB, Amount
from leakguard.testing.bench import Bench, guarded, sample_of, trend_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

START = FakeClock().now()


def held(after_s: float, mib: float, tmpfs_mib: float | None) -> Sample:
    """Make a sample so many seconds after the start."""
    tmpfs = None if tmpfs_mib is None else int(tmpfs_mib * MIB)
    of_others = 500 * MIB
    sample = sample_of(START.plus(after_s), mib)
    return replace(sample, tmpfs_bytes=tmpfs, mounts_bytes=of_others + (tmpfs or 0))


def walk(*samples: Sample) -> tuple[Mark, ...]:
    """Remember one after the other."""
    marks: tuple[Mark, ...] = ()
    for sample in samples:
        marks = remember(marks, sample)
    return marks


# ---- what is remembered


def test_without_such_files_one_mark_is_enough() -> None:
    """Most services have none; the mark goes along, so that the rise counts from there."""
    marks = walk(*(held(s, 100 + s, 0) for s in range(50)))
    assert [(mark.boot_s - START.boot_s, mark.tmpfs_bytes) for mark in marks] == [(49.0, 0)]


def test_what_is_not_known_is_not_remembered() -> None:
    """And what was known before is of no use then."""
    assert walk(held(0, 100, 5), held(1, 100, None)) == ()


def test_marks_are_few_and_not_old() -> None:
    """However long it grows, and however often it is sampled."""
    marks: tuple[Mark, ...] = ()
    for second in range(int(2 * KEEP_S / 10)):
        marks = remember(marks, held(10.0 * second, 100, 1 + second))
        assert len(marks) <= MARKS
    now = START.boot_s + 2 * KEEP_S
    assert len(marks) >= MARKS // 4
    assert now - 2 * KEEP_S < marks[0].boot_s <= now - KEEP_S / 2


# ---- the share


@pytest.mark.parametrize(
    ("mib", "tmpfs_mib", "share"),
    [
        (200, 100, 1.0),
        (200, 50, 0.5),
        (200, 0, 0.0),
        (150, 100, 1.0),
        (100 + RISE_LEAST_BYTES / MIB - 0.1, 3.9, None),
        (90, 50, None),
    ],
)
def test_the_share_of_a_rise(mib: float, tmpfs_mib: float, share: float | None) -> None:
    """Of the rise since the window began; a small rise, or none, says nothing."""
    marks = walk(held(0, 100, 0))
    assert share_of_rise(marks, held(60, mib, tmpfs_mib), 60.0) == share


def test_only_the_window_counts() -> None:
    """Old files are no growth, and an old warm-up hides no new ones."""
    old = (held(0, 100, 0), held(100, 300, 200))
    marks = walk(*old)
    assert share_of_rise(marks, held(200, 400, 200), 100.0) == 0.0
    assert share_of_rise(marks, held(200, 400, 200), 1000.0) == pytest.approx(2 / 3)


def test_what_does_not_show_on_the_mounts_is_no_file() -> None:
    """A memfd that is only written to looks like a file, and others have files there."""
    marks = walk(held(0, 100, 0))
    last = replace(held(60, 200, 100), mounts_bytes=marks[0].mounts_bytes)
    assert share_of_rise(marks, last, 60.0) == 0.0


def test_what_others_have_on_the_mounts_is_no_growth() -> None:
    """The mounts are read only once there is something to tell: what is there then counts not."""
    before = replace(held(0, 100, 0), mounts_bytes=0)
    marks = walk(before, held(1, 102, 2))
    memfd = replace(held(60, 200, 100), mounts_bytes=marks[-1].mounts_bytes)
    assert share_of_rise(marks, memfd, 60.0) == pytest.approx(0.02)
    assert share_of_rise(marks, held(60, 200, 100), 60.0) == 1.0


def test_what_is_not_known_has_no_share() -> None:
    """In doubt a restart is worth it."""
    assert share_of_rise((), held(0, 100, 0), 60.0) is None
    assert share_of_rise(walk(held(0, 100, 0)), held(60, 200, None), 60.0) is None


# ---- what follows


def filling(share: float, *, policy: Policy | None = None) -> Bench:
    """Let a service grow towards its limit, with so much of it in files of tmpfs."""
    rules = guarded(policy or Policy(), limit=Amount(size_bytes=201 * MIB))
    bench = Bench(rules=rules)
    for second in range(11):
        if second == 8:
            bench.own.trend = replace(trend_of(mib_per_s=10.0), window_s=8.0)
        now = bench.clock.advance(1.0)
        sample = sample_of(now, 100 + 10 * second)
        files = int(share * 10 * second * MIB)
        bench.step(replace(sample, tmpfs_bytes=files, mounts_bytes=files))
    return bench


def test_a_restart_for_files_of_tmpfs_is_held_back() -> None:
    """People are told why, with the numbers, and that a person has to do something."""
    bench = filling(0.9)
    assert EventKind.RESTART_DECIDED not in bench.kinds()
    told = next(event for event in bench.events if event.kind is EventKind.RESTART_VETOED)
    cure = "a restart does not cure it: 90% of the growth is in files of tmpfs"
    assert told.message.startswith("did not restart worker: ")
    assert told.message.endswith(f"({cure})")
    assert (told.details["guard"], told.severity) == ("futile", "warning")
    assert told.details["tmpfs_share"] == pytest.approx(0.9)
    said = [
        event.message
        for event in bench.events
        if event.kind in {EventKind.LEAK_SUSPECTED, EventKind.EXHAUSTION_PREDICTED}
    ]
    assert cure in said[0]
    assert bench.service.last_decision.endswith(f"held back: {cure}")


def test_a_restart_for_memory_of_its_own_is_not() -> None:
    """Half of it is worth a restart."""
    assert EventKind.RESTART_DECIDED in filling(0.5).kinds()


def test_a_new_run_begins_anew() -> None:
    """And so does a series after a fall that three samples agree on."""
    bench = filling(0.9)
    bench.see(100, pid=101)
    assert bench.service.marks == ()
    bench = filling(0.9)
    for _ in range(AGREE):
        now = bench.clock.advance(1.0)
        bench.step(replace(sample_of(now, 20, run=run_of()), tmpfs_bytes=5 * MIB))
    assert [mark.tmpfs_bytes for mark in bench.service.marks] == [5 * MIB]
