"""The deliveries table as an outbox: what is due, what arrived, what failed."""

import sqlite3
from collections.abc import Collection

from leakguard.store.base import Delivery, DeliveryState
from leakguard.store.rows import DELIVERY_COLUMNS, key, readable_deliveries

CLOCK_SLACK_S = 60.0

# Touched in the future: the clock was set back meanwhile, so its `next_try` means nothing.
_DUE = "(next_try_wall_s <= :now OR touched_wall_s > :now + :slack)"


def due(connection: sqlite3.Connection, now_wall_s: float, limit: int) -> list[Delivery]:
    """Give what should be sent now, at most `limit` a channel, so that none crowds another out."""
    rows = connection.execute(
        f"SELECT {DELIVERY_COLUMNS} FROM (SELECT *, row_number() OVER"  # noqa: S608  constants only
        f" (PARTITION BY channel ORDER BY seq) AS place FROM deliveries"
        f" WHERE state = 'pending' AND {_DUE}) WHERE place <= :limit ORDER BY seq",
        {"now": now_wall_s, "slack": CLOCK_SLACK_S, "limit": limit},
    ).fetchall()
    return readable_deliveries(rows)


def next_due(connection: sqlite3.Connection) -> dict[str, float]:
    """Give the wall time of the next attempt on each channel."""
    return dict(
        connection.execute(
            "SELECT channel, min(next_try_wall_s) FROM deliveries WHERE state = 'pending'"
            " GROUP BY channel"
        ).fetchall()
    )


def listed(
    connection: sqlite3.Connection, states: Collection[DeliveryState], limit: int
) -> list[Delivery]:
    """List deliveries, newest first; without `states`, all of them."""
    wanted = [state.value for state in states or DeliveryState]
    marks = ", ".join("?" * len(wanted))
    rows = connection.execute(
        f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE state IN ({marks})"  # noqa: S608  constants only
        " ORDER BY seq DESC LIMIT ?",
        (*wanted, limit),
    ).fetchall()
    return readable_deliveries(rows)


def mark_delivered(
    connection: sqlite3.Connection, delivery: Delivery, answer: str, now_wall_s: float
) -> None:
    """Note that the receiver took it."""
    _mark(
        connection,
        delivery,
        DeliveryState.OK,
        answer,
        next_try_wall_s=now_wall_s,
        now_wall_s=now_wall_s,
    )
    add_total(connection, delivery.channel, "ok", 1)


def mark_failed(
    connection: sqlite3.Connection,
    delivery: Delivery,
    error: str,
    next_try_wall_s: float | None,
    now_wall_s: float,
) -> None:
    """Note a failed attempt, and when to try again; None: never."""
    gave_up = next_try_wall_s is None
    state = DeliveryState.GAVE_UP if gave_up else DeliveryState.PENDING
    again = now_wall_s if next_try_wall_s is None else next_try_wall_s
    _mark(connection, delivery, state, error, next_try_wall_s=again, now_wall_s=now_wall_s)
    add_total(connection, delivery.channel, "failed", 1)
    if gave_up:
        add_total(connection, delivery.channel, "gave_up", 1)


def hasten(connection: sqlite3.Connection, channel: str, now_wall_s: float) -> None:
    """Make everything that waits for `channel` due now."""
    connection.execute(
        "UPDATE deliveries SET next_try_wall_s = ? WHERE state = 'pending' AND channel = ?"
        " AND next_try_wall_s > ?",
        (now_wall_s, key(channel), now_wall_s),
    )


def counts(connection: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """Count by channel and result since the state began, and what is pending now."""
    found: dict[str, dict[str, int]] = {}
    totals = connection.execute("SELECT channel, result, n FROM delivery_totals").fetchall()
    pending = connection.execute(
        "SELECT channel, 'pending', count(*) FROM deliveries WHERE state = 'pending'"
        " GROUP BY channel"
    ).fetchall()
    for channel, result, n in [*totals, *pending]:
        results = found.setdefault(channel, {"ok": 0, "failed": 0, "gave_up": 0, "pending": 0})
        results[result] = n
    return found


def add_total(connection: sqlite3.Connection, channel: str, result: str, n: int) -> None:
    """Raise one counter."""
    connection.execute(
        "INSERT INTO delivery_totals VALUES (?, ?, ?)"
        " ON CONFLICT (channel, result) DO UPDATE SET n = n + excluded.n",
        (key(channel), result, n),
    )


def _mark(
    connection: sqlite3.Connection,
    delivery: Delivery,
    state: DeliveryState,
    answer: str,
    *,
    next_try_wall_s: float,
    now_wall_s: float,
) -> None:
    connection.execute(
        "UPDATE deliveries SET state = ?, attempts = ?, answer = ?, next_try_wall_s = ?,"
        " touched_wall_s = ? WHERE alert_id = ? AND channel = ?",
        (
            state.value,
            delivery.attempts + 1,
            key(answer)[:500],
            next_try_wall_s,
            now_wall_s,
            key(delivery.alert.id),
            key(delivery.channel),
        ),
    )
