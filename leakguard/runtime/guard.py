"""One run of the guard from start to end: the loop in the main thread, signals, reload, the end."""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import leakguard
from leakguard.core.engine import Notice
from leakguard.core.events import Detail, EventKind, Severity
from leakguard.linux import own_cgroup
from leakguard.runtime import held_down
from leakguard.runtime.assembly import Assembly
from leakguard.runtime.handover import Launch
from leakguard.runtime.lifecycle import Signals
from leakguard.runtime.record import Recorder
from leakguard.runtime.reload import Reloader
from leakguard.runtime.takeover import Takeover
from leakguard.runtime.upkeep import fired, schedules_in
from leakguard.runtime.wake import Wake

log = logging.getLogger("leakguard")

STOP_SLICE_S = 0.2
PID_1 = 1
FAILED_TICKS = 10
FAILED_PAUSE_S = 0.5
LAST_ALERTS_S = 1.0
LAST_ALERTS_LOST_S = 2.0
"""How long the end waits for channels: longer where the state is not kept for a next start."""
LAST_LINES_S = 0.3


class Guard:
    """Runs one daemon. `run` may be called once."""

    def __init__(self, launch: Launch) -> None:
        """Wire the parts; nothing is served or started yet."""
        self._options = launch.options
        self._wake = Wake()
        self._signals = Signals(self._wake.set)
        self._all = Assembly(launch, self._wake)
        self._takeover = Takeover(self._all, launch)
        self._reloader = Reloader(launch.options.reload, self._all.machine.children, self._wake.set)
        self._told_to_stop: list[int] = []
        self._failed_ticks = 0
        self._pause = threading.Event()
        self._undelivered: dict[str, int] = {}

    def run(self) -> int:
        """Run until told to stop; gives the exit code."""
        try:
            self._start()
            self._loop()
        finally:
            self._stop()
        return self._all.alone.exit_code(self._told_to_stop)

    def _start(self) -> None:
        everything, options, plan = self._all, self._options, self._takeover.launch.plan
        self._signals.catch((signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD))
        self._signals.catch(everything.alone.forwards)
        if options.alone and os.getpid() != PID_1:
            everything.machine.children.become_subreaper()
        everything.web.start()
        for warning in everything.web.warnings:
            log.warning("%s", warning)
        if options.record:
            everything.daemon.recorder = Recorder(Path(options.record), plan, everything.live.state)
        self._note(EventKind.DAEMON_STARTED, Severity.INFO, self._introduction())
        self._tick()
        schedules = schedules_in(
            everything.live.parts.rules.services
        )  # the tick may have seen labels
        everything.scheduler.start(schedules, fired(everything.live.state))
        self._rehearse()
        everything.systemd.say(f"READY=1\nSTATUS={self._introduction()}")

    def _loop(self) -> None:
        everything = self._all
        while not self._told_to_stop and not everything.alone.over(everything.live):
            self._wake.wait(self._wait_s(), everything.alone.watched())
            everything.main.run_pending()
            self._take_signals()
            self._take_reload()
            everything.machine.children.reap_orphans()
            if everything.alone.ended():
                everything.agenda.hasten(everything.alone.service)
            if self._tick() and everything.systemd.watchdog_s is not None:
                everything.systemd.say("WATCHDOG=1")

    def _tick(self) -> bool:
        """Tick; an unexpected error is told, and the next tick tried. Too many in a row end it."""
        try:
            self._all.daemon.tick()
        except Exception as error:
            self._failed_ticks += 1
            if self._failed_ticks >= FAILED_TICKS:
                raise
            log.exception("a tick failed")
            message = f"a tick failed: {type(error).__name__}: {error}"
            self._note(EventKind.TICK_FAILED, Severity.CRITICAL, message)
            self._pause.wait(FAILED_PAUSE_S)  # not `_wake`, which the notice has just set
            return False
        self._failed_ticks = 0
        return True

    def _wait_s(self) -> float:
        now = self._all.machine.clock.now()
        wait = self._all.agenda.wait_s(self._all.live.parts.roster.names(), now)
        watchdog = self._all.systemd.watchdog_s
        return wait if watchdog is None else min(wait, watchdog)

    def _stop(self) -> None:
        """End in order. What fails is logged, and the rest is done all the same."""
        everything = self._all
        parts: tuple[Callable[[], object], ...] = (
            lambda: everything.systemd.say("STOPPING=1"),
            everything.inbox.close,
            everything.scheduler.close,
            lambda: self._aside(self._finish_restarts),
            self._last_tick,  # sees what those came to, and who is down
            lambda: self._aside(self._start_held_down),
            self._last_tick,  # sees what those started, before it is ended
            lambda: self._aside(self._end_children),
            self._note_the_end,
            self._last_tick,
            lambda: self._aside(self._deliver),
            self._note_lost_alerts,
            everything.web.close,
            everything.kernel.close,
            everything.kills.close,
            everything.main.close,
            self._end_recording,
            everything.store.close,
            lambda: everything.lines.flush(LAST_LINES_S),
            self._clean_up,
        )
        for part in parts:
            try:
                part()
            except Exception:
                log.exception("the end did not go as it should")

    def _note_the_end(self) -> None:
        if self._all.live.ticked is not None:
            self._note(EventKind.DAEMON_STOPPED, Severity.INFO, "leakguard stops")

    def _end_recording(self) -> None:
        if self._all.daemon.recorder is not None:
            self._all.daemon.recorder.close()

    def _clean_up(self) -> None:
        options = self._options
        if options.temporary:
            shutil.rmtree(options.temporary, ignore_errors=True)
        if options.cgroup:
            try:
                own_cgroup.remove(Path(options.cgroup))
            except own_cgroup.CgroupRefused as error:
                log.warning("%s", error)

    def _last_tick(self) -> None:
        try:
            self._all.daemon.tick(ending=True)
        except Exception:
            log.exception("the last tick failed")

    def _finish_restarts(self, _cancelled: threading.Event) -> None:
        grace_s = self._takeover.launch.plan.shutdown_grace_s
        self._all.executor.shutdown(grace_s, self._in_a_hurry)

    def _start_held_down(self, cancelled: threading.Event) -> None:
        held_down.start_all(self._all.live, self._all.machine.clock, cancelled)

    def _end_children(self, cancelled: threading.Event) -> None:
        self._takeover.leaving.finish(cancelled)
        if not (self._told_to_stop or self._all.alone.service):
            return  # it is our own fault: the next start adopts them
        for driver in tuple(self._all.live.parts.drivers.values()):
            driver.stop_for_good(cancelled, self._passed_on())

    def _deliver(self, cancelled: threading.Event) -> None:
        """Send what is pending, for a moment."""
        lost = not self._takeover.launch.plan.state.path
        self._undelivered = self._all.dispatcher.finish(
            LAST_ALERTS_LOST_S if lost else LAST_ALERTS_S, never_again=lost, cancelled=cancelled
        )

    def _note_lost_alerts(self) -> None:
        """Say what could not be sent; without a state file nobody sends it later."""
        lost = not self._takeover.launch.plan.state.path
        for channel, count in self._undelivered.items():
            alerts = f"{count} alert{'' if count == 1 else 's'} for channel {channel}"
            if lost:
                message = f"{alerts} could not be delivered before the end, and never will be"
                self._note(EventKind.DELIVERY_FAILED, Severity.WARNING, message, channel=channel)
            else:
                log.warning("%s could not be delivered yet: the next start sends them", alerts)
        if lost and self._undelivered:
            self._last_tick()

    def _passed_on(self) -> str:
        """Give the signal that `exec` was told to end by: its command gets the same one."""
        if not self._all.alone.service or not self._told_to_stop:
            return ""
        return signal.Signals(self._told_to_stop[0]).name.removeprefix("SIG")

    def _aside(self, work: Callable[[threading.Event], None]) -> None:
        """Do a part of the end in a thread: it may need this one. A second signal cuts it short."""
        cancelled, done = threading.Event(), threading.Event()

        def run() -> None:
            try:
                work(cancelled)
            except Exception:
                log.exception("stopping did not go as it should")
            finally:
                done.set()
                self._wake.set()

        try:
            threading.Thread(target=run, name="stopping", daemon=True).start()
        except RuntimeError:  # no thread to be had now
            run()
        while not done.is_set():
            self._wake.wait(STOP_SLICE_S)
            self._all.main.run_pending()
            self._take_signals()
            if self._in_a_hurry():
                cancelled.set()

    def _in_a_hurry(self) -> bool:
        return len(self._told_to_stop) > 1

    def _take_signals(self) -> None:
        alone = self._all.alone
        for signum in self._signals.take():
            if signum in (signal.SIGTERM, signal.SIGINT):
                self._told_to_stop.append(signum)
            elif signum in alone.forwards:
                alone.forward(signum)
            elif signum == signal.SIGHUP:
                self._reloader.begin(self._takeover.launch)

    def _take_reload(self) -> None:
        result = self._reloader.take()
        if result is None:
            return
        problem, leaving = result.problem, tuple[str, ...]()
        if result.launch is not None:
            try:
                leaving = self._takeover.take(result.launch)
            except Exception as error:  # a bad plan must leave the old one running
                log.debug("a reload was refused", exc_info=True)
                problem = str(error) or type(error).__name__
        self._all.back.config_problem = problem
        if problem:
            message = f"the old configuration stays: {problem}"
            self._note(EventKind.CONFIG_REJECTED, Severity.WARNING, message)
            return
        self._rehearse()
        ends = f"; ends what is no longer in it: {', '.join(leaving)}" if leaving else ""
        message = f"the configuration was read anew: {self._introduction()}{ends}"
        self._note(EventKind.CONFIG_RELOADED, Severity.INFO, message)

    def _rehearse(self) -> None:
        work = self._all.upkeep.rehearse
        try:
            threading.Thread(target=work, name="rehearsal", daemon=True).start()
        except RuntimeError as error:  # no thread to be had now: the heartbeat rehearses too
            log.warning("the rehearsal is put off: %s", error)

    def _introduction(self) -> str:
        plan = self._takeover.launch.plan
        names = ", ".join(s.rules.name for s in plan.services[:5])
        more = f" and {len(plan.services) - 5} more" if len(plan.services) > 5 else ""
        where = f", socket {plan.socket_path}" if plan.socket_path else ""
        return f"leakguard {leakguard.__version__} watches {names}{more}{where}"

    def _note(self, kind: EventKind, severity: Severity, message: str, **details: Detail) -> None:
        self._all.inbox.notice(
            Notice(
                kind=kind.value,
                service="",
                severity=severity.value,
                message=message,
                details=details,
            )
        )
