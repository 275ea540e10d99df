"""Domains that end without a kill: they have a trend of their own, and no victim.

They are kept apart from the others, so that no kill is ever laid at their door.
"""

from dataclasses import replace

from leakguard.core.facts import COMMIT
from leakguard.core.instant import Instant
from leakguard.core.sample import Snapshot, ThrottleSample
from leakguard.core.series import Series
from leakguard.core.state import DomainState, State
from leakguard.core.trend import Detector
from leakguard.core.watch import begin_anew, emptied, grow, is_forgotten

TIGHT_SHARE = 0.02
"""Who has less room than this below `memory.high` is slowed down for what cannot be dropped; with
more room only its files are dropped, which costs little."""


def follow(state: State, snapshot: Snapshot, detector: Detector | None) -> dict[str, DomainState]:
    """Take what they hold now into their series."""
    at, host = snapshot.at, snapshot.host
    promised = host.committed_bytes if host is not None else None
    if promised is None and not state.quiet and not snapshot.throttles:
        return {}  # as on most machines, in every tick
    found = {k: d for k, d in state.quiet.items() if not is_forgotten(d, at)}
    for key in emptied(state, snapshot) & found.keys():
        found[key] = begin_anew(found[key])
    if host is not None and promised is not None:
        room = (host.commit_limit_bytes or promised) - promised
        found[COMMIT] = grow(found.get(COMMIT), at, (promised, room), detector)
    for key, group in snapshot.throttles.items():
        # A cgroup that has a limit too has its series there; here only the time is kept.
        fits = None if key in snapshot.domains else detector
        known = found.get(key) or DomainState(series=Series(), path=group.path)
        grown = grow(known, at, (group.used_bytes, group.headroom_bytes), fits)
        found[key] = _note(grown, group, at)
    return found


def _note(known: DomainState, group: ThrottleSample, at: Instant) -> DomainState:
    """Note when somebody in it was last slowed down, by the kernel's own counter."""
    before, hits = known.limit_hits, group.hits
    rose = before is not None and hits is not None and hits > before
    if rose and group.headroom_bytes <= TIGHT_SHARE * group.high_bytes:
        known = replace(known, short_boot_s=at.boot_s)
    return replace(known, limit_hits=hits)
