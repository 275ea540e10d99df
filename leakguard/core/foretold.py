"""Whom the kernel would kill when a memory domain runs out: what a look at its processes said."""

from leakguard.core.frozen import dataclass
from leakguard.core.instant import Instant

STALE_S = 900.0
"""A look this old says nothing any more: processes come and go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One process that may be killed. `service` is the guarded service that it belongs to."""

    pid: int
    name: str
    service: str = ""
    oom_score_adj: int = 0

    def __str__(self) -> str:
        """Name it for a person: the guarded service, or the program and its pid."""
        return self.service or f"{self.name} (pid {self.pid})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """What would happen at the end of one domain, as it looked at `at`.

    `domain` is its key in `Snapshot.domains`, or `host`. `victim` is None where nobody can be
    named; `outcome` then says what happens instead.
    """

    domain: str
    at: Instant
    outcome: str
    """A word of `badness.Outcome`; the model itself is not needed to remember what it said."""
    victim: Suspect | None = None
    runner_up: Suspect | None = None
    leaker: Suspect | None = None
    certain: bool = False
    why_uncertain: str = ""
    kills: int = 0
    """How many die: more than one where a cgroup dies as a whole or memory is shared."""

    def may_be(self, service: str) -> bool:
        """Whether the service may be the one: it is the victim, or close behind it."""
        suspects = [self.victim] if self.certain else [self.victim, self.runner_up]
        return any(one is not None and one.service == service for one in suspects)

    def is_fresh(self, now: Instant) -> bool:
        """Whether it still says something."""
        return 0 <= now.since(self.at) < STALE_S
