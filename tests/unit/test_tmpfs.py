"""Which tmpfs mounts outlive a service, by two tables of mounts."""

import os
from pathlib import Path

import pytest

from leakguard.linux.procfs import ProcFs
from leakguard.linux.tmpfs import lasting_mounts, used_bytes
from leakguard.testing.files import ProcFiles


def line(point: Path, *, kind: str = "tmpfs", root: str = "/", device: str = "") -> str:
    """Make a line of mountinfo; the device is that of the place itself unless told."""
    number = point.stat().st_dev if point.exists() else 0
    device = device or f"{os.major(number)}:{os.minor(number)}"
    place = str(point).replace(" ", "\\040")
    return f"30 20 {device} {root} {place} rw,nosuid shared:1 - {kind} none rw\n"


def mounts(folder: Path, own: str, theirs: str) -> tuple[str, ...] | None:
    """Give the lasting mounts of process 10, with these two tables."""
    files = ProcFiles(folder / "proc")
    files.add(10)
    files.write("2/mountinfo", own)
    files.write("10/mountinfo", theirs)
    return lasting_mounts(ProcFs(str(files.root)), 10)


def test_a_mount_that_both_see_outlives_the_service(tmp_path: Path) -> None:
    """Other file systems do not hold memory, and a bind mount is counted once."""
    place, again = tmp_path / "a b", tmp_path / "again"
    place.mkdir()
    again.mkdir()
    table = line(place) + line(again) + line(tmp_path / "disk", kind="ext4")
    assert mounts(tmp_path, table, table) == (str(place),)


@pytest.mark.parametrize(
    "theirs",
    [
        {"device": "0:999"},
        {"root": "/systemd-private-1/tmp"},
        {"kind": "ext4"},
    ],
    ids=["of a container", "PrivateTmp", "another"],
)
def test_what_only_the_service_sees_goes_with_it(tmp_path: Path, theirs: dict[str, str]) -> None:
    """At the same place something else is mounted for it."""
    assert mounts(tmp_path, line(tmp_path), line(tmp_path, **theirs)) == ()


def test_a_mount_below_another_one_is_not_seen(tmp_path: Path) -> None:
    """The place shows what lies on top."""
    hidden = line(tmp_path, device="0:999")
    assert mounts(tmp_path, hidden, hidden) == ()


def test_nobody_looks_below_a_remote_mount(tmp_path: Path) -> None:
    """Its server may be gone, and the guard must not wait for that."""
    inner = tmp_path / "inner"
    inner.mkdir()
    table = line(tmp_path, kind="nfs4") + line(inner)
    assert mounts(tmp_path, table, table) == ()


def test_a_table_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    """Unknown is not none."""
    files = ProcFiles(tmp_path / "proc")
    assert lasting_mounts(ProcFs(str(files.root)), 10) is None


def test_what_is_used(tmp_path: Path) -> None:
    """In bytes; a mount that has gone holds nothing."""
    space = os.statvfs(tmp_path)
    used = (space.f_blocks - space.f_bfree) * space.f_frsize
    assert used_bytes((str(tmp_path),)) == pytest.approx(used, rel=0.2)
    assert used_bytes((str(tmp_path / "gone"),)) == 0
