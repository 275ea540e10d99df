"""What hooks leave behind is bounded by age, number and size."""

import os
from pathlib import Path

from leakguard.core.plan import StatePlan
from leakguard.runtime.hook_output import MOST_RESTARTS, HookOutput

NOW = 1_000_000.0


def output(folder: Path, *, keep_s: float = 100.0, most_bytes: int = 10**9) -> HookOutput:
    """Keep output beside a state file."""
    path = str(folder / "state.db")
    return HookOutput(StatePlan(path=path, keep_s=keep_s, hook_output_bytes=most_bytes))


def written(kept: HookOutput, name: str, size: int, age_s: float) -> Path:
    """Make the directory of a restart with one file."""
    place = kept.place(name)
    assert place is not None
    (place / "dump").write_bytes(b"x" * size)
    os.utime(place, (NOW - age_s, NOW - age_s))
    return place


def test_what_is_older_than_state_keep_is_deleted(tmp_path: Path) -> None:
    """Events go at that age, and what they point to with them."""
    kept = output(tmp_path)
    old, new = written(kept, "a", 1, 101.0), written(kept, "b", 1, 99.0)
    kept.prune(NOW)
    assert (old.exists(), new.exists()) == (False, True)


def test_beyond_the_size_the_oldest_go(tmp_path: Path) -> None:
    """The newest say most of the leak."""
    kept = output(tmp_path, most_bytes=100_000)
    places = [written(kept, f"r{age}", 40_000, float(age)) for age in (1, 2, 3)]
    kept.prune(NOW)
    assert [place.exists() for place in places] == [True, True, False]


def test_the_number_is_bounded(tmp_path: Path) -> None:
    """A thousand restarts do not leave a thousand directories."""
    kept = output(tmp_path, keep_s=1e9)
    for age in range(MOST_RESTARTS + 3):
        written(kept, f"r{age}", 1, float(age))
    kept.prune(NOW)
    assert len(list((tmp_path / "state.db.hooks").iterdir())) == MOST_RESTARTS


def test_a_link_out_of_the_directory_is_not_followed(tmp_path: Path) -> None:
    """What a hook linked to is not ours to count or delete."""
    kept = output(tmp_path)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    place = written(kept, "a", 1, 101.0)
    (place / "link").symlink_to(precious)
    (tmp_path / "state.db.hooks" / "b").symlink_to(precious)
    os.utime(place, (NOW - 101, NOW - 101))
    kept.prune(NOW)
    assert (place.exists(), (precious / "file").exists()) == (False, True)


def test_without_a_state_file_there_is_no_directory() -> None:
    """Nothing is kept, and nothing is deleted."""
    kept = HookOutput(StatePlan(path=""))
    assert (kept.place("a"), kept.prune(NOW)) == (None, ())
