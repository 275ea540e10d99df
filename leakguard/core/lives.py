"""What earlier lives of a service tell: how far each grew, how long it lasted, how it ended.

A life is one incarnation, or what lies between two falls that gave the memory back. One that grew
steadily until it was cut short is a precedent: when the next life begins to do the same, it is
recognised sooner than the first.
"""

from leakguard.core.fitting import fit_line, slope_of, smooth
from leakguard.core.frozen import dataclass
from leakguard.core.pyramid import Level, Pyramid

LEAST_BUCKETS = 8
WHOLE_SHARE = 0.9
"""A level stands for a life when it covers at least this share of it."""
STEADY_Z = 4.0
STEADY_LATE = 0.8
"""The last third of a steady life grows at least at this share of its slope."""
STEADY_NOISE = 5.0
RESTART_S = 6.5 * 3600.0
"""Sawteeth of collectors are shorter. Without an incarnation to tell, only a longer steady rise
that falls back at once counts as a life that a restart cut short."""
RESTART_SHARE = 0.2
"""Such a rise is at least this share of where it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One life of a series, when it was over. Sizes in bytes."""

    span_s: float
    start_bytes: float
    rise_bytes: float
    top_low_bytes: float
    """The highest of the lowest values before its last third: what it lived with for long. What it
    rose to in the end is no level that it can live with, but what ended it."""
    top_high_bytes: float
    steady: bool = False
    """It grew without slowing down, well above its noise."""
    restarted: bool = False
    """A new incarnation ended it, not a mere fall."""

    @property
    def cut_short(self) -> bool:
        """Whether it grew steadily until a restart ended it."""
        return self.steady and (self.restarted or self.span_s >= RESTART_S)


def summarise(
    pyramid: Pyramid, since_boot_s: float, until_boot_s: float, *, restarted: bool = False
) -> Life | None:
    """Sum up what `pyramid` holds from one moment to another; None where that is too little."""
    span_s = until_boot_s - since_boot_s
    for level in pyramid.levels:
        if level.last is None:
            continue
        count = min(len(level), level.last - int(since_boot_s // level.width_s) + 1)
        if count < LEAST_BUCKETS or count * level.width_s < WHOLE_SHARE * span_s:
            continue
        lows = smooth(level.lows[-count:])
        line, third = fit_line(lows), max(count // 3, 4)
        rise = line.slope * (count - 1)
        steady = (
            line.z >= STEADY_Z
            and slope_of(lows[-third:]) >= STEADY_LATE * line.slope
            and rise >= STEADY_NOISE * line.noise
        )
        floor, ceiling = _tops(level, count)
        return Life(
            span_s=span_s, start_bytes=line.end - rise, rise_bytes=rise, top_low_bytes=floor,
            top_high_bytes=ceiling, steady=steady, restarted=restarted,
        )  # fmt: skip
    return None


def is_restart(life: Life | None) -> bool:
    """Tell whether a fall at the end of such a life was a restart that nobody told of."""
    return (
        life is not None
        and life.steady
        and life.span_s >= RESTART_S
        and life.rise_bytes >= RESTART_SHARE * life.start_bytes
    )


def _tops(level: Level, count: int) -> tuple[float, float]:
    """Give the highest floor and ceiling of a life before its last third."""
    lived = max(count - count // 3, 1)
    first = len(level) - count
    return max(level.lows[first : first + lived]), max(level.highs[first : first + lived])
