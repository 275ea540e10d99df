"""A daemon at rest: memory, threads, descriptors and CPU with 20, 100 and 200 services.

Each has told of something on both channels, was scraped, and was asked for its page, so that all
that a real one would have loaded is loaded. The first half minute, in which services are young
and sampled every half second, is not counted.
"""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.bench import machine, setting
from tests.bench.budgets import Row
from tests.workloads.guarded import Daemon, Receiver, until

COUNTS = (20, 100, 200)
YOUNG_S = 35.0
WATCH_S = 60.0

RSS_MIB = 42.0
RSS_MORE_MIB = 2.0
THREADS = 12
CPU_PERCENT = 0.2


def measure(folder: Path) -> Iterator[Row]:
    """Run the three side by side for a minute and a half."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        daemons = {}
        for count in COUNTS:
            _, pids = stack.enter_context(machine.crowd(folder, count))
            made = setting.daemon(folder / f"resting{count}", pids, receiver.url)
            daemons[count] = stack.enter_context(made)
        before = {count: _settled(made, count) for count, made in daemons.items()}
        for made in daemons.values():
            _exercise(made, receiver)
        threading.Event().wait(YOUNG_S)
        cpu = _cpu_percent(daemons)
        yield from _rows(daemons, before, cpu)


def warm(folder: Path) -> None:
    """Use everything once, so that every module was compiled before it is measured."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        _, pids = stack.enter_context(machine.crowd(folder, 1))
        made = stack.enter_context(setting.daemon(folder / "warm", pids, receiver.url))
        _settled(made, 1)
        _exercise(made, receiver)
        for name in ("status", "health"):
            path = str(made.folder / "control.sock")
            command = [sys.executable, "-m", "leakguard", name, "--socket", path]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _settled(made: Daemon, count: int) -> float:
    """Wait until everything was sampled; gives the memory then."""
    until(lambda: setting.sampled(made.folder / "control.sock") == count, 30.0)
    return machine.rss_mib(made.pid)


def _exercise(made: Daemon, receiver: Receiver) -> None:
    """Use all that a daemon in production uses: alerts on both channels, metrics, the page."""
    known = len(receiver.accepted("/slack")), len(receiver.accepted("/hook"))
    good = made.config_file.read_text("utf-8")
    made.config_file.write_text("nonsense: 1\n", "utf-8")
    assert made.process is not None
    made.process.send_signal(signal.SIGHUP)  # the daemon tells that it keeps what it has
    until(lambda: len(receiver.accepted("/slack")) > known[0], 30.0, "no Slack message")
    until(lambda: len(receiver.accepted("/hook")) > known[1], 30.0, "no webhook")
    made.config_file.write_text(good, "utf-8")
    for path in ("/", "/metrics", "/api/v1/status", "/api/v1/events"):
        setting.ask(made.folder / "control.sock", path)


def _cpu_percent(daemons: dict[int, Daemon]) -> dict[int, float]:
    used = {count: machine.cpu_s(made.pid) for count, made in daemons.items()}
    began = time.monotonic()
    threading.Event().wait(WATCH_S)
    took = time.monotonic() - began
    return {c: (machine.cpu_s(d.pid) - used[c]) / took * 100 for c, d in daemons.items()}


def _rows(
    daemons: dict[int, Daemon], before: dict[int, float], cpu: dict[int, float]
) -> Iterator[Row]:
    rss = {count: machine.rss_mib(made.pid) for count, made in daemons.items()}
    few = daemons[20].pid
    bare = _bare_mib()
    yield Row(what="RSS, 20 services", measured=rss[20], unit="MiB", most=RSS_MIB, floor=bare)
    yield Row(what="RSS, 20 services, before the first alert", measured=before[20], unit="MiB")
    yield Row(
        what="RSS, 100 services more than 20",
        measured=rss[100] - rss[20],
        unit="MiB",
        most=RSS_MORE_MIB,
    )
    yield Row(what="RSS, 200 services", measured=rss[200], unit="MiB")
    yield Row(
        what="threads, 20 services", measured=machine.threads(few), unit="threads", most=THREADS
    )
    yield Row(what="descriptors, 20 services", measured=machine.descriptors(few), unit="open")
    yield Row(
        what="CPU at rest, 20 services", measured=cpu[20], unit="% of a core", most=CPU_PERCENT
    )
    yield Row(what="CPU at rest, 200 services", measured=cpu[200], unit="% of a core")


def _bare_mib() -> float:
    """Give the memory of a Python that does nothing."""
    ready = "import sys; sys.stdout.write('x'); sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", ready], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as bare:
        assert bare.stdout is not None
        bare.stdout.read(1)
        return machine.rss_mib(bare.pid)
