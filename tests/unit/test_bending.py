"""The limits of a cgroup are read and changed as its version wants it, and never put below use."""

from pathlib import Path

import pytest

from leakguard.core.errors import DriverError
from leakguard.core.limits import MemoryLimits
from leakguard.core.units import MIB
from leakguard.linux.bending import bend, is_gone, limits_of

NONE_V1 = 9223372036854771712


def v1(folder: Path, limit: int, both: int | None = None) -> Path:
    """Make a cgroup of version 1."""
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    if both is not None:
        (folder / "memory.memsw.limit_in_bytes").write_text(f"{both}\n")
    return folder


def v2(folder: Path, limit: str, *, high: str = "max", used: int = 0, file: int = 0) -> Path:
    """Make a cgroup of version 2."""
    for name, text in (("max", limit), ("high", high), ("current", str(used))):
        (folder / f"memory.{name}").write_text(f"{text}\n")
    (folder / "memory.stat").write_text(f"anon 4096\nfile {file}\nshmem 0\n")
    return folder


def test_version_1_is_read_without_a_high(tmp_path: Path) -> None:
    """The largest number of pages means no limit."""
    assert limits_of(str(v1(tmp_path, 64 * MIB))) == MemoryLimits(max_bytes=64 * MIB)
    assert limits_of(str(v1(tmp_path, NONE_V1))) == MemoryLimits()


def test_version_2_is_read_with_its_high(tmp_path: Path) -> None:
    """`max` means none."""
    assert limits_of(str(v2(tmp_path, str(64 * MIB), high="4096"))) == MemoryLimits(
        high_bytes=4096, max_bytes=64 * MIB
    )
    assert limits_of(str(v2(tmp_path, "max"))) == MemoryLimits()


def test_memory_and_swap_together_move_along(tmp_path: Path) -> None:
    """Version 1 refuses a limit above that of both; the way back is the same."""
    group = v1(tmp_path, 64 * MIB, both=80 * MIB)
    bend(str(group), MemoryLimits(max_bytes=96 * MIB))
    assert (group / "memory.memsw.limit_in_bytes").read_text() == str(112 * MIB)
    assert (group / "memory.limit_in_bytes").read_text() == str(96 * MIB)
    bend(str(group), MemoryLimits(max_bytes=64 * MIB))
    assert (group / "memory.memsw.limit_in_bytes").read_text() == str(80 * MIB)


def test_no_limit_on_both_stays_none(tmp_path: Path) -> None:
    """Nothing has to move."""
    group = v1(tmp_path, 64 * MIB, both=NONE_V1)
    bend(str(group), MemoryLimits(max_bytes=96 * MIB))
    assert (group / "memory.memsw.limit_in_bytes").read_text() == f"{NONE_V1}\n"


def test_version_2_takes_both(tmp_path: Path) -> None:
    """What is none is written as such."""
    group = v2(tmp_path, str(64 * MIB))
    bend(str(group), MemoryLimits(high_bytes=60 * MIB, max_bytes=96 * MIB))
    assert (group / "memory.max").read_text() == str(96 * MIB)
    assert (group / "memory.high").read_text() == str(60 * MIB)
    bend(str(group), MemoryLimits(max_bytes=64 * MIB))
    assert (group / "memory.high").read_text() == "max"


def test_version_1_cannot_throttle(tmp_path: Path) -> None:
    """Its soft limit slows nobody down, so nobody is told that it does."""
    with pytest.raises(DriverError, match=r"cgroup version 1 has no memory\.high") as told:
        bend(str(v1(tmp_path, 64 * MIB)), MemoryLimits(high_bytes=MIB, max_bytes=64 * MIB))
    assert told.value.permanent


@pytest.mark.parametrize(("file", "works"), [(0, False), (40 * MIB, True)])
def test_a_limit_below_what_is_in_use_is_refused(tmp_path: Path, file: int, works: bool) -> None:
    """On version 2 it would kill at once; file pages can be dropped."""
    group = v2(tmp_path, str(96 * MIB), used=80 * MIB, file=file)
    limits = MemoryLimits(max_bytes=64 * MIB)
    if works:
        bend(str(group), limits)
        assert limits_of(str(group)) == limits
        return
    with pytest.raises(DriverError, match=r"80\.0 MiB are in use, more than 64\.0 MiB"):
        bend(str(group), limits)
    assert limits_of(str(group)).max_bytes == 96 * MIB


def test_what_is_no_cgroup_is_named(tmp_path: Path) -> None:
    """A place that is gone has no limit to put back."""
    with pytest.raises(DriverError, match="has no memory limit, or is gone"):
        limits_of(str(tmp_path))
    assert (is_gone(str(tmp_path)), is_gone(str(tmp_path / "not"))) == (False, True)


def test_a_size_that_is_none_is_an_error(tmp_path: Path) -> None:
    """It is not guessed."""
    (tmp_path / "memory.limit_in_bytes").write_text("plenty\n")
    with pytest.raises(DriverError, match="says 'plenty', which is no size"):
        limits_of(str(tmp_path))


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """With what the kernel said."""
    group = v2(tmp_path, "max")
    (group / "memory.high").unlink()
    (group / "memory.high").mkdir()
    with pytest.raises(DriverError, match=r"cannot read .*memory\.high: Is a directory"):
        bend(str(group), MemoryLimits(max_bytes=MIB))
