"""Open the store that a plan asks for."""

from collections.abc import Callable

from leakguard.core.engine import Notice
from leakguard.core.instant import Clock
from leakguard.core.plan import StatePlan
from leakguard.store.base import Store
from leakguard.store.guarded import GuardedStore
from leakguard.store.memory import MemoryStore


def open_store(
    plan: StatePlan, clock: Clock, notice: Callable[[Notice], None] | None = None
) -> Store:
    """Open the state file under guard, or a store in memory when the plan names no file.

    Raises:
        AlreadyRunning: another leakguard uses the file.
        NewerSchema: the file was written by a newer leakguard.
    """
    if not plan.path:
        return MemoryStore(clock, keep_s=plan.keep_s, raw_keep_s=plan.raw_keep_s)
    return GuardedStore(
        plan.path, clock, keep_s=plan.keep_s, raw_keep_s=plan.raw_keep_s, notice=notice
    )
