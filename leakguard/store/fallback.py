"""Where the state lives now: in the file, or in memory until the file works again.

The file is tried again after 5 s, then ever less often, up to once a minute. A damaged file is
moved aside at once, a deleted one is made anew from the connection that is still open.
"""

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from leakguard.core.engine import Notice, Step
from leakguard.core.errors import StoreError
from leakguard.core.events import EventKind, Severity
from leakguard.core.instant import Clock
from leakguard.core.state import ServiceRecord
from leakguard.store import salvage
from leakguard.store.base import (
    CorruptFile,
    Delivery,
    DeliveryState,
    FileGone,
    NewerSchema,
    Saved,
)
from leakguard.store.database import in_words
from leakguard.store.lock import AlreadyRunning, StateLock
from leakguard.store.memory import MemoryStore
from leakguard.store.sqlite import SqliteStore
from leakguard.store.writing import fresh_deliveries

BACK_OFF_S = (5.0, 10.0, 20.0, 40.0, 60.0)
MIRRORED = 1_000
"""Pending deliveries known to memory too, in case the file is lost; older ones are in the file."""


class Fallback:
    """The state file while it works, a memory store while it does not. Not locked by itself."""

    def __init__(
        self,
        path: str,
        clock: Clock,
        notice: Callable[[Notice], None] | None,
        *,
        keep_s: float,
        raw_keep_s: float,
    ) -> None:
        """Lock and open the file, or begin in memory."""
        self._path, self._clock, self._notice = path, clock, notice
        self._keep_s, self._raw_keep_s = keep_s, raw_keep_s
        self._lock: StateLock | None = None
        self._records: dict[str, ServiceRecord] = {}
        self.pending: dict[tuple[str, str], Delivery] = {}
        self._instance, self._serial = "", 0
        self._tries, self._try_at = 0, clock.now()
        self.reason = ""
        self.view: SqliteStore | None = None
        """The failed file, for reading what it still gives."""
        self.memory: MemoryStore | None = None
        self.file: SqliteStore | None = None
        self.saved = self._start()

    @property
    def current(self) -> SqliteStore:
        """The store that is written to now."""
        store = self.file or self.memory
        if store is None:
            raise StoreError(f"state file {self._path} was closed")
        return store

    def remember(self, step: Step) -> None:
        """Keep hold of what must be written whole when the file is lost."""
        self._instance, self._serial = step.state.instance, step.state.serial
        for name in step.dropped:
            self._records.pop(name, None)
        self._records.update((record.name, record) for record in step.records)
        for alert in step.alerts:
            for delivery in fresh_deliveries(alert, step.at.wall_s):
                self.pending[delivery.key] = delivery
        while len(self.pending) > MIRRORED:
            del self.pending[next(iter(self.pending))]

    def fail(self, error: StoreError) -> None:
        """Go on in memory; a file that is damaged or gone is replaced at once."""
        failed, self.file = self.file, None
        if failed is None:
            return
        self._go_to_memory(error)
        with contextlib.suppress(StoreError):
            self._replace(failed, error)
        failed.abandon()
        if isinstance(error, CorruptFile | FileGone):
            self.try_again(now=True)

    def try_again(self, *, now: bool = False) -> None:
        """When it is time, open the file again and write into it what memory held."""
        if self.memory is None or not (now or self._clock.now().since(self._try_at) >= 0):
            return
        try:
            self._recover(self.memory)
        except StoreError as error:
            self._postpone()
            self.reason = self._words(error)

    def close(self) -> None:
        """Let go of everything; what only memory has is offered to the file once more."""
        self.try_again(now=True)
        for store in (self.file, self.memory, self.view):
            if store is not None:
                store.close()
        self.file = self.memory = self.view = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    # Opening

    def _start(self) -> Saved:
        try:
            self.file = self._open()
            saved = self.file.load()
        except (AlreadyRunning, NewerSchema):
            self.close()
            raise
        except StoreError as error:
            self._let_go()
            return self._start_without(error)
        self._adopt(saved, self.file)
        return saved

    def _start_without(self, error: StoreError) -> Saved:
        """Begin in memory with what can be read of the file, under a new instance.

        Ids that are made now may never reach the file, so they must not continue its serial.
        """
        known, pending = self._peek()
        saved = replace(known, instance=secrets.token_hex(4), serial=0)
        self._adopt(saved, None)
        self.pending = {delivery.key: delivery for delivery in pending}
        self._go_to_memory(error)
        if isinstance(error, CorruptFile):
            with contextlib.suppress(StoreError), in_words(self._path):
                self._tell_lost(salvage.move_aside(self._path, self._clock.now().wall_s))
            self.try_again(now=True)
        return saved

    def _peek(self) -> tuple[Saved, list[Delivery]]:
        try:
            view = SqliteStore(self._path, self._clock, read_only=True)
        except StoreError:
            return Saved(instance=""), []
        try:
            return view.load(), view.deliveries([DeliveryState.PENDING], MIRRORED)
        except StoreError:
            return Saved(instance=""), []
        finally:
            view.close()

    def _open(self) -> SqliteStore:
        if self._lock is None:
            self._lock = StateLock(self._path)
        return SqliteStore(
            self._path, self._clock, keep_s=self._keep_s, raw_keep_s=self._raw_keep_s
        )

    def _let_go(self) -> None:
        if self.file is not None:
            self.file.abandon()
            self.file = None

    def _adopt(self, saved: Saved, file: SqliteStore | None) -> None:
        self._instance, self._serial = saved.instance, saved.serial
        self._records = dict(saved.records)
        if file is not None:
            pending = file.deliveries([DeliveryState.PENDING], MIRRORED)
            self.pending = {delivery.key: delivery for delivery in reversed(pending)}

    # Failing and recovering

    def _go_to_memory(self, error: StoreError) -> None:
        self.memory = MemoryStore(self._clock, keep_s=self._keep_s, raw_keep_s=self._raw_keep_s)
        salvage.seed(
            self.memory,
            instance=self._instance,
            serial=self._serial,
            records=self._records.values(),
            pending=self.pending.values(),
        )
        if not isinstance(error, CorruptFile | FileGone):
            with contextlib.suppress(StoreError):
                self.view = SqliteStore(self._path, self._clock, read_only=True)
        self._tries = 0
        self._postpone()
        self.reason = self._words(error)
        self._tell(
            EventKind.STORE_FAILED,
            Severity.CRITICAL,
            f"{error}; the guard goes on in memory and tries again",
        )

    def _replace(self, failed: SqliteStore, error: StoreError) -> None:
        with in_words(self._path):
            if isinstance(error, CorruptFile):
                failed.abandon()
                self._tell_lost(salvage.move_aside(self._path, self._clock.now().wall_s))
            elif isinstance(error, FileGone) and not Path(self._path).exists():
                salvage.put_back(failed.database, self._path)
            elif isinstance(error, FileGone):
                salvage.let_go(failed.database, self._path)

    def _recover(self, memory: MemoryStore) -> None:
        try:
            file = self._open()
        except CorruptFile:
            with in_words(self._path):
                self._tell_lost(salvage.move_aside(self._path, self._clock.now().wall_s))
            file = self._open()
        try:
            salvage.carry_over(
                memory,
                file.database,
                instance=self._instance,
                serial=self._serial,
                records=self._records,
            )
            self.pending = {
                d.key: d for d in reversed(file.deliveries([DeliveryState.PENDING], MIRRORED))
            }
        except StoreError:
            file.abandon()
            raise
        file.reread_runs()
        self.file, self.memory, self.reason = file, None, ""
        memory.close()
        self._close_view()
        self._tell(
            EventKind.STORE_RECOVERED,
            Severity.INFO,
            f"state file {self._path} works again; what memory held was written into it",
        )

    def _close_view(self) -> None:
        if self.view is not None:
            self.view.close()
            self.view = None

    def _postpone(self) -> None:
        self._try_at = self._clock.now().plus(BACK_OFF_S[min(self._tries, len(BACK_OFF_S) - 1)])
        self._tries += 1

    def _words(self, error: StoreError) -> str:
        return f"in memory only: {error}"

    def _tell_lost(self, aside: str) -> None:
        self._tell(
            EventKind.STORE_FAILED,
            Severity.CRITICAL,
            f"state file {self._path} was damaged; it was moved to {aside} and a new one is made:"
            " history is lost, restarts and alerts of this run are not",
        )

    def _tell(self, kind: EventKind, severity: Severity, message: str) -> None:
        if self._notice is not None:
            self._notice(
                Notice(
                    kind=kind.value,
                    service="",
                    severity=severity.value,
                    message=message,
                    details={"path": self._path},
                )
            )
