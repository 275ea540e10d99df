"""A supervisor that stays while what is below it restarts is warned of."""

from pathlib import Path

import pytest

from leakguard.core.sample import Incarnation, Location
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.unseen import unseen_restarts
from leakguard.testing.files import BOOT_ID, ProcFiles


def warnings(folder: Path, name: str, driver: str, *, children: bool = True) -> tuple[str, ...]:
    """Ask about pid 10 of that name."""
    files = ProcFiles(folder)
    files.add(10, name)
    if children:
        files.add(11, "worker", parent=10)
    root = Incarnation(boot_id=BOOT_ID, pid=10, start_ticks=100)
    return tuple(unseen_restarts(Location(root=root, name=name), driver, ProcFs(str(folder))))


@pytest.mark.parametrize("name", ["supervisord", "runsv", "PM2 v5.3.0: God"])
def test_a_supervisor_with_children_is_warned_of(tmp_path: Path, name: str) -> None:
    """A command may restart what is below it, and the root stays."""
    (text,) = warnings(tmp_path, name, "command")
    assert text.startswith(f"cannot see a restart below pid 10 ({name}) but by its memory")


@pytest.mark.parametrize(
    ("name", "driver", "children"),
    [
        ("gunicorn", "command", True),
        ("tini", "command", True),
        ("supervisord", "signal", True),
        ("supervisord", "", True),
        ("supervisord", "command", False),
    ],
)
def test_what_ends_with_its_root_is_not(
    tmp_path: Path, name: str, driver: str, *, children: bool
) -> None:
    """Other roots are replaced, other drivers end the root, and nothing runs below a lone one."""
    assert warnings(tmp_path, name, driver, children=children) == ()


def test_a_root_that_ended_is_no_matter(tmp_path: Path) -> None:
    """It vanished while it was looked at."""
    ProcFiles(tmp_path)
    root = Incarnation(boot_id=BOOT_ID, pid=10, start_ticks=100)
    location = Location(root=root, name="supervisord")
    assert tuple(unseen_restarts(location, "command", ProcFs(str(tmp_path)))) == ()
