"""Kept descriptors of small files: fresh content, bounded in number."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from leakguard.linux.keptfiles import KeptFiles


@pytest.fixture
def files() -> Iterator[KeptFiles]:
    """Give a keeper of at most two files."""
    keeper = KeptFiles(most=2)
    yield keeper
    keeper.close()


def test_each_reading_is_fresh(files: KeptFiles, tmp_path: Path) -> None:
    """The same descriptor gives what the file holds now."""
    path, seen = tmp_path / "a", []
    for content in (b"1", b"22", b""):
        path.write_bytes(content)
        seen.append(files.read(str(path)))
    assert (seen, len(files)) == ([b"1", b"22", b""], 1)


def test_not_more_than_allowed(files: KeptFiles, tmp_path: Path) -> None:
    """Beyond the bound a file is opened and closed."""
    for name in "abc":
        (tmp_path / name).write_text(name)
    assert [files.read(str(tmp_path / name)) for name in "abcc"] == [b"a", b"b", b"c", b"c"]
    assert len(files) == 2


def test_a_missing_file_is_an_error(files: KeptFiles, tmp_path: Path) -> None:
    """And nothing is kept of it."""
    with pytest.raises(FileNotFoundError):
        files.read(str(tmp_path / "a"))
    assert len(files) == 0


def test_a_folder_cannot_be_read(files: KeptFiles, tmp_path: Path) -> None:
    """What opens and does not read is closed again."""
    with pytest.raises(IsADirectoryError):
        files.read(str(tmp_path))
    assert len(files) == 0


def test_the_last_descriptor_is_given_up(files: KeptFiles, tmp_path: Path) -> None:
    """When the process has none left, a kept one makes room."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    files.read(str(tmp_path / "a"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        top = stack.enter_context((tmp_path / "a").open()).fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        assert files.read(str(tmp_path / "b")) == b"b"
    assert len(files) == 1


def test_only_what_lies_in_these_folders_stays(files: KeptFiles, tmp_path: Path) -> None:
    """The folder itself counts, not those below."""
    for folder in ("x", "x/y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text(folder)
        files.read(str(tmp_path / folder / "a"))
    files.keep([str(tmp_path / "x")])
    assert len(files) == 1


def test_a_keeper_that_is_not_needed_any_more_closes_its_files(tmp_path: Path) -> None:
    """Nobody has to think of it where a reader lives as long as what it reads."""
    path = tmp_path / "a"
    path.write_bytes(b"1")
    keeper = KeptFiles()
    keeper.read(str(path))
    (descriptor,) = keeper._kept.values()  # noqa: SLF001  nothing else tells which one it is
    del keeper
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
