"""The configuration in force and the state of the last tick, for threads beside the loop."""

from leakguard.core.instant import Instant
from leakguard.core.sample import Location
from leakguard.core.state import State
from leakguard.runtime.bootstrap import Parts


class Live:
    """Two references, replaced as a whole by the loop, read by anybody."""

    def __init__(self, state: State) -> None:
        """Begin with the state that the store kept; parts follow before anything runs."""
        self.state = state
        self.ticked: Instant | None = None
        """When the loop last ticked."""
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """Give the parts in force."""
        if self._parts is None:
            raise RuntimeError("asked for the parts before they were built")
        return self._parts

    @parts.setter
    def parts(self, parts: Parts) -> None:
        self._parts = parts

    def locate(self, service: str) -> Location | None:
        """Look where a service is right now."""
        return self.parts.roster.fresh(service)

    def respawn_seen(self, service: str) -> bool:
        """Tell whether a service was ever seen to run anew after it had run before."""
        known = self.state.services.get(service)
        if known is None:
            return False
        counts = known.record.restart_counts
        return any(n > 0 and key.endswith("/succeeded") for key, n in counts.items())
