"""The whole demo: two acts under one deadline, everything cleaned up whatever happens."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from leakguard.cli._demo import guarded, unguarded
from leakguard.cli._demo.patient import free_port
from leakguard.cli._demo.receiver import Delivery, Receiver
from leakguard.cli._demo.result import DemoResult
from leakguard.cli._demo.scope import parents
from leakguard.cli._demo.show import Show
from leakguard.cli._demo.stage import Stage, StageError
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock

DEADLINE_S = 88  # with everything stuck, cleaning up takes 10 s more, and 100 s are promised


def play(show: Show, *, scoped: bool = False) -> tuple[DemoResult, tuple[Delivery, ...]]:
    """Play both acts; give the figures and the alerts that arrived.

    Raises:
        LeakguardError: the demo could not be played to its end.
        KeyboardInterrupt: INT or TERM arrived; everything is cleaned up already.
    """
    with _stage(show, scoped=scoped) as stage, _deadline(), show:
        show.title(
            "leakguard demo: one leaking web service, twice",
            "It takes about 70 seconds. Ctrl-C ends it at any time and leaves nothing behind.",
        )
        acts = [unguarded.play(stage), guarded.play(stage)]
    counts = Counter(delivery.channel for delivery in stage.deliveries)
    alerts = {channel: counts[channel] for channel in ("slack", "webhook")}
    result = DemoResult(acts=acts, alerts=alerts, cgroup=stage.in_cgroup)
    return result, tuple(stage.deliveries)


@contextmanager
def _stage(show: Show, *, scoped: bool) -> Generator[Stage, None, None]:
    clock, pid = SystemClock(), os.getpid()
    folder = Path(tempfile.mkdtemp(prefix="leakguard-demo-"))
    receiver = Receiver(clock=clock)
    url = receiver.start()
    try:
        yield Stage(
            clock=clock,
            show=show,
            folder=folder,
            parents=parents(CgroupFs(ProcFs()), pid, scoped=scoped),
            receiver=receiver,
            receiver_url=url,
            port=free_port(pid),
            pid=pid,
        )
    finally:
        receiver.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _deadline() -> Generator[None, None, None]:
    """Break off whatever the main thread does when the time is over or a signal asks for it.

    After the first signal no other one disturbs the cleaning up.
    """
    numbers = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT)

    def break_off(number: int, _: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGALRM:
            raise StageError(f"the demo took longer than {DEADLINE_S}s and was broken off")
        raise KeyboardInterrupt

    before = [signal.signal(number, break_off) for number in numbers]
    signal.alarm(DEADLINE_S)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
