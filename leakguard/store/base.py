"""What a store must do: keep what must survive the daemon, and the outbox of its alerts."""

import math
from collections.abc import Collection, Mapping
from dataclasses import field, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from leakguard.core.alerts import Alert
from leakguard.core.engine import Step
from leakguard.core.errors import StoreError
from leakguard.core.events import Event, EventKind
from leakguard.core.frozen import dataclass
from leakguard.core.lives import Life
from leakguard.core.sample import Incarnation, Measure
from leakguard.core.series import Series
from leakguard.core.state import ServiceRecord

MINUTE_S = 60.0
HOUR_S = 3600.0
Condensed = tuple[float, int, int, int]
"""Boot time of the middle of a stretch, and its lowest, middle and highest value."""

OK = "ok"
"""What `health` says when nothing is wrong."""


class CorruptFile(StoreError):  # noqa: N818  a kind of StoreError, named by what is wrong
    """The state file is not a database, or parts of it cannot be read."""


class FileGone(StoreError):  # noqa: N818  a kind of StoreError, named by what is wrong
    """The state file was deleted or replaced while it was in use."""


class TooManyReaders(StoreError):  # noqa: N818  a kind of StoreError, named by what is wrong
    """Others are reading the state file, as many as may at once. The file is as good as before."""


class NewerSchema(StoreError):  # noqa: N818  a kind of StoreError, named by what is wrong
    """The state file was written by a newer leakguard; it is left as it is."""


class DeliveryState(StrEnum):
    """Whether an alert still has to reach a channel."""

    PENDING = "pending"
    OK = "ok"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one channel; alert id and channel name it."""

    alert: Alert
    channel: str
    created_wall_s: float
    next_try_wall_s: float
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    answer: str = ""
    """What the receiver said, or why the last attempt failed."""

    @property
    def key(self) -> tuple[str, str]:
        """Alert id and channel."""
        return self.alert.id, self.channel


class SeriesPoint(NamedTuple):
    """One point of a stored series: a sample, or the median and the range of several."""

    wall_s: float
    value_bytes: int
    min_bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSamples:
    """The newest samples of the last known incarnation of one service, oldest first.

    `recent` are (boot_s, value_bytes); what is condensed is (boot_s of its middle, lowest, middle
    and highest value), by the minute and before that by the hour.
    """

    incarnation: Incarnation
    measure: Measure
    recent: tuple[tuple[float, int], ...] = ()
    minutes: tuple[Condensed, ...] = ()
    hours: tuple[Condensed, ...] = ()

    def since(self, boot_s: float) -> "SavedSamples":
        """Give what was sampled from a moment on."""
        return replace(
            self,
            recent=tuple(one for one in self.recent if one[0] >= boot_s),
            minutes=tuple(m for m in self.minutes if m[0] - MINUTE_S / 2 >= boot_s),
            hours=tuple(h for h in self.hours if h[0] - HOUR_S / 2 >= boot_s),
        )

    def series(self, lives: tuple[Life, ...] = ()) -> Series:
        """Build the series the detectors read, as if the daemon had never stopped."""
        series = Series(lives)
        before = self.recent[0][0] if self.recent else math.inf
        minutes = [m for m in self.minutes if m[0] + MINUTE_S / 2 <= before]
        before = minutes[0][0] - MINUTE_S / 2 if minutes else before
        hours = [h for h in self.hours if h[0] + HOUR_S / 2 <= before]
        for width_s, condensed in ((HOUR_S, hours), (MINUTE_S, minutes)):
            for middle_s, *bucket in condensed:
                series.feed(middle_s - width_s / 2, width_s, (bucket[0], bucket[1], bucket[2]))
        for boot_s, value in self.recent:
            series.append(boot_s, value)
        return series


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """What a store knows when the daemon starts.

    `serial` is never below any that was used, so ids made from it are never used twice.
    `problems` names what could not be read back and was left out.
    """

    instance: str
    serial: int = 0
    records: Mapping[str, ServiceRecord] = field(default_factory=dict)
    samples: Mapping[str, SavedSamples] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


class Store(Protocol):
    """Everything the runtime and the web read and write. Safe to use from any thread."""

    @property
    def health(self) -> str:
        """`ok`, or what is wrong with the state file and since when."""
        ...

    @property
    def last_commit_durable(self) -> bool:
        """False when the last commit went to memory because the state file could not take it."""
        ...

    def load(self) -> Saved:
        """Give what must survive the daemon."""
        ...

    def commit(self, step: Step) -> None:
        """Write one tick as a whole, before any of its actions is carried out."""
        ...

    def due(self, now_wall_s: float, limit: int = 50) -> list[Delivery]:
        """Give what should be sent now, oldest first, at most `limit` for each channel."""
        ...

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Note that the receiver took it."""
        ...

    def failed(self, delivery: Delivery, error: str, next_try_wall_s: float | None) -> None:
        """Note a failed attempt and when to try again; None: never."""
        ...

    def hasten(self, channel: str, now_wall_s: float) -> None:
        """Make everything that waits for `channel` due now: it works again."""
        ...

    def next_due(self) -> dict[str, float]:
        """Give the wall time of the next attempt for each channel that has something pending."""
        ...

    def delivery_counts(self) -> dict[str, dict[str, int]]:
        """Count by channel and result: `ok`, `failed` attempts, `gave_up`, `pending`."""
        ...

    def deliveries(
        self, states: Collection[DeliveryState] = (), limit: int = 100
    ) -> list[Delivery]:
        """List deliveries, newest first; without `states`, all of them."""
        ...

    def events(
        self,
        service: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> list[Event]:
        """List events, newest first; `before_id` goes on after the last one of a page."""
        ...

    def series(self, service: str, since_wall_s: float, points: int = 300) -> list[SeriesPoint]:
        """Give at most `points` points of a service since a moment, oldest first."""
        ...

    def roll_up(self, now_wall_s: float) -> None:
        """Condense samples to one point a minute and an hour."""
        ...

    def prune(self, now_wall_s: float) -> None:
        """Delete what is older than it must be kept."""
        ...

    def close(self) -> None:
        """Write out what is left and let go of the file."""
        ...
