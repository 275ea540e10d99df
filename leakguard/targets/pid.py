"""One process by its number: there is no next run to find, so it is watched and not restarted."""

from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.plugins import doc
from leakguard.targets._found import location_of
from leakguard.targets.base import Target, TargetContext


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `pid`."""

    pid: int = field(metadata=doc("number of the process; it and its descendants are watched"))

    def __post_init__(self) -> None:
        """Refuse what can never be a process."""
        if self.pid < 1:
            raise TargetError(f"{self.pid} is not a pid: write the number of a running process")


class PidTarget(Target):
    """Finds the process of that number."""

    default_driver: ClassVar[str] = ""

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._pid = options.pid
        self._proc = context.proc

    def locate(self) -> tuple[Location, ...]:
        """Give the process with its tree."""
        return (location_of(self._proc, self._pid),)

    def describe(self) -> str:
        """Say the number."""
        return f"process {self._pid}"
