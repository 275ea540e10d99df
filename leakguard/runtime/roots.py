"""The root process of each service as it was last sampled: a target may let go of one that runs."""

from collections.abc import Iterable

from leakguard.core.errors import ReadingError
from leakguard.core.sample import Absent, Incarnation, Reading, Sample
from leakguard.linux.procfs import ProcFs


class Roots:
    """Tells a service that died from one whose target names another process, or none."""

    def __init__(self, proc: ProcFs) -> None:
        """Look in this /proc."""
        self._proc = proc
        self._known: dict[str, Incarnation] = {}

    def still_running(self, readings: Iterable[Reading]) -> tuple[str, ...]:
        """Take note of readings; give the services whose former root runs on."""
        found = []
        for reading in readings:
            known = self._known.get(reading.service)
            match reading:
                case Sample():
                    self._known[reading.service] = reading.incarnation
                    left = known if known != reading.incarnation else None
                case Absent():
                    left = known
                case _:
                    left = None
            if left is not None and self._runs(left):
                found.append(reading.service)
        return tuple(found)

    def _runs(self, incarnation: Incarnation) -> bool:
        """Tell whether it runs; one that has given back its memory already is dying."""
        try:
            dying = self._proc.read(incarnation.pid, "statm").startswith(b"0 ")
            return not dying and self._proc.is_running(incarnation)
        except ReadingError:
            return False
