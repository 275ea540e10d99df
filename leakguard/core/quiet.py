"""Domains that end without a kill: they have a trend of their own, and no victim.

They are kept apart from the others, so that no kill is ever laid at their door.
"""

from leakguard.core.facts import COMMIT
from leakguard.core.sample import Snapshot
from leakguard.core.state import DomainState, State
from leakguard.core.trend import Detector
from leakguard.core.watch import begin_anew, emptied, grow, is_forgotten


def follow(state: State, snapshot: Snapshot, detector: Detector | None) -> dict[str, DomainState]:
    """Take what they hold now into their series."""
    found = {k: d for k, d in state.quiet.items() if not is_forgotten(d, snapshot.at)}
    for key in emptied(state, snapshot) & found.keys():
        found[key] = begin_anew(found[key])
    host = snapshot.host
    if host is not None and host.committed_bytes is not None:
        room = (host.commit_limit_bytes or host.committed_bytes) - host.committed_bytes
        used_and_room = host.committed_bytes, room
        found[COMMIT] = grow(found.get(COMMIT), snapshot.at, used_and_room, detector)
    return found
