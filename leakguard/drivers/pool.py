"""Replaces the leaking workers of gunicorn, uWSGI, Celery or puma, and leaves the service running.

The target is the master. A worker is ended by the signal that its kind ends by in good order, the
master starts another one, and only then comes the next. The others serve meanwhile.
"""

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import field
from itertools import islice
from typing import ClassVar

from leakguard.core.errors import DriverError, LeakguardError, ReadingError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import Seconds, format_bytes, format_duration
from leakguard.drivers._workers import Kind, Pool, Which, Worker, choose, find_pool
from leakguard.drivers.base import Driver, DriverContext, Ending, RestartOrder, Stopped
from leakguard.linux.pidfd import Pidfd, open_checked, wait_all
from leakguard.linux.procfs import ProcessGone
from leakguard.plugins import doc

KILL_WAIT_S = 5.0
LOOK_S = 0.1
"""How often it looks whether the master has started a new worker."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the driver `pool`."""

    kind: Kind = field(metadata=doc("whose workers they are: gunicorn, uwsgi, celery or puma"))
    workers: Which = field(
        default=Which.LEAKING,
        metadata=doc("`leaking`: those that hold `factor` times the median of the others, at least "
        "the largest; `all`: one after the other"),
    )  # fmt: skip
    at_once: int = field(
        default=1, metadata=doc("so many are replaced at a time; of several, one always stays")
    )
    wait: Seconds = field(
        default=Seconds(30.0),
        metadata=doc("how long a worker may take to finish before it is killed, and its master to "
        "start another"),
    )  # fmt: skip
    settle: Seconds = field(
        default=Seconds(1.0),
        metadata=doc("how long a new worker must have lived before the next one is replaced"),
    )
    factor: float = field(
        default=1.5, metadata=doc("how many times the median of the others a leaking worker holds")
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out."""
        if self.at_once < 1:
            raise UnitError("at_once must be 1 or more")
        if self.wait <= 0:
            raise UnitError("wait must be more than 0s")
        if self.factor < 1:
            raise UnitError("factor must be 1 or more")


class PoolDriver(Driver):
    """Rolls over the workers of one master."""

    keeps_root: ClassVar[bool] = True

    def __init__(self, options: Options, context: DriverContext) -> None:
        """Bind to the service of `context`."""
        self._options = options
        self._context = context

    def restart(self, order: RestartOrder) -> Stopped:
        """Replace the workers that were chosen, never more than `at_once` at a time."""
        if order.incarnation is None:
            raise DriverError(self.refuses(running=False))
        try:
            with open_checked(self._context.proc, order.incarnation):
                pool = self._pool(order.incarnation)
                return _Roll(self._options, self._context, order, pool).run()
        except ProcessGone as error:
            raise DriverError(f"{self._context.service}: {error}: nothing was replaced") from error

    def refuses(self, *, running: bool) -> str:
        """Refuse what does not run: it is not ours to start."""
        if running:
            return ""
        return (
            f"{self._context.service} is not running, and the driver `pool` cannot start it: "
            "start it yourself"
        )

    def rehearse(self, location: Location | None) -> tuple[str, ...]:
        """Look for the workers, and ask the kernel for the right to signal them."""
        return tuple(self._problems(location)) if location is not None else ()

    def ending(self, location: Location) -> Ending:
        """Name the workers that would be replaced now, the largest first."""
        chosen = choose(self._pool(location.root), self._options.workers, self._options.factor)
        pids = tuple(worker.run.pid for worker in chosen)
        return Ending(pids=pids, within_s=self._options.wait)

    def describe(self) -> str:
        """Say whom it ends, and by what."""
        whom = "the leaking workers" if self._options.workers is Which.LEAKING else "every worker"
        name = self._options.kind.ends_by.name.removeprefix("SIG")
        wait = format_duration(self._options.wait)
        count = self._options.at_once
        return f"{name} to {whom} of {self._options.kind}, {count} at a time, KILL after {wait}"

    def who_starts(self) -> str:
        """Say that the master does."""
        return f"the master of {self._options.kind}"

    def _problems(self, location: Location) -> Iterator[str]:
        try:
            with open_checked(self._context.proc, location.root):
                pool = self._pool(location.root)
            for worker in pool.workers:
                with suppress(ProcessGone), open_checked(self._context.proc, worker.run) as handle:
                    handle.send(0)
        except LeakguardError as error:
            yield str(error)

    def _pool(self, root: Incarnation) -> Pool:
        pool = find_pool(self._context.proc, root, self._options.kind)
        if pool is None:
            raise DriverError(
                f"no worker of {self._options.kind} runs below {root}: correct kind or target, or "
                "use another driver",
                permanent=True,
            )
        return pool


@dataclass(slots=True)
class _Roll:
    """One run over the workers of a pool."""

    options: Options
    context: DriverContext
    order: RestartOrder
    pool: Pool
    _began: Instant = field(init=False)
    _done: list[str] = field(default_factory=list, init=False)
    _known: set[Incarnation] = field(default_factory=set, init=False)

    def run(self) -> Stopped:
        """Carry it out, as far as the deadline allows."""
        self._began = self.context.clock.now()
        self._known = {worker.run for worker in self.pool.workers}
        chosen = choose(self.pool, self.options.workers, self.options.factor)
        at_once = min(self.options.at_once, max(1, len(self.pool.workers) - 1))
        left, note = iter(chosen), ""
        while batch := tuple(islice(left, at_once)):
            if self._done and self._left_s() < self.options.settle + LOOK_S:
                note = f"; {len(chosen) - len(self._done)} were left: the deadline is over"
                break
            self._replace(batch)
        return Stopped(
            stop_s=self._elapsed_s(),
            message=f"{'; '.join(self._done)}{note}",
            kept_root=True,
        )

    def _replace(self, batch: tuple[Worker, ...]) -> None:
        killed = self._end(batch)
        new = self._await(len(batch))
        for worker in batch:
            by = f" by {new.pop(0).pid}" if new else ""
            how = " (killed)" if worker.run in killed else ""
            size = format_bytes(worker.own_bytes)
            self._done.append(f"worker {worker.run.pid} ({size}) was replaced{by}{how}")

    def _end(self, batch: tuple[Worker, ...]) -> set[Incarnation]:
        """End workers in good order; gives those that took a KILL."""
        with ExitStack() as stack:
            handles = list(self._open(batch, stack))
            for handle in handles:
                with suppress(ProcessGone):
                    handle.send(self.options.kind.ends_by)
            patience_s = min(self.options.wait, self._left_s() - KILL_WAIT_S)
            wait_all(handles, patience_s, self.order.cancelled)
            self._check_cancelled()
            stuck = [handle for handle in handles if not handle.ended()]
            for handle in stuck:
                with suppress(ProcessGone):
                    handle.send(9)
            if not wait_all(stuck, KILL_WAIT_S, self.order.cancelled):
                names = ", ".join(str(handle.incarnation) for handle in stuck)
                raise DriverError(f"{self._so_far()}{names} still runs after KILL")
            return {handle.incarnation for handle in stuck}

    def _open(self, batch: tuple[Worker, ...], stack: ExitStack) -> Iterator[Pidfd]:
        """Hold the workers, so that a number that was used again is never hit."""
        for worker in batch:
            with suppress(ReadingError):
                handle = stack.enter_context(open_checked(self.context.proc, worker.run))
                # Read again now that the handle pins it: it is still the master's.
                if self.context.proc.stat(worker.run.pid).ppid == self.pool.master.pid:
                    yield handle

    def _await(self, count: int) -> list[Incarnation]:
        """Wait until the pool is whole again and the new workers have lived for a moment."""
        clock, since = self.context.clock, None
        limit_s, began = min(self.options.wait, self._left_s()), clock.now()
        while True:
            now = clock.now()
            new = self._new_workers()
            whole = len(new) >= count and self._count() >= len(self.pool.workers)
            since = (since or now) if whole else None
            if since is not None and now.since(since) >= self.options.settle:
                self._known |= set(new)
                return new
            if now.since(began) >= limit_s:
                break
            self.order.cancelled.wait(LOOK_S)
            self._check_cancelled()
        raise DriverError(
            f"{self._so_far()}the master {self.pool.master} has {self._count()} of "
            f"{len(self.pool.workers)} workers after {format_duration(limit_s)}: nothing further "
            "was replaced; see its log"
        )

    def _new_workers(self) -> list[Incarnation]:
        return [run for run in self._runs() if run not in self._known]

    def _count(self) -> int:
        return len(self._runs())

    def _runs(self) -> list[Incarnation]:
        pool = find_pool(self.context.proc, self.pool.master, self.options.kind)
        return [worker.run for worker in pool.workers] if pool is not None else []

    def _check_cancelled(self) -> None:
        if self.order.cancelled.is_set():
            raise DriverError(f"{self._so_far()}leakguard is ending: nothing further was replaced")

    def _so_far(self) -> str:
        return f"{'; '.join(self._done)}; then: " if self._done else ""

    def _left_s(self) -> float:
        return self.order.deadline_s - self._elapsed_s()

    def _elapsed_s(self) -> float:
        return self.context.clock.now().since(self._began)
