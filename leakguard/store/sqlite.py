"""The store in one SQLite file; `schema.py` has its tables."""

import contextlib
import secrets
import threading
from collections.abc import Collection

from leakguard.core.engine import Step
from leakguard.core.errors import StoreError
from leakguard.core.events import Event, EventKind
from leakguard.core.instant import Clock
from leakguard.store import history, outbox, retention
from leakguard.store.base import OK, Delivery, DeliveryState, Saved, SeriesPoint
from leakguard.store.database import Database
from leakguard.store.loading import load_runs, load_saved
from leakguard.store.rows import BIGGEST, meta, ms, set_meta
from leakguard.store.writing import write_step

KEEP_S = 30 * 86_400.0
RAW_KEEP_S = 6 * 3600.0


class SqliteStore:
    """One state file. Every method may be called from any thread; failures are StoreError."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        *,
        keep_s: float = KEEP_S,
        raw_keep_s: float = RAW_KEEP_S,
        read_only: bool = False,
        max_bytes: int = 0,
    ) -> None:
        """Open the file, make it when it is not there, bring an older one to this version."""
        self.path = path
        self.database = Database(path, read_only=read_only, max_bytes=max_bytes)
        self._clock = clock
        self._keep_s, self._raw_keep_s = keep_s, raw_keep_s
        self._upkeep = threading.Lock()
        self._oldest_ms = BIGGEST
        try:
            self._begin(read_only=read_only)
        except BaseException:
            self.database.close()
            raise

    def _begin(self, *, read_only: bool) -> None:
        with self.database.read() as connection:
            self._unclean = meta(connection, "open") == "yes"
            self._runs = load_runs(connection)
        if not read_only:
            with self.database.write(full=True) as connection:
                if not meta(connection, "instance"):
                    set_meta(connection, "instance", secrets.token_hex(4))
                set_meta(connection, "open", "yes")
        self._written: tuple[str, int] | None = None

    @property
    def health(self) -> str:
        """Always `ok`: what goes wrong is raised."""
        return OK

    @property
    def last_commit_durable(self) -> bool:
        """Always true: a commit that was not written is raised."""
        return True

    def load(self) -> Saved:
        """Give what must survive the daemon."""
        with self.database.read() as connection:
            return load_saved(connection, unclean=self._unclean)

    def commit(self, step: Step) -> None:
        """Write one tick in one transaction; with an action in it, down to the disk."""
        written = (step.state.instance, step.state.serial)
        with self.database.write(full=bool(step.actions)) as connection:
            runs = write_step(connection, step, self._runs, serial_changed=written != self._written)
        self._runs.update(runs)
        self._written = written
        if step.samples:
            self._oldest_ms = min(self._oldest_ms, *(ms(s.at.wall_s) for s in step.samples))

    def due(self, now_wall_s: float, limit: int = 50) -> list[Delivery]:
        """Give what should be sent now, oldest first, at most `limit` for each channel."""
        with self.database.read() as connection:
            return outbox.due(connection, now_wall_s, limit)

    def delivered(self, delivery: Delivery, answer: str) -> None:
        """Note that the receiver took it."""
        now = self._clock.now().wall_s
        with self.database.write() as connection:
            outbox.mark_delivered(connection, delivery, answer, now)

    def failed(self, delivery: Delivery, error: str, next_try_wall_s: float | None) -> None:
        """Note a failed attempt and when to try again; None: never."""
        now = self._clock.now().wall_s
        with self.database.write() as connection:
            outbox.mark_failed(connection, delivery, error, next_try_wall_s, now)

    def hasten(self, channel: str, now_wall_s: float) -> None:
        """Make everything that waits for `channel` due now: it works again."""
        with self.database.write() as connection:
            outbox.hasten(connection, channel, now_wall_s)

    def next_due(self) -> dict[str, float]:
        """Give the wall time of the next attempt for each channel that has something pending."""
        with self.database.read() as connection:
            return outbox.next_due(connection)

    def delivery_counts(self) -> dict[str, dict[str, int]]:
        """Count by channel and result: `ok`, `failed` attempts, `gave_up`, `pending`."""
        with self.database.read() as connection:
            return outbox.counts(connection)

    def deliveries(
        self, states: Collection[DeliveryState] = (), limit: int = 100
    ) -> list[Delivery]:
        """List deliveries, newest first; without `states`, all of them."""
        with self.database.read() as connection:
            return outbox.listed(connection, states, limit)

    def events(
        self,
        service: str | None = None,
        limit: int = 100,
        before_id: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> list[Event]:
        """List events, newest first; `before_id` goes on after the last one of a page."""
        with self.database.read() as connection:
            return history.events(connection, service, limit, before_id, kinds)

    def has_event(self, event_id: str) -> bool:
        """Whether an event of that id is kept."""
        with self.database.read() as connection:
            return history.has_event(connection, event_id)

    def reread_runs(self) -> None:
        """See the runs that were carried over from memory."""
        with self.database.read() as connection:
            self._runs = load_runs(connection)

    def series(self, service: str, since_wall_s: float, points: int = 300) -> list[SeriesPoint]:
        """Give at most `points` points of a service since a moment, oldest first."""
        with self.database.read() as connection:
            return history.series(connection, service, since_wall_s, points)

    def roll_up(self, now_wall_s: float) -> None:
        """Condense samples to one point a minute and an hour."""
        with self._upkeep:
            since_ms, self._oldest_ms = self._oldest_ms, BIGGEST
            retention.roll_up(self.database, now_wall_s, since_ms)

    def prune(self, now_wall_s: float) -> None:
        """Delete what is older than it must be kept."""
        with self._upkeep:
            retention.prune(
                self.database, now_wall_s, keep_s=self._keep_s, raw_keep_s=self._raw_keep_s
            )

    def abandon(self) -> None:
        """Let go of the file as a crash would: ids may be used that it never sees."""
        self.database.close()

    def close(self) -> None:
        """Say that the end was clean and let go of the file."""
        with contextlib.suppress(StoreError), self.database.write(full=True) as connection:
            set_meta(connection, "open", "no")
        self.database.close()
