"""Whom the kernel would kill, as the status of a service shows it."""

from leakguard.core.foretold import Foretold, Suspect
from leakguard.core.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectStatus:
    """One process that the kernel may kill; `service` is the guarded one that it belongs to."""

    pid: int
    name: str
    service: str = ""
    oom_score_adj: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VictimStatus:
    """Whom the kernel would kill when a memory domain runs out, as of the last look."""

    looked_at: str
    outcome: str
    """`kill`, `group`, `allocator`, `panic` or `nobody`."""
    victim: SuspectStatus | None = None
    runner_up: SuspectStatus | None = None
    leaker: SuspectStatus | None = None
    certain: bool = False
    why_uncertain: str = ""


def victim_status(told: Foretold) -> VictimStatus:
    """Show one look."""
    return VictimStatus(
        looked_at=told.at.rfc3339(),
        outcome=told.outcome,
        victim=_suspect(told.victim),
        runner_up=_suspect(told.runner_up),
        leaker=_suspect(told.leaker),
        certain=told.certain,
        why_uncertain=told.why_uncertain,
    )


def _suspect(one: Suspect | None) -> SuspectStatus | None:
    if one is None:
        return None
    return SuspectStatus(
        pid=one.pid, name=one.name, service=one.service, oom_score_adj=one.oom_score_adj
    )
