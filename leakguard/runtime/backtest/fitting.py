"""A detector that is not asked at every sample: an engine's tick costs less than a fit."""

from leakguard.core.instant import Instant
from leakguard.core.series import Series
from leakguard.core.trend import UNKNOWN, Detector, Trend

PATIENCE_S = 60.0
"""A service that is far from its limit is judged this often; every sample is in its series."""
YOUNG_S = 600.0
"""A run this young is judged at every sample."""
NEAR_S = 900.0
"""So is one whose limit may be reached within this."""
ROOM_USED = 0.25
"""So is one that used this share of the room it had at the last fit."""


class PatientDetector:
    """Asks the real detector at every sample where it matters, and else once a minute."""

    def __init__(self, detector: Detector) -> None:
        """Ask `detector`."""
        self._detector = detector
        self._trend = UNKNOWN
        self._born_s = self._fitted_s = float("-inf")
        self._room = self._room_then = float("inf")
        self.edge_s: float | None = None
        """The early edge of the last forecast, None when nothing is foreseen."""

    def renew(self, boot_s: float) -> None:
        """Begin a new run."""
        self._born_s, self._fitted_s, self.edge_s = boot_s, float("-inf"), None

    def look(self, room: float, edge_s: float | None) -> None:
        """Take note of what is left below the limit, and of the forecast's early edge."""
        self._room, self.edge_s = room, edge_s

    def fit(self, series: Series, now: Instant, room_bytes: float | None = None) -> Trend:
        """Give the trend, a new one where it is due."""
        if self._is_due(now.boot_s):
            self._fitted_s, self._room_then = now.boot_s, self._room
            self._trend = self._detector.fit(series, now, room_bytes)
        return self._trend

    def _is_due(self, boot_s: float) -> bool:
        return (
            boot_s - self._fitted_s >= PATIENCE_S
            or boot_s - self._born_s < YOUNG_S
            or (self.edge_s is not None and self.edge_s < NEAR_S)
            or self._room < (1 - ROOM_USED) * self._room_then
        )
