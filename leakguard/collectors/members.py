"""Which processes are the service, and whether a cgroup holds just them."""

from dataclasses import field

from leakguard.collectors.split import Split
from leakguard.collectors.table import ProcessTable
from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location, Scope
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs
from leakguard.linux.procfs import ProcessGone, ProcFs

_CGROUP_EVERY_S = 30.0
_LOOKS_TO_LEAVE = 2
"""A probe or a shell that a person ran in the container must not change what is measured."""
_NEVER = float("-inf")


@dataclass(slots=True)
class Watch:
    """What is remembered of one located service between its samples."""

    location: Location
    members: dict[int, tuple[int, int]] = field(default_factory=dict)
    """pid → (parent, start time), the root first."""
    ended: dict[int, int] = field(default_factory=dict)
    """pid → start time of members that ended; the table still lists those that are zombies."""
    looked_boot_s: float = _NEVER
    read_boot_s: float = _NEVER
    charged: CgroupDir | None = None
    """The cgroup that `measure: cgroup` reads."""
    own_cgroup: CgroupDir | None = None
    """The cgroup that holds the whole service and nothing else."""
    cgroup_boot_s: float = _NEVER
    strangers_seen: int = 0
    split: Split | None = None
    split_due: bool = False
    split_boot_s: float = _NEVER
    split_anon: int = 0
    split_shared: int = 0
    address_limit: int | None = None
    mounts: tuple[str, ...] | None = None
    """Places of the tmpfs mounts that outlive the service; None: not known."""
    mounts_boot_s: float = _NEVER


class Members:
    """Brings a watch's list of processes up to date."""

    def __init__(self, proc: ProcFs, cgroups: CgroupFs) -> None:
        self._proc = proc
        self._cgroups = cgroups
        self._table = ProcessTable(proc)
        self._inside: dict[str, frozenset[int]] = {}
        self._inside_boot_s = _NEVER

    def refresh(self, watch: Watch, boot_s: float) -> set[int]:
        """List the members again when the process table is newer; give the pids that left.

        Raises:
            ProcessGone: the root ended.
        """
        scope, root = watch.location.scope, watch.location.root
        if scope is Scope.PROCESS:
            watch.members = {root.pid: (0, root.start_ticks)}
        else:
            self._table.refresh(boot_s)
            left = self._look(watch, scope)
            if not 0 <= boot_s - watch.cgroup_boot_s < _CGROUP_EVERY_S:
                watch.cgroup_boot_s = boot_s
                self._judge_cgroup(watch, boot_s)
            return left
        return set()

    def cgroup(self, watch: Watch) -> CgroupDir | None:
        """Give the cgroup that the service's memory is charged to, None when it cannot be seen."""
        location = watch.location
        if location.cgroup_path:
            return self._cgroups.directory(location.cgroup_path)
        return self._cgroups.memory_dir(location.root.pid)

    def _look(self, watch: Watch, scope: Scope) -> set[int]:
        """List the members; a tree is the same as long as the process table is."""
        by_tree = scope is Scope.TREE
        news_boot_s = self._table.changed_boot_s if by_tree else self._table.looked_boot_s
        if watch.looked_boot_s == news_boot_s:
            return set()
        before, root = watch.members, watch.location.root
        found = self._in_cgroup(watch) if watch.location.scope is Scope.CGROUP else None
        found = self._table.tree(root.pid) if found is None else found
        if found[root.pid][1] != root.start_ticks:
            raise ProcessGone(f"process {root.pid} is gone; its pid is used by another one")
        ended = {pid: start for pid, start in watch.ended.items() if pid in found}
        watch.ended = ended
        watch.members = {pid: row for pid, row in found.items() if ended.get(pid) != row[1]}
        watch.looked_boot_s = news_boot_s
        watch.split_due |= watch.members.keys() != before.keys()
        return before.keys() - watch.members.keys()

    def _in_cgroup(self, watch: Watch) -> dict[int, tuple[int, int]]:
        """List what is in the service's cgroup, the root first."""
        root = watch.location.root.pid
        found = {root: self._table.row(root)}
        for pid in self._cgroups.procs(self._cgroups.directory(watch.location.cgroup_path)):
            try:
                found[pid] = self._table.row(pid)
            except ReadingError:  # it vanished while the list was walked
                continue
        return found

    def _judge_cgroup(self, watch: Watch, boot_s: float) -> None:
        """Decide whether the cgroup's own counters stand for the service."""
        group = self._fitting_cgroup(watch, boot_s)
        if group is None and watch.own_cgroup is not None:
            watch.strangers_seen += 1
            if watch.strangers_seen < _LOOKS_TO_LEAVE:
                return
        watch.strangers_seen = 0
        watch.own_cgroup = group

    def _fitting_cgroup(self, watch: Watch, boot_s: float) -> CgroupDir | None:
        try:
            group = self.cgroup(watch)
            inside = self._pids_in(group, boot_s) if group is not None else frozenset()
        except ReadingError:
            return None
        if group is None or group.directory == group.top or self._proc.self_pid() in inside:
            return None
        strangers = inside - watch.members.keys()
        alone = all(self._just_born(pid, watch) for pid in strangers)
        return group if alone and watch.members.keys() <= inside else None

    def _pids_in(self, group: CgroupDir, boot_s: float) -> frozenset[int]:
        """List a cgroup once for all services that are in it and looked at in the same moment."""
        if boot_s != self._inside_boot_s:
            self._inside_boot_s, self._inside = boot_s, {}
        if group.key not in self._inside:
            self._inside[group.key] = frozenset(self._cgroups.procs(group))
        return self._inside[group.key]

    def _just_born(self, pid: int, watch: Watch) -> bool:
        """Tell whether a process was born to a member since the table was read, or is gone."""
        try:
            parent = self._proc.stat(pid).ppid
        except ProcessGone:
            return True
        above = (parent, *self._proc.ancestors(pid))
        return any(ancestor in watch.members for ancestor in above)
