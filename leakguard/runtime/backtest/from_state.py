"""Recordings from the daemon's own state file, which knows runs, restarts of ours and limits."""

import sqlite3
from collections.abc import Iterable
from itertools import pairwise

from leakguard.core.errors import UsageError
from leakguard.core.events import Event, EventKind
from leakguard.core.forecast import LimitKind
from leakguard.core.policy import Trigger
from leakguard.runtime.backtest.recording import Builder, Recording
from leakguard.store import history
from leakguard.store.database import Database
from leakguard.store.recorded import kept_points, kept_services

MOST_EVENTS = 10_000
OURS_WITHIN_S = 120.0
"""A run that began this near to a restart of ours is its run: old samples are one a minute."""
SHORTEST_GAP_S = 1.0
"""Two runs in one minute have medians at the same time: the second is moved by this."""


def read_state(path: str, names: Iterable[str] = ()) -> list[Recording]:
    """Read the services of a state file, all of them unless `names` says which.

    Raises:
        StoreError: it cannot be read.
        UsageError: nothing is kept of a service that was named.
    """
    database = Database(path, read_only=True)
    try:
        with database.read() as connection:
            known, wanted = kept_services(connection), list(names)
            missing = [name for name in wanted if name not in known]
            if missing:
                there = ", ".join(known) or "nothing"
                raise UsageError(
                    f"state file {path} has no series of {missing[0]} (it has {there})"
                )
            return [_recording(connection, name) for name in wanted or known]
    finally:
        database.close()


def _recording(connection: sqlite3.Connection, service: str) -> Recording:
    builder = Builder(name=service)
    points = kept_points(connection, service)
    run, last = points[0].run, float("-inf")
    for point in points:
        t = max(point.wall_s, last + SHORTEST_GAP_S) if point.run != run else point.wall_s
        if t <= last:  # the clock was set back
            continue
        builder.add(t, point.value_bytes, starts=point.run != run)
        run, last = point.run, t
    restarts = history.events(
        connection, service, MOST_EVENTS, None, (EventKind.RESTART_SUCCEEDED,)
    )
    builder.ours |= set(_ours(builder, restarts))
    return builder.recording(limit_bytes=_limit(connection, service), runs_known=True)


def _ours(builder: Builder, restarts: Iterable[Event]) -> Iterable[int]:
    """Find the runs that policies of ours began; those that people asked for are as others'."""
    begins = sorted(builder.starts)
    for event in restarts:
        if event.details.get("trigger") in {Trigger.MANUAL.value, Trigger.RESPAWN.value}:
            continue
        near = [i for i in begins if abs(builder.times[i] - event.wall_s) <= _within_s(builder, i)]
        if near:
            yield min(near, key=lambda i: abs(builder.times[i] - event.wall_s))


def _within_s(builder: Builder, i: int) -> float:
    """Give how far from its restart a run may seem to begin: old points are one an hour."""
    around = builder.times[i - 1 : i + 2]
    return OURS_WITHIN_S + max(b - a for a, b in pairwise(around))


def _limit(connection: sqlite3.Connection, service: str) -> int | None:
    """Give the limit of the service's cgroup, as the newest event that names one says."""
    for event in history.events(connection, service, MOST_EVENTS, None, None):
        limit = event.details.get("limit_bytes")
        if event.details.get("limit_kind") == LimitKind.CGROUP.value and isinstance(limit, int):
            return limit
    return None
