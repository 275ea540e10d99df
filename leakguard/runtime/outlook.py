"""What the guard would say of a recorded series, instant by instant: the live code over a file.

A series learns from its own forecasts only: what others in the file did is not known to it.
"""

from typing import Any

from leakguard.core.calibration import UNPROMISED, UNTRIED, learned
from leakguard.core.forecast import Forecast, LimitKind, Room, forecast
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.series import Series
from leakguard.core.trend import Detector, Trend, Verdict

LEAST = 12
"""Samples before the first judgement, and the most between two."""
YOUNG_SHARE = 10
"""A young series is judged each time it has grown by this part of its samples."""
DIGITS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is said of a series at one instant."""

    series: str
    t_s: float
    value_bytes: float
    trend: Trend
    foreseen: Forecast | None

    @property
    def alarm(self) -> bool:
        """Whether a person should look."""
        return self.trend.verdict is Verdict.LEAKING

    def to_plain(self, unit_bytes: float = 1.0) -> dict[str, Any]:
        """Give the documented record of `leakguard forecast --json`, in a unit of so many bytes."""
        times = self.foreseen.quantiles() if self.foreseen is not None else None
        slope = self.trend.slope_bytes_per_s
        return {
            "series": self.series,
            "t": _short(self.t_s),
            "verdict": self.trend.verdict.value,
            "alarm": self.alarm,
            "value": _figures(self.value_bytes / unit_bytes),
            "slope_per_s": None if slope is None else _figures(slope / unit_bytes),
            "time_to_limit_s": None
            if times is None
            else {
                "p05": _rounded(times.p05_s),
                "p50": _rounded(times.p50_s),
                "p95": _rounded(times.p95_s),
            },
            "reason": self.trend.reason,
        }


class Outlook:
    """One recorded series, taken in sample by sample and judged as the daemon would."""

    def __init__(
        self, name: str, detector: Detector, limit: float | None, every_s: float = 300.0
    ) -> None:
        """Begin with nothing seen. `limit` is in bytes; None: not known."""
        self.name = name
        self._detector, self._limit, self._every_s = detector, limit, every_s
        self._series = Series()
        self._promises, self._outcomes = UNPROMISED, UNTRIED
        self._count = self._since = 0
        self._judged_s: float | None = None

    def add(self, t_s: float, value: float) -> Judgement | None:
        """Take one sample; give the judgement where one is due."""
        self._take(t_s, value)
        self._count += 1
        self._since += 1
        if self._judged_s is None:
            self._judged_s = t_s
        often = min(LEAST, max(1, self._count // YOUNG_SHARE))
        late = t_s - self._judged_s >= self._every_s
        if self._count < LEAST and not late:
            return None
        if not late and self._since < often:
            return None
        self._judged_s, self._since = t_s, 0
        return self._judge(t_s, value)

    def _take(self, t_s: float, value: float) -> None:
        """Hold what was foreseen to a sample, as the daemon does."""
        born_s = self._series.born_s
        self._series.append(t_s, value)
        if not self._promises.open:
            return
        self._promises, came = self._promises.held_to(t_s, value)
        if born_s != self._series.born_s:
            came, self._promises = came.add(self._promises.ended(t_s)), UNPROMISED
        self._outcomes = self._outcomes.add(came)

    def _judge(self, t_s: float, value: float) -> Judgement:
        now = Instant(wall_s=t_s, boot_s=t_s, boot_id="")
        headroom = None if self._limit is None else self._limit - value
        trend = self._detector.fit(self._series, now, headroom)
        foreseen = None
        if self._limit is not None and headroom is not None:
            room = Room(
                kind=LimitKind.CONFIGURED,
                limit_bytes=round(self._limit),
                headroom_bytes=round(headroom),
            )
            edges = learned(self._outcomes)
            foreseen = forecast(room, trend, edges)
            self._promises = self._promises.made(trend, headroom, edges)
        return Judgement(
            series=self.name, t_s=t_s, value_bytes=value, trend=trend, foreseen=foreseen
        )


def _figures(number: float) -> float:
    return float(f"{number:.7g}")


def _short(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, DIGITS)
