"""A target that finds what it is told to find."""

from leakguard.core.sample import Incarnation, Location
from leakguard.targets.base import Target


class ScriptedTarget(Target):
    """Gives the matches that were set, or raises the error that was set."""

    def __init__(self, *pids: int) -> None:
        """Match processes of these numbers."""
        self.found: tuple[Location, ...] = ()
        self.error: Exception | None = None
        self.looks = 0
        self.awaited = True
        self.match(*pids)

    def match(self, *pids: int) -> None:
        """Match processes of these numbers from now on."""
        self.error = None
        self.found = tuple(
            Location(root=Incarnation(boot_id="b", pid=pid, start_ticks=pid), name=f"app{pid}")
            for pid in pids
        )

    def locate(self) -> tuple[Location, ...]:
        """Give what was set."""
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.found

    def awaits(self, member: str) -> bool:
        """Say what was set."""
        return self.awaited

    def describe(self) -> str:
        """Say that it is a script."""
        return "scripted process"
