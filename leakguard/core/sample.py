"""What was measured: one Sample per service, one HostSample, the limited cgroups above them.

A reading is a `Sample`, or the honest statement that there is none: `Absent` (no process there)
or `Unreadable` (something is there, but its memory could not be read: unknown, never zero).
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant


class Measure(StrEnum):
    """Which number stands for the memory of a service; always named beside the number."""

    AUTO = "auto"
    """Anonymous + shmem + swap of the tree or cgroup: what a restart gives back."""
    RSS = "rss"
    """Sum of resident set sizes, shared pages counted once per process."""
    PSS = "pss"
    """Proportional set size: shared pages divided among those who map them. Dear to read."""
    USS = "uss"
    """Unique set size: pages nobody else maps. Dear to read."""
    CGROUP = "cgroup"
    """What the cgroup charges, less reclaimable file pages."""


class Scope(StrEnum):
    """What belongs to a located service."""

    PROCESS = "process"
    TREE = "tree"
    CGROUP = "cgroup"


Process = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incarnation:
    """*This* run of a service: a pid alone may be used again, pid and start time may not.

    `start_ticks` is field 22 of /proc/PID/stat, in clock ticks since boot. `token` is set where a
    manager has its own identity for a run (a container id); then it alone decides.
    """

    boot_id: str
    pid: int
    start_ticks: int
    token: str = ""

    @property
    def process(self) -> Process:
        """Its root process alone: the same for all who see it, whatever its manager calls it."""
        return self.boot_id, self.pid, self.start_ticks

    def __str__(self) -> str:
        """Name the run for a person."""
        return self.token[:12] or f"pid {self.pid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a service runs now, as a target found it."""

    root: Incarnation
    scope: Scope = Scope.TREE
    cgroup_path: str = ""
    """Directory of the service's own cgroup, set when `scope` is CGROUP."""
    name: str = ""
    """Short name of the root process, for people."""
    member: str = ""
    """The manager's own name of this match (a unit, a container), where one entry has several."""
    settings: tuple[tuple[str, str], ...] = ()
    """What is set on this match itself (labels), by the words after `leakguard.`, as text."""
    stop_within_s: float | None = None
    """How long its manager waits for it to stop before it kills; None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The memory of one service at one instant. Sizes in bytes; None means not known."""

    TAGGED = True

    service: str
    at: Instant
    incarnation: Incarnation
    measure: Measure
    value_bytes: int
    """The configured measure: what thresholds test and trends are fitted on."""
    rss_bytes: int
    anon_bytes: int | None = None
    file_bytes: int | None = None
    shmem_bytes: int | None = None
    swap_bytes: int | None = None
    processes: int = 1
    age_s: float = 0.0
    """Seconds since the incarnation's root process started."""
    domains: tuple[str, ...] = ()
    """Keys into `Snapshot.domains`: the limited cgroups that hold the service, nearest first."""
    address_space_bytes: int | None = None
    address_limit_bytes: int | None = None
    """RLIMIT_AS of the root process, None when unlimited or not known."""
    cgroup: str = ""
    """Key of the memory cgroup that the root process is charged to, limited or not."""
    alone: bool = False
    """That cgroup holds the whole service and nothing else."""
    tmpfs_bytes: int | None = None
    """Of the cgroup's shmem what lies in files of tmpfs that stay when the service goes; None where
    that is not known, and for measures that such files do not count in."""
    mounts_bytes: int = 0
    """What is used on those mounts, by whomever."""
    throttles: tuple[str, ...] = ()
    """Keys into `Snapshot.throttles`: the cgroups above it that have `memory.high`, likewise."""
    cpu_s: float | None = None
    """CPU time that its living processes have used, as of the last slow look at them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """No process of the service was found."""

    TAGGED = True

    service: str
    at: Instant
    reason: str
    ambiguous: bool = False
    """True when unrelated processes matched: something is there, but which one is not known."""
    exit_code: int | None = None
    """How a child of ours ended (128+n for signal n), None when it is not our child."""
    taken_away: bool = False
    """Its manager removed it on purpose; nothing is to come back here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The service runs, but its memory could not be read."""

    TAGGED = True

    service: str
    at: Instant
    reason: str


Reading = Sample | Absent | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSample:
    """One memory cgroup with a limit, at one instant. Sizes in bytes."""

    path: str
    """The cgroup's path as /proc/PID/cgroup names it; with `version` it is the domain's key."""
    version: int
    """1 or 2."""
    limit_bytes: int
    usage_bytes: int
    reclaimable_bytes: int = 0
    """Active and inactive file pages: the kernel drops them before it kills."""
    swap_room_bytes: int = 0
    """What may still go to swap under this group's limits."""
    limit_hits: int | None = None
    """`failcnt` (v1) or `max` of memory.events (v2)."""
    oom_kills: int | None = None

    @property
    def used_bytes(self) -> int:
        """What cannot be dropped: usage less reclaimable file pages."""
        return max(0, self.usage_bytes - self.reclaimable_bytes)

    @property
    def headroom_bytes(self) -> int:
        """How much the group can still grow before the kernel kills in it."""
        return self.limit_bytes - self.used_bytes + self.swap_room_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleSample:
    """One cgroup with `memory.high`, from where on the kernel slows it down. Sizes in bytes."""

    path: str
    high_bytes: int
    usage_bytes: int
    reclaimable_bytes: int = 0
    swap_room_bytes: int = 0
    hits: int | None = None
    """How often somebody in it was slowed down: `high` of memory.events."""
    limited: bool = True
    """It has a limit too; without one it is slowed down for ever."""

    @property
    def used_bytes(self) -> int:
        """What cannot be dropped: usage less reclaimable file pages."""
        return max(0, self.usage_bytes - self.reclaimable_bytes)

    @property
    def headroom_bytes(self) -> int:
        """How much the group can still grow before it is slowed down."""
        return self.high_bytes - self.used_bytes + self.swap_room_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """The machine's memory at one instant. Sizes in bytes."""

    total_bytes: int
    available_bytes: int
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    psi_some_avg10: float | None = None
    psi_full_avg10: float | None = None
    oom_kills: int | None = None
    """`oom_kill` of /proc/vmstat since boot, None before Linux 4.13."""
    commit_limit_bytes: int | None = None
    """CommitLimit, where malloc fails: known under `vm.overcommit_memory=2` alone."""
    committed_bytes: int | None = None
    """What is promised to programs already (Committed_AS), likewise."""
    admin_reserve_bytes: int = 0
    """Of CommitLimit only for root."""
    user_reserve_bytes: int = 0
    """Of CommitLimit kept from each program, at most: a 32nd of its address space may be less."""

    @property
    def headroom_bytes(self) -> int:
        """What can still be allocated: MemAvailable and free swap."""
        return self.available_bytes + self.swap_free_bytes

    def commit_room_bytes(self, address_space_bytes: int) -> int | None:
        """Give what can still be promised to a program of that size; None where there is no end."""
        if self.commit_limit_bytes is None or self.committed_bytes is None:
            return None
        kept = self.admin_reserve_bytes + min(address_space_bytes // 32, self.user_reserve_bytes)
        return self.commit_limit_bytes - self.committed_bytes - kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything read in one tick; services that were not due are simply not in it."""

    at: Instant
    readings: tuple[Reading, ...] = ()
    domains: Mapping[str, DomainSample] = field(default_factory=dict)
    throttles: Mapping[str, ThrottleSample] = field(default_factory=dict)
    host: HostSample | None = None
    kill_counts: Mapping[str, int] = field(default_factory=dict)
    """OOM kills counted in cgroups of services and above, by key; read when the host's rose."""
    still_running: tuple[str, ...] = ()
    """Services whose last root process runs on, although its target names another or none."""
