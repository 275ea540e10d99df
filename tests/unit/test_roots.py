"""A service that died, and one whose target only let go of it."""

from pathlib import Path

from leakguard.core.sample import Absent, Incarnation, Reading, Sample, Unreadable
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.roots import Roots
from leakguard.testing.bench import NAME, sample_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import BOOT_ID, ProcFiles

NOW = FakeClock().now()


def sample(pid: int) -> Sample:
    """Read the service as a process that began at tick 100."""
    run = Incarnation(boot_id=BOOT_ID, pid=pid, start_ticks=100)
    return sample_of(NOW, 1, run=run)


def looks(tmp_path: Path, *readings: Reading, ended: int = 0) -> list[tuple[str, ...]]:
    """Read one after the other on a machine with processes 10 and 11, less one that ended."""
    files = ProcFiles(tmp_path / "proc")
    for pid in {10, 11} - {ended}:
        files.add(pid)
    roots = Roots(ProcFs(str(files.root)))
    return [roots.still_running([reading]) for reading in readings]


def test_a_root_that_runs_on_is_told(tmp_path: Path) -> None:
    """The target names another process, or none."""
    absent = Absent(service=NAME, at=NOW, reason="no pidfile")
    assert looks(tmp_path, sample(10), sample(11), absent) == [(), (NAME,), (NAME,)]


def test_a_root_that_ended_is_not(tmp_path: Path) -> None:
    """It died."""
    absent = Absent(service=NAME, at=NOW, reason="gone")
    assert looks(tmp_path, sample(10), absent, ended=10) == [(), ()]
    other = tmp_path / "other"
    assert looks(other, sample(10), sample(11), ended=10) == [(), ()]


def test_a_root_that_is_dying_died(tmp_path: Path) -> None:
    """It has given its memory back, and its state does not say so yet."""
    files = ProcFiles(tmp_path / "proc")
    files.add(10)
    roots = Roots(ProcFs(str(files.root)))
    roots.still_running([sample(10)])
    files.write("10/statm", "0 0 0 0 0 0 0\n")
    assert roots.still_running([Absent(service=NAME, at=NOW, reason="gone")]) == ()


def test_what_was_never_seen_is_not_looked_for(tmp_path: Path) -> None:
    """Nor what could not be read, nor the same process again."""
    absent = Absent(service=NAME, at=NOW, reason="gone")
    failed = Unreadable(service=NAME, at=NOW, reason="no permission")
    assert looks(tmp_path, absent, sample(10), sample(10), failed) == [(), (), (), ()]
