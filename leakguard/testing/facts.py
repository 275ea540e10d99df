"""Facts of a calm machine with one guarded service, for tests that change what they are about."""

from typing import Any

from leakguard.core.badness import Candidate, Outcome
from leakguard.core.findings.facts import (
    Case,
    DomainFacts,
    GuardFacts,
    Held,
    MachineFacts,
    ProcessFacts,
    ServiceFacts,
    SwapFacts,
    UnitFacts,
)
from leakguard.core.headroom import Headroom
from leakguard.core.trend import Verdict
from leakguard.core.units import GIB, MIB
from leakguard.core.victims import Domain, DomainKind, End, Prediction

VICTIM = Candidate(pid=812, name="postgres", rss_pages=1000)
"""Whom the kernel would take."""
NEXT = Candidate(pid=99, name="java", rss_pages=500)


def machine(**changes: Any) -> MachineFacts:
    """Give 8 GiB of RAM and 2 GiB of disk swap, nothing odd."""
    values: dict[str, Any] = {
        "release": "6.1.0",
        "cpus": 4,
        "total_bytes": 8 * GIB,
        "swap": SwapFacts(total_bytes=2 * GIB),
    }
    return MachineFacts(**{**values, **changes})


def guard(**changes: Any) -> GuardFacts:
    """Give a daemon that is protected from the OOM killer."""
    values: dict[str, Any] = {"pid": 500, "daemon": True, "oom_score_adj": -900}
    return GuardFacts(**{**values, **changes})


def unit(**changes: Any) -> UnitFacts:
    """Give a unit that nobody would wonder about."""
    values: dict[str, Any] = {
        "name": "worker.service",
        "oom_policy": "continue",
        "restart": "on-failure",
    }
    return UnitFacts(**{**values, **changes})


def service(**changes: Any) -> ServiceFacts:
    """Give `worker`, steady at 300 MiB in its cgroup, judged by a daemon."""
    values: dict[str, Any] = {
        "name": "worker",
        "pid": 4711,
        "size_bytes": 300 * MIB,
        "age_s": 3600.0,
        "verdict": Verdict.STABLE,
        "trend_known": True,
        "cgroup": "/jobs",
        "processes": (ProcessFacts(pid=4711, name="python3", size_bytes=300 * MIB),),
        "domains": ("host", "v2:/jobs"),
    }
    return ServiceFacts(**{**values, **changes})


def leaking(**changes: Any) -> ServiceFacts:
    """Give `worker` as it grows by 36 MiB/h, ten hours old, 500 MiB large."""
    values: dict[str, Any] = {
        "size_bytes": 500 * MIB,
        "age_s": 36000.0,
        "verdict": Verdict.LEAKING,
        "slope_bytes_per_s": MIB / 100,
    }
    return service(**{**values, **changes})


def prediction(**changes: Any) -> Prediction:
    """Give that postgres dies for certain, and java after it."""
    values: dict[str, Any] = {
        "outcome": Outcome.KILL,
        "victim": VICTIM,
        "runner_up": NEXT,
        "kills": (VICTIM.pid,),
        "certain": True,
    }
    return Prediction(**{**values, **changes})


def domain(
    *,
    used: int = 400 * MIB,
    limit: int = 1024 * MIB,
    end: End = End.KILL,
    throttled_from: int | None = None,
    headroom: Headroom | None = None,
    **changes: Any,
) -> DomainFacts:
    """Give cgroup /jobs with a limit of 1 GiB, of which 400 MiB are used."""
    left = max(0, limit - used)
    values: dict[str, Any] = {
        "domain": Domain(
            kind=DomainKind.MEMCG,
            path="/jobs",
            version=2,
            limit_bytes=limit,
            usage_bytes=used,
            headroom=headroom or Headroom(low_bytes=left, high_bytes=left),
            total_pages=limit // 4096,
            end=end,
            throttled_from_bytes=throttled_from,
        ),
        "prediction": prediction(),
        "held": Held(used_bytes=used, capacity_bytes=limit, fast_bytes=limit),
        "directory": "/sys/fs/cgroup/memory/jobs",
        "processes": 3,
        "killed": (VICTIM,),
    }
    return DomainFacts(**{**values, **changes})


def host(
    *, used: int = 2 * GIB, limit: int = 8 * GIB, end: End = End.KILL, **changes: Any
) -> DomainFacts:
    """Give the host, of whose 8 GiB two are used, with 2 GiB of swap."""
    swap = 2 * GIB
    left = max(0, limit + swap - used)
    values: dict[str, Any] = {
        "domain": Domain(
            kind=DomainKind.HOST,
            limit_bytes=limit,
            usage_bytes=used,
            headroom=Headroom(low_bytes=left, high_bytes=left + 256 * MIB),
            total_pages=(limit + swap) // 4096,
            end=end,
        ),
        "prediction": prediction(),
        "held": Held(used_bytes=used, capacity_bytes=limit + swap, fast_bytes=limit),
        "processes": 120,
        "killed": (VICTIM,),
    }
    return DomainFacts(**{**values, **changes})


def case(**changes: Any) -> Case:
    """Give a machine, a guarded service and its domains, with nothing to find but disk swap."""
    values: dict[str, Any] = {
        "machine": machine(),
        "guard": guard(),
        "services": (service(),),
        "domains": (host(), domain()),
    }
    return Case(**{**values, **changes})
