"""The course of a service's memory in one line of text: `96.0 MiB ▁▂▃▄▅▆▇█ 509 MiB in 8h`."""

from collections.abc import Sequence

from leakguard.core.series import Series
from leakguard.core.units import format_bytes, format_duration

BLOCKS = "▁▂▃▄▅▆▇█"
CELLS = 24
LEAST = 4
"""Fewer points show no course."""
COVERS = 0.8
"""A finer level that still shows this share of the life is taken before a coarser one."""


def sparkline(values: Sequence[float], low: float, high: float, cells: int) -> str:
    """Draw values in at most `cells` blocks, the highest of each share; `low` is the lowest block.

    Units do not matter; what lies outside `low` to `high` is drawn at its edge.
    """
    bucket, top = max(1, -(-len(values) // cells)), len(BLOCKS) - 1
    span = max(high - low, 1e-9)
    highest = (max(values[at : at + bucket]) for at in range(0, len(values), bucket))
    shares = (min(1.0, max(0.0, (value - low) / span)) for value in highest)
    return "".join(BLOCKS[round(share * top)] for share in shares)


def trace_of(series: Series) -> str:
    """Draw the present life of a series between its lowest and highest value; empty when young."""
    values, took_s = _course(series)
    if len(values) < LEAST:
        return ""
    low, high = min(values), max(values)
    drawn = sparkline(values, low, high, CELLS)
    return f"{format_bytes(low)} {drawn} {format_bytes(high)} in {format_duration(took_s)}"


def _course(series: Series) -> tuple[Sequence[float], float]:
    """Give the values of the finest record that still reaches back to the beginning of the life."""
    recent, life_s = series.recent, series.span_s()
    if not recent.times or recent.times[-1] - recent.times[0] >= COVERS * life_s:
        return recent.values, life_s
    best: tuple[Sequence[float], float] = recent.values, recent.times[-1] - recent.times[0]
    for level in series.pyramid.levels:
        shown_s = len(level) * level.width_s
        if len(level) >= LEAST and shown_s > best[1]:
            best = [*level.mids, recent.values[-1]], min(shown_s, life_s)
        if best[1] >= COVERS * life_s:
            break
    return best
