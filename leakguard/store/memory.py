"""The same store in memory, bounded: for runs without a state file, and while the file fails."""

import sqlite3

from leakguard.core.engine import Step
from leakguard.core.errors import StoreError
from leakguard.core.instant import Clock
from leakguard.store.database import MEMORY
from leakguard.store.sqlite import SqliteStore

MAX_BYTES = 8 * 1024**2
KEEP_S = 86_400.0
RAW_KEEP_S = 3_600.0
MOST_PENDING = 1_000
MOST_EVENTS = 500


class MemoryStore(SqliteStore):
    """A store that ends with the process; when it is full, the oldest history goes first."""

    def __init__(
        self,
        clock: Clock,
        *,
        keep_s: float = KEEP_S,
        raw_keep_s: float = RAW_KEEP_S,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Start empty; history is kept for a day at most, raw samples for an hour."""
        super().__init__(
            MEMORY,
            clock,
            keep_s=min(keep_s, KEEP_S),
            raw_keep_s=min(raw_keep_s, RAW_KEEP_S),
            max_bytes=max_bytes,
        )

    def commit(self, step: Step) -> None:
        """Write one tick; when there is no room, drop the oldest history and try once more."""
        try:
            super().commit(step)
        except StoreError:
            with self.database.write() as connection:
                _shrink(connection)
            super().commit(step)


def _shrink(connection: sqlite3.Connection) -> None:
    """Drop samples and finished deliveries, then all but the newest events and pending alerts."""
    for table in ("samples", "samples_1m", "samples_1h"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608  constants only
    connection.execute("DELETE FROM deliveries WHERE state <> 'pending'")
    for table, keep in (("events", MOST_EVENTS), ("deliveries", MOST_PENDING)):
        connection.execute(
            f"DELETE FROM {table} WHERE seq <= (SELECT max(seq) FROM {table}) - ?",  # noqa: S608  constants only
            (keep,),
        )
