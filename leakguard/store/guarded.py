"""The store that never stops the guard: `commit` does not raise, `health` says where it stands.

While the state file fails, everything goes into a bounded memory store, see `fallback.py`.
"""

import contextlib
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TypeVar

from leakguard.core.engine import Notice, Step
from leakguard.core.errors import StoreError
from leakguard.core.events import Event, EventKind
from leakguard.core.instant import Clock
from leakguard.store.base import (
    OK,
    CorruptFile,
    Delivery,
    DeliveryState,
    Saved,
    SeriesPoint,
    TooManyReaders,
)
from leakguard.store.fallback import Fallback
from leakguard.store.history import thin
from leakguard.store.rows import ms
from leakguard.store.sqlite import KEEP_S, RAW_KEEP_S, SqliteStore

T = TypeVar("T")

PLACES = 3
"""Where the state may be, one after another: the file, one made in its place, memory."""


class GuardedStore:
    """A state file that may fail, and memory in its place while it does."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        keep_s: float = KEEP_S,
        raw_keep_s: float = RAW_KEEP_S,
        notice: Callable[[Notice], None] | None = None,
    ) -> None:
        """Lock and open `path`, or begin in memory when that fails; `notice` is told of changes.

        Raises:
            AlreadyRunning: another leakguard uses the file.
            NewerSchema: the file was written by a newer leakguard.
        """
        self.path = path
        self._guard = threading.RLock()
        self._state = Fallback(path, clock, notice, keep_s=keep_s, raw_keep_s=raw_keep_s)
        self._durable = True
        self._file_counts: dict[str, dict[str, int]] = {}
        self._last_counts: dict[str, dict[str, int]] = {}

    @property
    def health(self) -> str:
        """`ok`, or what is wrong with the state file."""
        return self._state.reason or OK

    @property
    def last_commit_durable(self) -> bool:
        """False when the last commit went to memory because the state file could not take it."""
        return self._durable

    def load(self) -> Saved:
        """Give what the daemon starts from, as it was when the store was opened."""
        return self._state.saved

    def commit(self, step: Step) -> None:
        """Write one tick to the file, or to memory when that fails."""
        with self._guard:
            self._state.try_again()
            if self._state.file is not None:
                self._file_counts = {}
            with contextlib.suppress(StoreError):  # memory is full of what may not be dropped
                self._write(lambda store: store.commit(step))
            self._state.remember(step)
            self._durable = self._state.file is not None

    def due(self, now_wall_s: float, limit: int = 50) -> list[Delivery]:
        """Give what should be sent now, oldest first, at most `limit` for each channel."""
        return self._read(lambda store: store.due(now_wall_s, limit))

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Note that the receiver took it."""
        with self._guard:
            self._write(lambda store: store.delivered(delivery, answer))
            self._state.pending.pop(delivery.key, None)

    def failed(self, delivery: Delivery, error: str, next_try_wall_s: float | None) -> None:
        """Note a failed attempt and when to try again; None: never."""
        with self._guard:
            self._write(lambda store: store.failed(delivery, error, next_try_wall_s))
            if next_try_wall_s is None:
                self._state.pending.pop(delivery.key, None)
            elif delivery.key in self._state.pending:
                self._state.pending[delivery.key] = replace(
                    delivery, attempts=delivery.attempts + 1, next_try_wall_s=next_try_wall_s
                )

    def hasten(self, channel: str, now_wall_s: float) -> None:
        """Make everything that waits for `channel` due now: it works again."""
        self._write(lambda store: store.hasten(channel, now_wall_s))

    def next_due(self) -> dict[str, float]:
        """Give the wall time of the next attempt for each channel that has something pending."""
        return self._read(lambda store: store.next_due())

    def delivery_counts(self) -> dict[str, dict[str, int]]:
        """Count by channel and result: `ok`, `failed` attempts, `gave_up`, `pending`."""
        try:
            counts = self._read(lambda store: store.delivery_counts())
        except TooManyReaders:
            return self._last_counts
        self._last_counts = self._with_those_of_the_file(counts)
        return self._last_counts

    def deliveries(
        self, states: Collection[DeliveryState] = (), limit: int = 100
    ) -> list[Delivery]:
        """List deliveries, newest first; without `states`, all of them."""
        return self._read(lambda store: store.deliveries(states, limit))

    def events(
        self,
        service: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> list[Event]:
        """List events, newest first: those in memory, then those that the file still gives."""
        found: list[Event] = []
        layers = self._layers()
        for place, store in enumerate(layers):
            with contextlib.suppress(StoreError):
                if before_id is not None and not store.has_event(before_id):
                    continue
                found += store.events(service, limit - len(found), before_id, kinds)
                before_id = None  # older layers hold only older events
            if len(found) >= limit or place + 1 == len(layers):
                break
        return found

    def series(self, service: str, since_wall_s: float, points: int = 300) -> list[SeriesPoint]:
        """Give at most `points` points of a service since a moment, oldest first."""
        found: dict[float, SeriesPoint] = {}
        for store in self._layers():
            with contextlib.suppress(StoreError):
                found |= {p.wall_s: p for p in store.series(service, since_wall_s, points)}
        rows = [(ms(p.wall_s), p.value_bytes, p.min_bytes, p.max_bytes) for p in found.values()]
        return thin(sorted(rows), points)

    def roll_up(self, now_wall_s: float) -> None:
        """Condense samples to one point a minute and an hour."""
        self._upkeep(lambda store: store.roll_up(now_wall_s))

    def prune(self, now_wall_s: float) -> None:
        """Delete what is older than it must be kept."""
        self._upkeep(lambda store: store.prune(now_wall_s))

    def close(self) -> None:
        """Offer the file once more what only memory has, and let go of it."""
        with self._guard:
            self._state.close()

    def _with_those_of_the_file(
        self, counts: dict[str, dict[str, int]]
    ) -> dict[str, dict[str, int]]:
        """While memory stands in for the file, totals are those of both."""
        with self._guard:
            view = self._state.view
            if self._state.memory is None or view is None:
                return counts
            if not self._file_counts:
                with contextlib.suppress(StoreError):
                    self._file_counts = view.delivery_counts()
            return _added(self._file_counts, counts)

    def _write(self, ask: Callable[[SqliteStore], T]) -> T:
        """Ask the file; when it fails, ask what takes its place. One at a time."""
        with self._guard:
            return self._read(ask)

    def _read(self, ask: Callable[[SqliteStore], T]) -> T:
        """Ask the file without holding up a commit; when it fails, ask what takes its place."""
        for _ in range(PLACES):
            with self._guard:
                current = self._state.current
            try:
                return ask(current)
            except TooManyReaders:
                raise
            except StoreError as error:
                self._failed(current, error)
        return ask(self._state.current)

    def _failed(self, store: SqliteStore, error: StoreError) -> None:
        """Give the file up; another one may have taken its place by now."""
        with self._guard:
            if store is self._state.memory:
                raise error
            if store is self._state.file:
                self._state.fail(error)

    def _upkeep(self, work: Callable[[SqliteStore], None]) -> None:
        """Work without holding up a commit; only damage counts, the next commit sees the rest."""
        with self._guard:
            current = self._state.current
        try:
            work(current)
        except CorruptFile as error:
            self._failed(current, error)
        except StoreError:
            return

    def _layers(self) -> list[SqliteStore]:
        with self._guard:
            layers = (self._state.file, self._state.memory, self._state.view)
            return [store for store in layers if store is not None]


def _added(
    one: dict[str, dict[str, int]], other: dict[str, dict[str, int]]
) -> dict[str, dict[str, int]]:
    """Add totals; `pending` is what memory says, since it holds all that is pending."""
    results = ("ok", "failed", "gave_up")
    empty = dict.fromkeys((*results, "pending"), 0)
    found = {}
    for channel in {**one, **other}:
        a, b = one.get(channel, empty), other.get(channel, empty)
        found[channel] = {r: a[r] + b[r] for r in results} | {"pending": b["pending"]}
    return found
