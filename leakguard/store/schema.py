"""Tables of the state file and the steps from each older version; only ever forward.

A raw sample costs about 30 bytes: services and runs are numbers, times are whole milliseconds.
"""

import sqlite3

from leakguard.core.errors import StoreError
from leakguard.store.base import NewerSchema

_ROLLED = """
CREATE TABLE {name} (
    service INTEGER NOT NULL, ts_ms INTEGER NOT NULL, run INTEGER NOT NULL,
    boot_ms INTEGER NOT NULL, min_bytes INTEGER NOT NULL, mid_bytes INTEGER NOT NULL,
    max_bytes INTEGER NOT NULL, last_bytes INTEGER NOT NULL, n INTEGER NOT NULL,
    PRIMARY KEY (service, ts_ms, run)
) WITHOUT ROWID
"""

_VERSION_1 = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE services (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    # A run is one incarnation seen through one measure: a series never crosses either.
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY, service INTEGER NOT NULL, measure TEXT NOT NULL,
        incarnation TEXT NOT NULL, since_ms INTEGER NOT NULL
    )
    """,
    "CREATE INDEX runs_by_service ON runs (service, id)",
    """
    CREATE TABLE samples (
        service INTEGER NOT NULL, ts_ms INTEGER NOT NULL, run INTEGER NOT NULL,
        boot_ms INTEGER NOT NULL, value_bytes INTEGER NOT NULL, rss_bytes INTEGER NOT NULL,
        PRIMARY KEY (service, ts_ms)
    ) WITHOUT ROWID
    """,
    _ROLLED.format(name="samples_1m"),
    _ROLLED.format(name="samples_1h"),
    "CREATE TABLE records (service TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
    """
    CREATE TABLE events (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
        service TEXT NOT NULL, wall_s REAL NOT NULL, event TEXT NOT NULL
    )
    """,
    "CREATE INDEX events_by_service ON events (service, seq)",
    """
    CREATE TABLE deliveries (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, alert_id TEXT NOT NULL, channel TEXT NOT NULL,
        alert TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL,
        created_wall_s REAL NOT NULL, touched_wall_s REAL NOT NULL,
        next_try_wall_s REAL NOT NULL, answer TEXT NOT NULL, UNIQUE (alert_id, channel)
    )
    """,
    """
    CREATE INDEX deliveries_pending ON deliveries (channel, next_try_wall_s)
    WHERE state = 'pending'
    """,
    # Counters of their own, so that pruning never makes a total go down.
    """
    CREATE TABLE delivery_totals (
        channel TEXT NOT NULL, result TEXT NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (channel, result)
    ) WITHOUT ROWID
    """,
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1,)
"""What leads from version i to i + 1. Never edit a released one: add another."""

VERSION = len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """Read the version of a file; 0 is an empty one."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_version(connection: sqlite3.Connection, path: str) -> None:
    """Refuse a file that this version cannot read without changing it."""
    found = version_of(connection)
    if found > VERSION:
        raise NewerSchema(
            f"{path} was written by a newer leakguard (schema {found}, this one knows {VERSION}):"
            " install that version again, or name another file under state.path"
        )
    if found < VERSION:
        raise StoreError(f"{path} has schema {found} and must be opened by `leakguard run` first")


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring the file to this version, all or nothing."""
    if version_of(connection) == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for steps in MIGRATIONS[version_of(connection) :]:
            for statement in steps:
                connection.execute(statement)
        if version_of(connection) < VERSION:
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    check_version(connection, path)
