"""A real memory cgroup: usage, limits, an OOM kill that is counted, and wake-ups by the kernel."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event

import pytest

from leakguard import plugins
from leakguard.collectors.domains import DomainCollector
from leakguard.collectors.services import ServiceCollector
from leakguard.core.errors import TargetError
from leakguard.core.sample import Location, Measure, Scope
from leakguard.core.units import MIB
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.memory_events import MemoryEvents
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.clock import SystemClock
from leakguard.targets.base import TargetContext

pytestmark = pytest.mark.root

PATIENCE_S = 30.0
LIMIT = 64 * MIB
LIMITS = {
    1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    2: ("memory.max", "memory.swap.max"),
}
HOLD = "kept = bytearray({size})\nfor at in range(0, {size}, 4096): kept[at] = 1\n"
READY = "print('ready', flush=True)\nimport sys; sys.stdin.read()\n"
MORE = (
    "import sys\nprint('ready', flush=True)\nkept = []\n"
    "for line in sys.stdin: kept.append(b'x' * int(line))\n"
)


class Group:
    """A memory cgroup of our own, of whichever version this machine has."""

    def __init__(self, cgroups: CgroupFs, parent: CgroupDir, name: str) -> None:
        self.version = parent.version
        self.folder = Path(parent.directory) / name
        if self.version == 2:
            with suppress(OSError):
                (self.folder.parent / "cgroup.subtree_control").write_text("+memory")
        self.folder.mkdir()
        self.dir = cgroups.directory(str(self.folder))
        self._running: list[subprocess.Popen[bytes]] = []

    def limit(self, size: int) -> None:
        """Set the limit of memory, and as far as there is one, that of memory and swap."""
        (self.folder / LIMITS[self.version][0]).write_text(str(size))
        both = self.folder / LIMITS[self.version][1]
        if both.exists():
            both.write_text(str(size if self.version == 1 else 0))

    def run(self, code: str) -> subprocess.Popen[bytes]:
        """Run Python code that was put into the group before it began; wait until it is ready."""
        script, place = 'echo $$ > "$0"; exec "$@"', str(self.folder / "cgroup.procs")
        process = subprocess.Popen(
            ["/bin/sh", "-c", script, place, sys.executable, "-S", "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._running.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        return process

    def close(self) -> None:
        """End what runs in the group and remove it."""
        for process in self._running:
            process.kill()
            process.communicate()
        wait_for(self._removed)

    def _removed(self) -> bool:
        with suppress(OSError):
            self.folder.rmdir()
        return not self.folder.exists()


@pytest.fixture
def proc() -> ProcFs:
    """Give the real /proc."""
    return ProcFs()


@pytest.fixture
def cgroups(proc: ProcFs) -> Iterator[CgroupFs]:
    """Give the real cgroups."""
    fs = CgroupFs(proc)
    yield fs
    fs.close()


@pytest.fixture
def make(cgroups: CgroupFs) -> Iterator[Callable[..., Group]]:
    """Give a function that makes groups, which are removed in the end."""
    with ExitStack() as stack:

        def build(parent: CgroupDir | None = None, name: str = "") -> Group:
            above = parent or cgroups.directory("/")
            group = Group(cgroups, above, name or f"leakguard-test-{os.getpid()}")
            stack.callback(group.close)
            return group

        yield build


Make = Callable[..., Group]


def grow(process: subprocess.Popen[bytes], size: int) -> None:
    """Let a process that runs MORE take that much more."""
    assert process.stdin is not None
    process.stdin.write(f"{size}\n".encode())
    process.stdin.flush()


def test_a_process_is_found_in_its_real_group(make: Make, proc: ProcFs, cgroups: CgroupFs) -> None:
    """Path and directory agree with the kernel's; every ancestor up to the real root is seen."""
    group = make()
    process = group.run(READY)
    found = cgroups.memory_dir(process.pid)
    assert found == group.dir
    assert cgroups.procs(group.dir) == (process.pid,)
    assert proc.cgroup_of(process.pid)["memory" if group.version == 1 else ""] == group.dir.path


def test_limits_of_ancestors_count(make: Make, proc: ProcFs, cgroups: CgroupFs) -> None:
    """A limit on the parent is a domain of the child's process, after its own."""
    outer = make()
    outer.limit(LIMIT)
    inner = make(outer.dir, "inner")
    process = inner.run(HOLD.format(size=20 * MIB) + READY)
    location = Location(root=proc.incarnation(process.pid))
    inner.limit(LIMIT // 2)
    keys, domains = DomainCollector(cgroups).read(location)
    assert keys[:2] == (inner.dir.key, outer.dir.key)
    assert [domains[key].limit_bytes for key in keys[:2]] == [LIMIT // 2, LIMIT]
    assert domains[outer.dir.key].used_bytes == pytest.approx(24 * MIB, abs=6 * MIB)


def test_a_service_alone_in_its_group_is_measured_by_it(
    make: Make, proc: ProcFs, cgroups: CgroupFs
) -> None:
    """`auto` takes the group's counters; they say the same as the process here."""
    group = make()
    process = group.run(HOLD.format(size=30 * MIB) + READY)
    collector = ServiceCollector(proc, cgroups)
    now = SystemClock().now()
    tree = Location(root=proc.incarnation(process.pid))
    whole = Location(root=tree.root, scope=Scope.CGROUP, cgroup_path=str(group.folder))
    values = [
        collector.read("a", tree, Measure.AUTO, now).value_bytes,
        collector.read("b", tree, Measure.CGROUP, now).value_bytes,
        collector.read("c", whole, Measure.AUTO, now).value_bytes,
        collector.read("d", tree, Measure.RSS, now).value_bytes,
    ]
    collector.close()
    assert values == pytest.approx([34 * MIB] * 4, rel=0.25)
    assert values[0] == values[2]


def test_an_oom_kill_is_counted(make: Make, cgroups: CgroupFs) -> None:
    """In the group that ran out, and in a limited group above it whose limit was not hit."""
    outer = make()
    outer.limit(2 * LIMIT)
    inner = make(outer.dir, "inner")
    inner.limit(LIMIT)
    before = [cgroups.read_domain(group.dir).oom_kills for group in (inner, outer)]
    process = inner.run(MORE)
    grow(process, 2 * LIMIT)
    process.wait(PATIENCE_S)
    after = [cgroups.read_domain(group.dir) for group in (inner, outer)]
    assert process.returncode == -9
    assert (before, [domain.oom_kills for domain in after]) == ([0, 0], [1, 1])


def test_headroom_is_what_can_still_grow(make: Make, cgroups: CgroupFs) -> None:
    """Nine tenths of it fit without a kill."""
    group = make()
    group.limit(LIMIT)
    process = group.run(MORE)
    domain = cgroups.read_domain(group.dir)
    grow(process, int(domain.headroom_bytes * 0.9))
    wait_for(lambda: cgroups.read_domain(group.dir).used_bytes > LIMIT * 0.85)
    assert (process.poll(), cgroups.read_domain(group.dir).oom_kills) == (None, 0)


def test_a_whole_group_is_a_target(make: Make, proc: ProcFs, cgroups: CgroupFs) -> None:
    """Empty it is refused; with a process it is located, by path and by directory."""
    group = make()
    children = Children(run_here, SystemClock(), proc)
    context = TargetContext(service="app", proc=proc, cgroups=cgroups, children=children)
    targets = [
        plugins.load("targets", "cgroup").make({"path": path}, context)
        for path in (group.dir.path, str(group.folder))
    ]
    with pytest.raises(TargetError, match="has no process"):
        targets[0].locate()
    process = group.run(READY)
    for target in targets:
        (location,) = target.locate()
        assert (location.root.pid, location.cgroup_path) == (process.pid, str(group.folder))


def test_the_kernel_wakes_us_at_half_of_the_limit(make: Make) -> None:
    """v1: the eventfd of a usage threshold; v2 has none, there the limit itself wakes."""
    group = make()
    group.limit(LIMIT)
    process = group.run(MORE)
    woken = Event()
    events = MemoryEvents(woken.set)
    try:
        assert events.watch({group.dir}) == {}
        assert not woken.wait(0.3)
        grow(process, LIMIT * 6 // 10 if group.version == 1 else 2 * LIMIT)
        assert woken.wait(PATIENCE_S)
    finally:
        events.close()


def test_an_oom_kill_wakes_us(make: Make) -> None:
    """Also in a group that is made anew under its old name."""
    woken = Event()
    events = MemoryEvents(woken.set)
    try:
        for _ in range(2):
            group = make()
            group.limit(LIMIT)
            process = group.run(MORE)
            assert events.watch({group.dir}) == {}
            woken.clear()
            grow(process, 2 * LIMIT)
            assert woken.wait(PATIENCE_S)
            group.close()
    finally:
        events.close()


def test_what_is_no_longer_watched_wakes_nobody(make: Make) -> None:
    """And no descriptor is left of it."""
    group = make()
    group.limit(LIMIT)
    process = group.run(MORE)
    before = descriptors()
    woken = Event()
    events = MemoryEvents(woken.set)
    events.watch({group.dir})
    events.watch(())
    grow(process, LIMIT * 6 // 10)
    heard = woken.wait(0.5)
    events.close()
    assert (heard, descriptors()) == (False, before)


def test_a_removed_group_does_not_keep_us_awake(make: Make) -> None:
    """Its descriptors would be ready for ever; it wakes once at most."""
    group = make()
    group.limit(LIMIT)
    wakes: list[int] = []
    events = MemoryEvents(lambda: wakes.append(1))
    events.watch({group.dir})
    group.close()
    assert not Event().wait(0.5)
    events.close()
    assert len(wakes) <= 4  # one for each mark, when the kernel tells them one by one


def descriptors() -> int:
    """Count what this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def wait_for(true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    clock, pause = SystemClock(), Event()
    end = clock.now().plus(PATIENCE_S)
    while not true():
        assert clock.now().since(end) < 0, "waited in vain"
        pause.wait(0.01)
