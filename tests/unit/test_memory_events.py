"""Kernel wake-ups, where there is no kernel to give them: silent, with a reason."""

from pathlib import Path
from threading import Event

import pytest

from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupDir
from leakguard.linux.memory_events import MemoryEvents
from leakguard.testing.files import CgroupFiles


def group(files: CgroupFiles, path: str) -> CgroupDir:
    """Name a group of files."""
    return CgroupDir(
        version=files.version,
        path=path,
        directory=str(files.top / path.strip("/")),
        top=str(files.top),
        complete=True,
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_that_cannot_be_watched_has_a_reason(tmp_path: Path, version: int) -> None:
    """It names group and file, is told each time, and goes when nobody asks for the group."""
    files = CgroupFiles(tmp_path, version)
    files.add("/a", limit=MIB)
    (files.top / "a" / ("memory.oom_control" if version == 1 else "memory.events")).unlink()
    events = MemoryEvents(Event().set)
    missing = group(files, "/a")
    answers = [events.watch({missing}), events.watch({missing}), events.watch(())]
    events.close()
    assert [list(answer) for answer in answers] == [[f"v{version}:/a"], [f"v{version}:/a"], []]
    assert "cgroup /a" in answers[0][missing.key]
    assert "No such file" in answers[0][missing.key]


def test_a_refused_group_is_tried_again_when_it_changes(tmp_path: Path) -> None:
    """A new limit, or a group made anew, is another chance."""
    files = CgroupFiles(tmp_path, 2)
    files.add("/a", limit=MIB)
    events_file = files.top / "a" / "memory.events"
    events_file.unlink()
    events = MemoryEvents(Event().set)
    refused = events.watch({group(files, "/a")})
    files.add("/a", limit=2 * MIB)
    accepted = events.watch({group(files, "/a")})
    events.close()
    assert (len(refused), accepted) == (1, {})


def test_nothing_wakes_while_nothing_happens(tmp_path: Path) -> None:
    """Files that are no cgroup files never become ready."""
    files = CgroupFiles(tmp_path, 2)
    files.add("/a", limit=MIB)
    woken = Event()
    events = MemoryEvents(woken.set)
    assert events.watch({group(files, "/a")}) == {}
    assert not woken.wait(0.1)
    events.close()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    """And nothing is watched afterwards."""
    files = CgroupFiles(tmp_path, 2)
    files.add("/a", limit=MIB)
    events = MemoryEvents(Event().set)
    events.watch({group(files, "/a")})
    events.close()
    events.close()
    assert events.watch({group(files, "/a")}) == {}
