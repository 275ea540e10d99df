"""Tick a daemon by hand: `ticks_probe PLAN_FD TICKS` prints CPU of a tick, memory, threads."""

import json
import logging
import os
import sqlite3
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from leakguard.core.engine import Notice
from leakguard.core.events import EventKind
from leakguard.core.severity import Severity
from leakguard.runtime import assembly
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.handover import read_plan
from leakguard.runtime.wake import Wake
from leakguard.testing.clock import FakeClock
from tests.bench import machine, setting

EVERY_S = 10.01
LOOK_TICKS = 250
FLOOR_TIMES = 300
WARM_TICKS = 100
CHORES: dict[str, int] = {"roll_up": 6, "rehearse": 3, "scrape": 10, "alert": 200, "prune": 360}
"""Every how many ticks each is done, beside the ticks and not counted as one."""


class Ticks:
    """One daemon whose clock is ours."""

    def __init__(self, fd: int) -> None:
        """Wire it as `run` does and serve, but start neither loop nor scheduler."""
        began = SystemClock().now()
        self.clock = FakeClock(began.wall_s, began.boot_s)
        vars(assembly)["SystemClock"] = lambda: self.clock
        self.plan = read_plan(fd)
        self.all = assembly.Assembly(self.plan, Wake())
        for notifier in self.all.live.parts.notifiers.values():
            notifier.spacing_s = 0.0  # real seconds, of which a simulated day has few
        self.all.web.start()
        self.took_ms = array("d")
        """Made at its full length: a list of floats would be a growth of its own."""
        self.ticked = 0
        self.seen: list[tuple[float, ...]] = []

    def run(self, ticks: int) -> None:
        """Tick, and do the chores that the scheduler would do."""
        chores: dict[str, Callable[[], object]] = {
            "roll_up": lambda: self.all.store.roll_up(self.clock.wall_s),
            "prune": lambda: self.all.store.prune(self.clock.wall_s),
            "rehearse": self.all.upkeep.rehearse,
            "scrape": self._scrape,
            "alert": self._alert,
        }
        self.took_ms = array("d", bytes(8 * 2 * ticks))
        for number in range(1, ticks + 1):
            self._tick()
            for name, every in CHORES.items():
                if number % every == 0:
                    chores[name]()
            if number % LOOK_TICKS == 0:
                self._look(number)

    def floor_ms(self) -> float:
        """Give the CPU of one bare transaction that writes a row for each service."""
        path = Path(self.plan.plan.state.path).with_name("floor.db")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("CREATE TABLE rows (a, b, c, d, e, f, PRIMARY KEY (a, b))")
        rows = [(n, 0, 1, 2, 3, 4) for n in range(len(self.plan.plan.services))]
        took = []
        for number in range(FLOOR_TIMES):
            began = time.thread_time()
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?)",
                [(row[0], number, *row[2:]) for row in rows],
            )
            connection.execute("COMMIT")
            took.append((time.thread_time() - began) * 1e3)
        connection.close()
        return median(took)

    def _tick(self) -> None:
        self.clock.advance(EVERY_S)
        began = time.thread_time()
        made = self.all.daemon.tick()
        self.took_ms[self.ticked] = (time.thread_time() - began) * 1e3
        self.ticked += 1
        assert len(made.samples) == len(self.plan.plan.services), "not everything was due"
        if made.alerts:
            self.all.dispatcher.dispatch_due()

    def _scrape(self) -> None:
        for path in ("/metrics", "/api/v1/status"):
            setting.ask(Path(self.plan.plan.socket_path), path)

    def _alert(self) -> None:
        """Let both channels have something to send; each second time it is resolved."""
        rejected = self.ticked // CHORES["alert"] % 2
        kind = EventKind.CONFIG_REJECTED if rejected else EventKind.CONFIG_RELOADED
        severity = Severity.WARNING if rejected else Severity.INFO
        self.all.inbox.notice(
            Notice(kind=kind.value, service="", severity=severity.value, message="the bench")
        )
        self._tick()

    def _look(self, number: int) -> None:
        pid = os.getpid()
        figures = machine.rss_mib(pid), machine.threads(pid), machine.descriptors(pid)
        self.seen.append((number, *figures, sys.getallocatedblocks()))


def main() -> None:
    """Run and print."""
    logging.disable()
    ticks = Ticks(int(sys.argv[1]))
    ticks.run(int(sys.argv[2]))
    took = ticks.took_ms[WARM_TICKS : ticks.ticked]
    document = {
        "tick_ms": median(took),
        "slow_ms": quantiles(took, n=100)[98],
        "floor_ms": ticks.floor_ms(),
        "seen": ticks.seen,
    }
    print(json.dumps(document))
    sys.stdout.flush()
    os._exit(0)  # as the daemon ends: no thread may hold the exit


if __name__ == "__main__":
    main()
