"""Sample the processes named on stdin: `sampling_probe PARENT ROUNDS` prints µs per process."""

import json
import sys
import time
from collections.abc import Callable
from statistics import fmean

from leakguard.collectors.services import ServiceCollector
from leakguard.core.plan import PluginSpec, ServicePlan
from leakguard.core.policy import ServiceRules
from leakguard.core.sample import Location, Measure, Scope
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs
from leakguard.linux.statm import StatmReader, raise_descriptor_limit
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.collect import Collector
from leakguard.runtime.roster import Entry, Roster
from leakguard.targets.base import Target
from leakguard.testing.clock import FakeClock

BLOCKS = 5


class Known(Target):
    """A target whose process is known."""

    def __init__(self, location: Location) -> None:
        """Give `location` for ever."""
        self._location = location

    def locate(self) -> tuple[Location, ...]:
        """Give it."""
        return (self._location,)

    def describe(self) -> str:
        """Name it."""
        return "known"


class Probe:
    """The layers, each a function that samples every process once."""

    def __init__(self, parent: int, pids: list[int]) -> None:
        """Look up what the layers need."""
        began = SystemClock().now()
        self.clock = FakeClock(began.wall_s, began.boot_s)
        self.proc = ProcFs()
        self.cgroups = CgroupFs(self.proc)
        self.count = len(pids)
        self.root = self._location(parent)
        self.places = {f"s{pid}": self._location(pid) for pid in pids}

    def layers(self) -> dict[str, Callable[[], None]]:
        """Give every layer by its name."""
        reader = StatmReader(self.proc)
        runs = [(p.root.pid, p.root.start_ticks) for p in self.places.values()]
        tree, services = (ServiceCollector(self.proc, self.cgroups) for _ in range(2))
        collector = Collector(self._roster(), self.proc, self.cgroups)

        def statm() -> None:
            for pid, start in runs:
                reader.read(pid, start)

        def one_tree() -> None:
            tree.read("all", self.root, Measure.AUTO, self.clock.now())

        def one_each() -> None:
            now = self.clock.now()
            for name, place in self.places.items():
                services.read(name, place, Measure.AUTO, now)

        def collect() -> None:
            found = collector.collect(self.places, self.clock.now())
            assert len(found.snapshot.readings) == self.count

        return {"statm": statm, "tree": one_tree, "services": one_each, "collect": collect}

    def time_us(self, layer: Callable[[], None], rounds: int) -> float:
        """Give the mean of `rounds` simulated seconds; of some blocks, the one least disturbed."""
        layer()
        return min(self._block_us(layer, rounds) for _ in range(BLOCKS))

    def _block_us(self, layer: Callable[[], None], rounds: int) -> float:
        took = []
        for _ in range(rounds):
            self.clock.advance(1.0)
            began = time.process_time_ns()
            layer()
            took.append(time.process_time_ns() - began)
        return fmean(took) / 1e3 / self.count

    def _location(self, pid: int) -> Location:
        return Location(root=self.proc.incarnation(pid), scope=Scope.TREE, name="crowd")

    def _roster(self) -> Roster:
        return Roster({n: self._entry(n, place) for n, place in self.places.items()}, {})

    def _entry(self, name: str, place: Location) -> Entry:
        plan = ServicePlan(rules=ServiceRules(name=name), target=PluginSpec(key="pid"))
        return Entry(plan=plan, target=Known(place))


def main() -> None:
    """Measure and print."""
    raise_descriptor_limit()
    parent, rounds = int(sys.argv[1]), int(sys.argv[2])
    probe = Probe(parent, [int(word) for word in sys.stdin.read().split()])
    figures = {name: probe.time_us(layer, rounds) for name, layer in probe.layers().items()}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
