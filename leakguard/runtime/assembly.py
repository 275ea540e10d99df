"""Every part of one daemon, wired together; nothing is read, served or started yet."""

import logging
import os

from leakguard.core.decision import Reply
from leakguard.core.engine import Step
from leakguard.core.plan import Plan
from leakguard.core.sample import Snapshot
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children
from leakguard.linux.memory_events import MemoryEvents
from leakguard.linux.procfs import ProcFs
from leakguard.linux.statm import raise_descriptor_limit
from leakguard.runtime import restore
from leakguard.runtime.agenda import Agenda
from leakguard.runtime.alone import Alone
from leakguard.runtime.back import DaemonBack, View
from leakguard.runtime.bootstrap import Machine, Parts, build
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.collect import Collector
from leakguard.runtime.daemon import Daemon, Outlets
from leakguard.runtime.dispatcher import Dispatcher
from leakguard.runtime.errands import Errands
from leakguard.runtime.event_lines import EventLines
from leakguard.runtime.executor import Executor
from leakguard.runtime.handover import Launch
from leakguard.runtime.hook_output import HookOutput
from leakguard.runtime.inbox import Inbox
from leakguard.runtime.kill_watch import open_kill_watch
from leakguard.runtime.lifecycle import SystemdNotify
from leakguard.runtime.live import Live
from leakguard.runtime.rehearsal import Rehearsal
from leakguard.runtime.scheduler import Scheduler
from leakguard.runtime.upkeep import Upkeep, fired, schedules_in
from leakguard.runtime.victim_watch import VictimWatch
from leakguard.runtime.wake import MainThread, Wake
from leakguard.store.opening import open_store
from leakguard.web.server import WebServer

log = logging.getLogger("leakguard")


class Assembly:
    """What the loop works with. The order of the constructor is the order of dependence.

    Raises:
        LeakguardError: another daemon uses the state file, or a plug-in refuses its options.
    """

    def __init__(self, launch: Launch, wake: Wake) -> None:
        """Wire a daemon for `launch`."""
        self.plan, self.options = launch.plan, launch.options
        self.main = MainThread(wake)
        self.machine = _machine(self.plan, self.main)
        self.inbox, self.agenda = Inbox(wake.set), Agenda()
        self.systemd = SystemdNotify(dict(os.environ))
        self.store = open_store(self.plan.state, self.machine.clock, self.inbox.notice)
        self.live = self._resume()
        self.alone = Alone(self.options.alone, self.machine.children)
        self.errands = Errands(
            self.plan, self.machine.clock, self.machine.children, HookOutput(self.plan.state)
        )
        self.executor = self._executor()
        self.rehearsal = Rehearsal(self.inbox.notice)
        self.dispatcher = Dispatcher(
            self.store, self.live.parts.notifiers, self.machine.clock, self.inbox.notice
        )
        self.upkeep = self._upkeep()
        self.scheduler = Scheduler(self.machine.clock, self.inbox.post, self.upkeep.chores())
        self.kernel = MemoryEvents(self._under_pressure)
        self.kills = open_kill_watch(
            self.machine.proc, self.machine.children, self.machine.clock, wake.set
        )
        self.victims = VictimWatch(self.machine.proc, self.machine.clock, self.inbox.foretold)
        self.back = DaemonBack(
            clock=self.machine.clock,
            store=self.store,
            inbox=self.inbox,
            agenda=self.agenda,
            next_schedule=self.scheduler.next_due,
            cannot_act=self.rehearsal.problems,
            complete=self._complete,
        )
        self.web = WebServer(self.back, self.plan.http, self.plan.socket_path)
        self.lines = EventLines(self.options.events_to, self.machine.clock)
        self.daemon = self._daemon()
        self._wake = wake
        self._hints = ""

    def _complete(self, reply: Reply) -> Reply:
        from leakguard.runtime.dry_run import complete_reply  # few ever ask

        return complete_reply(reply, self.live.parts, self.machine)

    def _upkeep(self) -> Upkeep:
        return Upkeep(
            clock=self.machine.clock,
            store=self.store,
            dispatcher=self.dispatcher,
            rehearsal=self.rehearsal,
            systemd=self.systemd,
            live=self.live,
            hooks_prune=self.errands.prune,
        )

    def collector_of(self, parts: Parts) -> Collector:
        """Make the collector of a configuration."""
        return Collector(parts.roster, self.machine.proc, self.machine.cgroups, self.kills)

    def rebuild(self, plan: Plan) -> Parts:
        """Build the parts of a new configuration; what runs is not touched."""
        known = self.live.parts.roster.known()
        return build(plan, self.machine, known, self.live.respawn_seen)

    def _resume(self) -> Live:
        """Go on from what the store kept; children that outlived their daemon are taken over."""
        measures = {s.rules.name: s.rules.measure for s in self.plan.services}
        now = self.machine.clock.now()
        live = Live(restore.restore(self.store.load(), measures=measures, now=now))
        known = restore.known_incarnations(live.state)
        restore.adopt_children(self.plan, known, self.machine.children, self.machine.proc)
        live.parts = build(
            self.plan,
            self.machine,
            known,
            live.respawn_seen,
            die_with_us=bool(self.options.alone),
        )
        return live

    def _executor(self) -> Executor:
        executor = Executor(
            drivers=self.live.parts.drivers,
            post=self.inbox.outcome,
            locate=self.live.locate,
            clock=self.machine.clock,
            children=self.machine.children,
            health=self.live.parts.health,
            errands=self.errands,
        )
        executor.cgroups = self.machine.cgroups
        return executor

    def _daemon(self) -> Daemon:
        return Daemon(
            live=self.live,
            clock=self.machine.clock,
            store=self.store,
            inbox=self.inbox,
            agenda=self.agenda,
            collector=self.collector_of(self.live.parts),
            executor=self.executor,
            outlets=Outlets(
                events=self.lines.write,
                alerts_stored=self.scheduler.dispatch_now,
                clock_jumped=self.scheduler.wake,
                rules_changed=self._plan_schedules,
                ticked=self._publish,
            ),
        )

    def _plan_schedules(self) -> None:
        """Follow the times that labels of containers have brought or taken."""
        if self.scheduler.running:
            services = self.live.parts.rules.services
            self.scheduler.replace(schedules_in(services), fired(self.live.state))

    def _publish(self, made: Step, snapshot: Snapshot) -> None:
        self.back.publish(View(step=made, parts=self.live.parts, host=snapshot.host))
        if snapshot.readings:
            self._watch()
        self.victims.after(made, self.daemon.watched_directories, self.daemon.members)
        if self.kills.after(made):
            self._under_pressure()

    def _watch(self) -> None:
        """Have the kernel wake us; without descriptors or threads for that, sampling goes on."""
        problem = ""
        try:
            self.kernel.watch(self.daemon.watched_directories())
        except (OSError, RuntimeError) as error:
            problem = str(error)
        if problem and problem != self._hints:
            log.warning("the kernel cannot wake us when memory gets short: %s", problem)
        self._hints = problem

    def _under_pressure(self) -> None:
        """The kernel says that a limit comes near: sample everything now."""
        for name in self.live.parts.roster.names():
            self.agenda.hasten(name)
        self._wake.set()


def _machine(plan: Plan, main: MainThread) -> Machine:
    clock, proc = SystemClock(), ProcFs(plan.proc_root)
    return Machine(
        clock=clock,
        proc=proc,
        cgroups=CgroupFs(proc, plan.cgroup_root),
        children=Children(main, clock, descriptors=raise_descriptor_limit()[0]),
    )
