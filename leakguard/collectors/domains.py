"""The limited cgroups above a service: each is a memory domain that can run out."""

from collections import deque
from dataclasses import field

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant
from leakguard.core.sample import DomainSample, Location, Scope, ThrottleSample
from leakguard.linux.cgroupfs import CgroupDir, CgroupFs, CgroupGone
from leakguard.linux.procfs import ProcessGone

_FORMER = 64
"""So many places that services have left are still looked at for kills."""
_HIGH_EVERY_S = 5.0
"""Whether a group has `memory.high` is asked this often: most have none, and it kills nobody."""
_PRUNE_READS_EACH = 64
"""A service that was not read while the others were read this often is forgotten."""


@dataclass(slots=True)
class _Chain:
    """The cgroups from a service's own up to the highest that can be seen."""

    place: object
    """What it was resolved from: resolved again when this changes."""
    groups: tuple[CgroupDir, ...] | None
    """None: they cannot be seen, so their limits are unknown."""
    used: int = 0
    high: tuple[CgroupDir, ...] = ()
    """Those that have `memory.high`."""
    high_boot_s: float = float("-inf")
    throttles: dict[str, ThrottleSample] = field(default_factory=dict)
    """As they were when the service was last read."""
    home: str = field(init=False)
    """Key of the first of them, kept: every sample carries it."""

    def __post_init__(self) -> None:
        self.home = self.groups[0].key if self.groups else ""


class DomainCollector:
    """Reads the limited cgroups of a service.

    The chain of ancestors is kept and resolved again when /proc/PID/cgroup changes or a group
    is gone. Every ancestor's limit is read each time, so that one that is set later counts at once.
    """

    def __init__(self, cgroups: CgroupFs) -> None:
        self._cgroups = cgroups
        self._chains: dict[tuple[int, str], _Chain] = {}
        self._former: deque[_Chain] = deque(maxlen=_FORMER)
        self._reads = 0
        self._new = False
        self._now: Instant | None = None
        self._seen: dict[str, DomainSample | None] = {}
        self._high: dict[str, ThrottleSample | None] = {}

    def read(
        self, location: Location, swap_free_bytes: int = 0, now: Instant | None = None
    ) -> tuple[tuple[str, ...], dict[str, DomainSample]]:
        """Give the keys of the limited cgroups, nearest first, and what each holds.

        Services share ancestors: with `now`, a group is read once for all that pass the same one.

        Raises:
            ProcessGone: the root of the service ended.
        """
        if now is None or now is not self._now:
            self._begin(now)
        found: dict[str, DomainSample] = {}
        chain = self._chain(location)
        for group in chain.groups or ():
            domain = self._domain(group, swap_free_bytes)
            if domain is not None:
                found[group.key] = domain
        chain.throttles = self._throttles(chain, swap_free_bytes, now)
        return tuple(found), found

    def throttles(self, location: Location) -> dict[str, ThrottleSample]:
        """Give the cgroups with `memory.high` as of a service's last reading, nearest first."""
        chain = self._chains.get((location.root.pid, location.cgroup_path))
        return chain.throttles if chain is not None else {}

    def complete(self, location: Location) -> bool:
        """Tell whether every limit above a service is known: no ancestor is hidden from us."""
        groups = self._chain(location).groups
        return bool(groups) and all(group.complete for group in groups or ())

    def directories(self) -> frozenset[CgroupDir]:
        """Give the limited cgroups of all services, for kernel wake-ups."""
        return frozenset(
            group
            for chain in self._chains.values()
            for group in chain.groups or ()
            if self._limited(group)
        )

    def home(self, location: Location) -> str:
        """Give the key of the cgroup that a service was charged to when it was last read."""
        chain = self._chains.get((location.root.pid, location.cgroup_path))
        return chain.home if chain is not None else ""

    @property
    def is_new(self) -> bool:
        """Whether a service is in cgroups whose kills were not counted yet."""
        return self._new

    def kill_counts(self) -> dict[str, int]:
        """Count OOM kills in each service's own cgroup and in every limited one above."""
        self._new = False
        groups = {
            group.key: group
            for chain in self._counted()
            for depth, group in enumerate(chain.groups or ())
            if not depth or self._limited(group)
        }
        counts = {key: self._kills(group) for key, group in groups.items()}
        return {key: count for key, count in counts.items() if count is not None}

    def read_all(self, swap_free_bytes: int, now: Instant) -> dict[str, DomainSample]:
        """Measure every limited cgroup, those of services that just ended too."""
        if now is not self._now:
            self._begin(now)
        groups = {group for chain in self._counted() for group in chain.groups or ()}
        found = {group.key: self._domain(group, swap_free_bytes) for group in groups}
        return {key: sample for key, sample in found.items() if sample is not None}

    def _begin(self, now: Instant | None) -> None:
        """Begin a new tick: each group is read again, once."""
        self._now, self._seen, self._high = now, {}, {}

    def _counted(self) -> tuple[_Chain, ...]:
        """Give the chains in which kills are counted: those of services that just ended too."""
        return (*self._chains.values(), *self._former)

    def _kills(self, group: CgroupDir) -> int | None:
        try:
            return self._cgroups.oom_kills(group)
        except ReadingError:
            return None

    def _domain(self, group: CgroupDir, swap_free_bytes: int) -> DomainSample | None:
        if group.key not in self._seen:
            self._seen[group.key] = self._measure(group, swap_free_bytes)
        return self._seen[group.key]

    def _measure(self, group: CgroupDir, swap_free_bytes: int) -> DomainSample | None:
        """Read one group; None when it has no limit, or is gone, or may not be read."""
        if not self._limited(group):
            return None
        try:
            return self._cgroups.read_domain(group, swap_free_bytes)
        except ReadingError as error:
            if isinstance(error, CgroupGone):
                self._forget(group)
            return None

    def _throttles(
        self, chain: _Chain, swap_free_bytes: int, now: Instant | None
    ) -> dict[str, ThrottleSample]:
        looks = now is None or not 0 <= now.boot_s - chain.high_boot_s < _HIGH_EVERY_S
        groups = (chain.groups or ()) if looks else chain.high
        found = {group: self._throttle(group, swap_free_bytes) for group in groups}
        chain.high = tuple(group for group, sample in found.items() if sample is not None)
        if looks and now is not None:
            chain.high_boot_s = now.boot_s
        return {group.key: sample for group, sample in found.items() if sample is not None}

    def _throttle(self, group: CgroupDir, swap_free_bytes: int) -> ThrottleSample | None:
        if group.version == 1:
            return None
        if group.key not in self._high:
            try:
                self._high[group.key] = self._cgroups.read_throttle(group, swap_free_bytes)
            except ReadingError:
                self._high[group.key] = None
        return self._high[group.key]

    def _limited(self, group: CgroupDir) -> bool:
        try:
            return self._cgroups.limit(group) is not None
        except ReadingError:
            return False

    def _forget(self, group: CgroupDir) -> None:
        """Resolve every chain through a group afresh at its next reading."""
        for chain in self._chains.values():
            if group in (chain.groups or ()):
                chain.place = None

    def _chain(self, location: Location) -> _Chain:
        self._reads += 1
        key = (location.root.pid, location.cgroup_path)
        place = self._place(location)
        chain = self._chains.get(key)
        if chain is None or chain.place != place or chain.groups is None:
            if chain is not None:  # v1 shows a process that is dying in the root cgroup
                self._former.append(chain)
            chain = _Chain(place, self._resolve(location))
            self._chains[key] = chain
            self._new = True
        chain.used = self._reads
        if self._reads % (_PRUNE_READS_EACH * max(16, len(self._chains))) == 0:
            self._prune()
        return chain

    def _place(self, location: Location) -> object:
        if location.scope is Scope.CGROUP and location.cgroup_path:
            return location.cgroup_path
        return location.root.start_ticks, self._cgroups.proc.read(location.root.pid, "cgroup")

    def _resolve(self, location: Location) -> tuple[CgroupDir, ...] | None:
        try:
            if location.scope is Scope.CGROUP and location.cgroup_path:
                own: CgroupDir | None = self._cgroups.directory(location.cgroup_path)
            else:
                own = self._cgroups.memory_dir(location.root.pid)
        except ProcessGone:
            raise
        except ReadingError:
            return None
        return None if own is None else tuple(self._cgroups.ancestors(own))

    def _prune(self) -> None:
        oldest = self._reads - _PRUNE_READS_EACH * max(16, len(self._chains))
        self._chains = {k: chain for k, chain in self._chains.items() if chain.used > oldest}
        self._cgroups.keep(g for chain in self._chains.values() for g in (chain.groups or ())[:1])
