"""Kept statm descriptors: the right process, or an honest "gone"."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from leakguard.core.errors import ReadingError
from leakguard.core.units import MIB
from leakguard.linux.procfs import PAGE_BYTES, ProcessGone, ProcFs
from leakguard.linux.statm import StatmReader, raise_descriptor_limit
from leakguard.testing.files import ProcFiles


@pytest.fixture
def files(tmp_path: Path) -> ProcFiles:
    """Give a /proc with one service, pid 7."""
    files = ProcFiles(tmp_path)
    files.add(7, start=55, anon=8 * MIB, file=2 * MIB)
    return files


def test_sizes_are_in_bytes(files: ProcFiles) -> None:
    """Address space, resident, shared; the second reading comes from the kept descriptor."""
    reader = StatmReader(ProcFs(str(files.root)))
    first = reader.read(7, 55)
    files.size(7, anon=12 * MIB, file=2 * MIB)
    assert first == (40 * MIB, 10 * MIB, 2 * MIB)
    assert reader.read(7, 55) == (56 * MIB, 14 * MIB, 2 * MIB)


def test_another_start_time_is_another_process(files: ProcFiles) -> None:
    """A pid that was used again is never read, and nothing stays open for it."""
    reader = StatmReader(ProcFs(str(files.root)))
    with pytest.raises(ProcessGone, match="used by another"):
        reader.read(7, 54)
    assert len(reader) == 0


def test_zeros_are_a_zombie(files: ProcFiles) -> None:
    """A process that ended has no memory: gone, not "0 bytes"."""
    reader = StatmReader(ProcFs(str(files.root)))
    reader.read(7, 55)
    files.write("7/statm", "0 0 0 0 0 0 0\n")
    with pytest.raises(ProcessGone, match="reaped"):
        reader.read(7, 55)
    assert len(reader) == 0


def test_garbage_is_unknown(files: ProcFiles) -> None:
    """It is neither zero nor an end."""
    files.write("7/statm", "12 x\n")
    with pytest.raises(ReadingError, match="not as expected") as caught:
        StatmReader(ProcFs(str(files.root))).read(7, 55)
    assert not isinstance(caught.value, ProcessGone)


def test_no_more_descriptors_than_allowed(files: ProcFiles) -> None:
    """Beyond the bound the file is opened and closed each time."""
    files.add(8, start=56, anon=PAGE_BYTES)
    reader = StatmReader(ProcFs(str(files.root)), most=1)
    both = [reader.read(7, 55)[1], reader.read(8, 56)[1], reader.read(8, 56)[1]]
    assert (both, len(reader)) == ([10 * MIB, PAGE_BYTES, PAGE_BYTES], 1)


def test_without_descriptors_kept_ones_make_room(files: ProcFiles) -> None:
    """A full table is no reason to lose a reading; with nothing to give up it is unknown."""
    for pid in (8, 9):
        files.add(pid, start=56, anon=PAGE_BYTES)
    proc = ProcFs(str(files.root))
    reader, other = StatmReader(proc), StatmReader(proc)
    reader.read(7, 55)
    reader.read(8, 56)
    with full_table():
        with pytest.raises(ReadingError, match="Too many open files"):
            other.read(9, 56)
        size = reader.read(9, 56)
    assert (size[1], len(reader)) == (PAGE_BYTES, 1)


@contextmanager
def full_table() -> Iterator[None]:
    """Use up every descriptor that this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        with suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        yield


def test_keep_closes_the_others(files: ProcFiles) -> None:
    """Only those named stay open; a forgotten one is opened again when asked for."""
    files.add(8, start=56)
    reader = StatmReader(ProcFs(str(files.root)))
    reader.read(7, 55)
    reader.read(8, 56)
    reader.keep({8})
    assert len(reader) == 1
    assert reader.read(7, 55)[1] == 10 * MIB
    reader.close()
    assert len(reader) == 0


def test_the_limit_on_descriptors_is_raised() -> None:
    """Soft becomes hard; the old one is told, for the services that leakguard starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert raise_descriptor_limit() == (soft, hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
