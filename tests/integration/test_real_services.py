"""The bench of real services records a real leak until the kernel kills it."""

import threading
from pathlib import Path

import pytest

from tests.bench.real_load import Load, fresh_paths
from tests.bench.real_recorder import MIB, Service, record
from tests.bench.real_starting import python

pytestmark = pytest.mark.root

LIMIT_MIB = 32


def recorded(most_s: float, leak_bytes: int, folder: Path) -> tuple[str, float, int, int]:
    """Record sessions that leak so much a request; give how it ended, its life, samples, use."""
    service = Service(
        name="smoke", shape="linear", limit_mib=LIMIT_MIB, most_s=most_s,
        command=python("py_sessions", leak_bytes), load=Load(client=fresh_paths, per_s=40),
    )  # fmt: skip
    made = record(service, 1, folder, folder / "smoke.log", threading.Event())
    return made.ended, made.life_s, len(made.rows), made.rows[-1].used


def test_a_leak_is_recorded_until_its_kill(tmp_path: Path) -> None:
    """Its last sample is near the limit, there was one a second, and nothing is left of it."""
    ended, life_s, samples, used = recorded(60.0, 150_000, tmp_path)
    assert (ended, used > 0.5 * LIMIT_MIB * MIB) == ("killed", True)
    assert 2 <= samples <= life_s + 1
    assert [file.name for file in tmp_path.iterdir()] == ["smoke.log"]


def test_what_does_not_leak_is_recorded_for_its_time(tmp_path: Path) -> None:
    """Time is up, and the kernel did nothing."""
    ended, life_s, _, used = recorded(3.0, 1, tmp_path)
    assert (ended, used < 0.6 * LIMIT_MIB * MIB) == ("time", True)
    assert life_s >= 3.0
