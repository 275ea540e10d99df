"""What is known of machine, units, services, domains and leakguard itself: values for the rules."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from leakguard.core.badness import Candidate
from leakguard.core.frozen import dataclass
from leakguard.core.trend import Verdict
from leakguard.core.victims import Domain, DomainKind, Prediction

ADJ_NEVER = -1000
BRINGS_BACK = frozenset(("always", "on-failure", "on-abnormal"))
"""Values of `Restart=` that start a unit again after `Result=oom-kill`; `on-abort` does not."""


class Psi(StrEnum):
    """Whether the kernel tells memory pressure."""

    ON = "on"
    OFF = "off"
    """Switched off, or not built in: the kernel is new enough to have it."""
    MISSING = "missing"
    """The kernel is older than 4.20."""


class Controller(StrEnum):
    """Whether memory cgroups work."""

    ON = "on"
    DISABLED = "disabled"
    """By the kernel's command line."""
    MISSING = "missing"
    """Not built in, not mounted, or not visible from here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KillerFacts:
    """A program beside the kernel that kills for memory, and by which rule."""

    name: str
    pid: int
    rule: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapFacts:
    """Swap of the machine, in bytes. `zram_bytes`: how much of the total is compressed RAM."""

    total_bytes: int = 0
    used_bytes: int = 0
    zram_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """What the kernel has promised to programs, in bytes; `mode` is `vm.overcommit_memory`."""

    mode: int = 0
    ratio: int = 50
    limit_bytes: int = 0
    promised_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineFacts:
    """Kernel, settings and rights, as far as they decide how a lack of memory ends."""

    release: str
    cpus: int
    total_bytes: int
    swap: SwapFacts = SwapFacts()
    swappiness: int = 60
    commit: CommitFacts = CommitFacts()
    panic_on_oom: int = 0
    panic_s: int = 0
    """`kernel.panic`: seconds until a panicked machine boots again, 0 for never."""
    kill_allocating_task: bool = False
    dump_tasks: bool = True
    psi: Psi = Psi.ON
    kmsg_readable: bool = True
    journal_readable: bool = True
    controller: Controller = Controller.ON
    raspberry_pi: bool = False
    ancestors_hidden: bool = False
    """Cgroups above the highest one that can be seen may have limits of their own."""
    hidepid: int = 0
    sees_all: bool = True
    """The kernel's own threads are seen, so this is the pid namespace of the machine."""
    counter_error_bytes: int = 0
    """How far the OOM killer's count of one process may be off."""
    killers: tuple[KillerFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardFacts:
    """leakguard's own process: the daemon, or without one this command in its place."""

    pid: int
    daemon: bool
    oom_score_adj: int = 0
    can_lower: bool = True
    """Has CAP_SYS_RESOURCE: may lower its `oom_score_adj`."""
    can_trace: bool = True
    """Has CAP_SYS_PTRACE: sees everybody whatever `hidepid` says."""
    cgroup: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFacts:
    """A unit of systemd, as `systemctl show` tells it."""

    name: str
    oom_policy: str = ""
    oom_score_adjust: int = 0
    restart: str = ""
    managed_swap: str = "auto"
    managed_pressure: str = "auto"
    preference: str = "none"

    @property
    def watched_by_oomd(self) -> bool:
        """Tell whether systemd-oomd may kill in it."""
        return "kill" in (self.managed_swap, self.managed_pressure)

    @property
    def comes_back(self) -> bool:
        """Tell whether systemd starts it again after an OOM kill."""
        return self.restart in BRINGS_BACK


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """One process. `parent`: name and pid of its parent, where that has the same protection."""

    pid: int
    name: str
    oom_score_adj: int = 0
    size_bytes: int = 0
    parent: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupKill:
    """A cgroup with `memory.oom.group`, and the names of those who would die together in it."""

    path: str
    directory: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """A guarded service. Its size is that of the measure `auto`; None is what is not known."""

    name: str
    pid: int | None = None
    size_bytes: int | None = None
    age_s: float | None = None
    verdict: Verdict = Verdict.UNKNOWN
    slope_bytes_per_s: float | None = None
    trend_known: bool = False
    """A daemon has judged it; a verdict `unknown` or `warming_up` is no judgement."""
    held_by: str = ""
    """Why nobody would restart it in time: observed only, paused, no driver; empty: leakguard."""
    started_by_guard: bool = False
    cgroup: str = ""
    container: str = ""
    """Id of its container, short."""
    processes: tuple[ProcessFacts, ...] = ()
    units: tuple[UnitFacts, ...] = ()
    """Its unit first, then the slices above it."""
    group_kill: GroupKill | None = None
    domains: tuple[str, ...] = ()
    """Keys of the domains that it lives in."""
    reached_s: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    """When the daemon foresees the end of `host`, or of a cgroup by its path: earliest and latest;
    None is beyond its horizon."""

    @property
    def leaks(self) -> bool:
        """Tell whether it grows, by the daemon's judgement."""
        return self.verdict is Verdict.LEAKING and (self.slope_bytes_per_s or 0.0) > 0

    @property
    def may_leak(self) -> bool:
        """Tell whether it grows, but was not seen for long enough to call that a leak."""
        return self.verdict is Verdict.WARMING_UP and (self.slope_bytes_per_s or 0.0) > 0

    @property
    def leaked_bytes(self) -> int:
        """Bound what its leak added to its size: slope × age, and never more than all of it."""
        if not self.leaks or self.slope_bytes_per_s is None:
            return 0
        added = self.slope_bytes_per_s * (self.age_s or 0.0)
        return int(min(added, self.size_bytes or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who lives in a domain: a guarded service, or all other processes of one name."""

    name: str
    size_bytes: int
    processes: int = 1
    guarded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a domain holds and cannot drop, and what it can hold, in bytes.

    Under overcommit 2 these are what is promised, and CommitLimit.
    """

    used_bytes: int
    capacity_bytes: int
    """RAM or limit, and the swap that may be used; zram at its worth."""
    fast_bytes: int
    """The part of the capacity that is not on a disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainFacts:
    """A memory domain, who lives in it, and how it would end."""

    domain: Domain
    prediction: Prediction
    held: Held
    directory: str = ""
    """Of the cgroup."""
    tenants: tuple[Tenant, ...] = ()
    processes: int = 0
    hidden: int = 0
    """Processes that are there and cannot be read."""
    killed: tuple[Candidate, ...] = ()
    """All who die, the victim first."""
    group_kill: str = ""
    """Path of the cgroup that dies as a whole."""
    victim_service: str = ""
    victim_unit: UnitFacts | None = None
    guard_inside: bool = False

    @property
    def key(self) -> str:
        """Name it: `host`, or the version and the path of its cgroup."""
        return domain_key(self.domain.version, self.domain.path)

    @property
    def is_guards_own(self) -> bool:
        """Tell whether leakguard alone lives in it: a bound that its own unit sets."""
        return self.guard_inside and self.processes == 1

    @property
    def place(self) -> str:
        """Name it as `ServiceFacts.reached_s` does."""
        return self.domain.path if self.domain.kind is DomainKind.MEMCG else "host"

    @property
    def words(self) -> str:
        """Name it for a person."""
        if self.domain.kind is DomainKind.HOST:
            return "the host"
        return f"cgroup {self.domain.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that the rules look at."""

    machine: MachineFacts
    guard: GuardFacts | None = None
    services: tuple[ServiceFacts, ...] = ()
    domains: tuple[DomainFacts, ...] = ()
    biggest: tuple[ProcessFacts, ...] = ()
    """The largest processes of the machine."""


def domain_key(version: int | None, path: str) -> str:
    """Name a domain: `host`, or the version and the path of its cgroup."""
    return "host" if version is None else f"v{version}:{path}"
