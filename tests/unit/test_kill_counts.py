"""Counters of kills from trees of files: which are read, when, and through the engine once each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from leakguard.core.engine import Inputs, Rules, step
from leakguard.core.events import EventKind
from leakguard.core.kill_book import NAME_WAIT_S
from leakguard.core.kills import NamedKill
from leakguard.core.plan import PluginSpec, ServicePlan
from leakguard.core.sample import Absent, Incarnation, Location, Sample
from leakguard.core.state import State
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.collect import COUNT_EVERY_S, Collected, Collector
from leakguard.runtime.kill_watch import KillNews, KillWatch
from leakguard.runtime.roster import Entry, Roster
from leakguard.testing.bench import NAME, guarded
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import BOOT_ID, CgroupFiles, ProcFiles
from leakguard.testing.targets import ScriptedTarget

HOME = "/s/worker"
PATHS = {1: "4:memory:{path}\n", 2: "0::{path}\n"}


class Telling(KillWatch):
    """Names the kills that the test sets."""

    def __init__(self) -> None:
        """Begin with none."""
        super().__init__()
        self.next: tuple[NamedKill, ...] = ()
        self.owners: list[str] = []

    def take(self, now: object, owner_of: Callable[[int], str]) -> KillNews:
        """Give them once, and note whose their pids are."""
        self.owners = [owner_of(kill.pid or 0) for kill in self.next]
        kills, self.next = self.next, ()
        return KillNews(kills=kills, no_names="no log")


@dataclass
class Machine:
    """A host, a limited slice, and in it the service's own cgroup without a limit."""

    folder: Path
    version: int
    clock: FakeClock = field(default_factory=FakeClock)
    state: State = field(default_factory=lambda: State(instance="i"))
    kills: int = 0
    host: int = 97

    def __post_init__(self) -> None:
        """Write all files, with two processes in the service."""
        self.clock.boot_id = BOOT_ID
        self.files = ProcFiles(self.folder / "proc")
        self.groups = CgroupFiles(self.folder / "cgroup", self.version)
        line = PATHS[self.version].format(path=HOME)
        self.files.add(10, anon=MIB, cgroups=line)
        self.files.add(11, parent=10, anon=MIB, cgroups=line)
        self.target = ScriptedTarget()
        run = Incarnation(boot_id=BOOT_ID, pid=10, start_ticks=100)
        self.target.found = (Location(root=run, name="app"),)
        plan = ServicePlan(rules=guarded(), target=PluginSpec(key="pid"))
        proc = ProcFs(str(self.files.root))
        self.names = Telling()
        self.collector = Collector(
            Roster({NAME: Entry(plan=plan, target=self.target)}, {}),
            proc,
            CgroupFs(proc, str(self.groups.root)),
            self.names,
        )
        self.count()

    def count(self, inner: int = 0, *, elsewhere: int = 0) -> None:
        """Have the kernel count kills in the service's cgroup, and elsewhere."""
        self.kills += inner
        self.host += inner + elsewhere
        above = self.kills if self.version == 2 else 0
        self.groups.add("/s", limit=64 * MIB, usage=MIB, kills=above)
        self.groups.add(HOME, procs=(10, 11), kills=self.kills)
        self.files.write("vmstat", f"nr_free_pages 5\noom_kill {self.host}\n")

    def look(self, *due: str, after_s: float = 1.0) -> Collected:
        """Collect what is due."""
        return self.collector.collect(due, self.clock.advance(after_s))

    def tick(self, *due: str, after_s: float = 1.0) -> list[tuple[EventKind, str]]:
        """Collect, step, and give what was told."""
        found = self.look(*due, after_s=after_s)
        inputs = Inputs(
            now=found.snapshot.at,
            snapshot=found.snapshot,
            kills=found.kills,
            kill_names=found.no_names,
        )
        made = step(self.state, inputs, Rules(services={NAME: guarded()}, detectors={}))
        self.state = made.state
        return [(e.kind, e.service) for e in made.events]


@pytest.fixture(params=[1, 2])
def machine(tmp_path: Path, request: pytest.FixtureRequest) -> Machine:
    """Give a machine with cgroup v1, and one with v2."""
    return Machine(tmp_path, request.param)


def test_a_sample_says_where_the_service_is(machine: Machine) -> None:
    """Its own cgroup, limited or not, and whether it is alone there."""
    (reading,) = machine.look(NAME).snapshot.readings
    assert isinstance(reading, Sample)
    key = f"v{machine.version}"
    assert (reading.cgroup, reading.alone) == (f"{key}:{HOME}", True)
    assert reading.domains == (f"{key}:/s",)


def test_at_rest_the_hosts_counter_alone_is_read(machine: Machine) -> None:
    """The others when it has risen, when a service is new, and every ten minutes."""
    key = f"v{machine.version}:{HOME}"
    seen = [machine.look(NAME).snapshot.kill_counts.get(key)]
    seen += [machine.look(NAME).snapshot.kill_counts.get(key)]
    machine.count(2)
    seen += [machine.look().snapshot.kill_counts.get(key)]
    seen += [machine.look().snapshot.kill_counts.get(key)]
    seen += [machine.look(after_s=COUNT_EVERY_S).snapshot.kill_counts.get(key)]
    assert seen == [0, None, 2, None, 2]


def test_limits_are_read_with_the_counters(machine: Machine) -> None:
    """Also those above a service that is not due, or that just ended."""
    machine.look(NAME)
    assert list(machine.look().snapshot.domains) == []
    machine.count(1)
    assert list(machine.look().snapshot.domains) == [f"v{machine.version}:/s"]


def test_a_kill_in_nested_cgroups_is_told_once(machine: Machine) -> None:
    """It is counted at the service, above it (v2, and by us for v1), and by the host."""
    machine.tick(NAME)
    machine.count(1)
    told = [machine.tick(NAME), machine.tick(NAME, after_s=NAME_WAIT_S), machine.tick(NAME)]
    assert told == [[], [(EventKind.OOM_KILL_OBSERVED, NAME)], []]
    record = machine.state.services[NAME].record
    assert (record.oom_kills, record.oom_causes) == (1, {"ancestor_limit": 1})


def test_a_kill_elsewhere_is_nobodys(machine: Machine) -> None:
    """The host's counter holds those of all cgroups."""
    machine.tick(NAME)
    machine.count(elsewhere=1)
    machine.tick(NAME)
    assert machine.tick(NAME, after_s=NAME_WAIT_S) == [(EventKind.OOM_KILL_OBSERVED, "")]
    assert machine.state.services[NAME].record.oom_kills == 0


def test_a_cgroup_that_is_gone_with_its_service(machine: Machine) -> None:
    """systemd removes it at once; the host has counted."""
    machine.tick(NAME)
    machine.host += 1
    machine.files.write("vmstat", f"oom_kill {machine.host}\n")
    folder = machine.groups.top / HOME.strip("/")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    machine.files.end(10)
    machine.files.end(11)
    machine.target.found = ()
    (reading,) = machine.look(NAME).snapshot.readings
    assert isinstance(reading, Absent)


def test_a_process_that_dies_shows_the_root_cgroup(machine: Machine) -> None:
    """Cgroup v1 does so; the kill is counted where it was."""
    machine.tick(NAME)
    machine.files.write("10/cgroup", PATHS[machine.version].format(path="/"))
    machine.files.write("10/statm", "0 0 0 0 0 0 0\n")
    machine.tick(NAME)
    machine.count(1)
    machine.tick()
    told = machine.tick(after_s=NAME_WAIT_S)
    assert told == [(EventKind.OOM_KILL_OBSERVED, NAME), (EventKind.SERVICE_DIED, NAME)]


def test_who_had_a_process_is_known_after_its_end(machine: Machine) -> None:
    """The log names it when it is gone."""
    machine.look(NAME)
    machine.names.next = (NamedKill(pid=11, name="x"), NamedKill(pid=99, name="y"))
    machine.look(NAME)
    assert machine.names.owners == [NAME, ""]


def test_names_and_their_lack_reach_the_engine(machine: Machine) -> None:
    """With the reason."""
    machine.names.next = (NamedKill(pid=11, name="x"),)
    found = machine.look(NAME)
    assert ([k.pid for k in found.kills], found.no_names) == ([11], "no log")


def test_a_root_that_runs_on_is_told(machine: Machine) -> None:
    """The target has let go of it."""
    machine.look(NAME)
    machine.target.found = ()
    assert machine.look(NAME, after_s=60.0).snapshot.still_running == (NAME,)


def test_a_host_without_a_counter(machine: Machine) -> None:
    """Before Linux 4.13 there is none anywhere."""
    machine.files.write("vmstat", "nr_free_pages 5\n")
    machine.look(NAME)
    assert machine.look(NAME).snapshot.kill_counts == {}
