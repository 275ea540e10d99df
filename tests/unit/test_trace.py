"""The course of the memory in a line: all of the present life, between its lowest and highest."""

import pytest

from leakguard.core.series import Series
from leakguard.core.trace import CELLS, sparkline, trace_of
from leakguard.core.units import MIB

HOUR_S = 3600.0


def grown(points: int, every_s: float) -> Series:
    """Give a series that grew by a MiB a sample from 100 MiB on."""
    series = Series()
    for i in range(points):
        series.append(1000.0 + i * every_s, (100.0 + i) * MIB)
    return series


@pytest.mark.parametrize(
    ("points", "every_s", "drawn"),
    [
        (3, 10.0, ""),
        (8, 10.0, "100 MiB ▁▂▃▄▅▆▇█ 107 MiB in 1m 10s"),
        (600, 10.0, "108 MiB ▁▁▂▂▂▃▃▃▄▄▅▅▅▆▆▆▇▇▇██ 699 MiB in 1h 39m"),
        (3000, 60.0, "124 MiB ▁▂▂▂▃▃▃▄▄▅▅▅▆▆▆▇▇██ 3.03 GiB in 2d 1h"),
        (40_000, 60.0, "804 MiB ▁▂▂▃▃▄▄▅▅▆▆▇▇█ 39.2 GiB in 27d"),
    ],
    ids=["young", "minutes", "hours", "days", "weeks"],
)
def test_the_whole_life_is_shown(points: int, every_s: float, drawn: str) -> None:
    """From the finest record that reaches back to its beginning, up to now."""
    assert trace_of(grown(points, every_s)) == drawn


def test_a_leak_rises_in_the_drawing() -> None:
    """However long it lasts, it is a line of so many blocks, each no lower than the one before."""
    drawn = trace_of(grown(3000, 60.0)).split()[2]
    assert (len(drawn) <= CELLS, list(drawn)) == (True, sorted(drawn))


def test_a_flat_series_is_flat() -> None:
    """Nothing divided by nothing draws nothing."""
    assert sparkline([5.0] * 8, 5.0, 5.0, 8) == "▁" * 8


def test_sparkline_shows_the_limit_at_full_height() -> None:
    """Nothing is the lowest block, the limit the full one, and more is not higher."""
    assert sparkline((0, 50, 100, 200), 0, 100, 4) == "▁▅██"


def test_long_history_keeps_its_peaks() -> None:
    """What does not fit is drawn by the highest value of each share, so no peak is lost."""
    assert sparkline((0, 100, 0, 0, 50), 0, 100, 3) == "█▁▅"


def test_nothing_measured_draws_nothing() -> None:
    """An empty history is an empty line."""
    assert sparkline((), 0, 100, 3) == ""
