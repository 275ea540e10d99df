"""What a target must do: find the service now, and say so when it cannot."""

from abc import ABC, abstractmethod
from typing import ClassVar

from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children
from leakguard.linux.procfs import ProcFs


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetContext:
    """What a target may use. `service` is the name in the configuration."""

    service: str
    proc: ProcFs
    cgroups: CgroupFs
    children: Children


class Target(ABC):
    """Finds the processes of one entry under `services`. Never judges, never acts."""

    default_driver: ClassVar[str] = ""
    """The driver that follows from this target when the configuration names none."""

    @abstractmethod
    def locate(self) -> tuple[Location, ...]:
        """Give every match now, unrelated ones apart, each tree as one, oldest first.

        Raises:
            TargetError: nothing matches (or the pidfile is garbage, the cgroup does not exist …);
                the message says what was looked for and what to do.
            ReadingError: the answer cannot be known now.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what is looked for: `processes whose command line matches 'x'`."""

    def awaits(self, member: str) -> bool:
        """Tell whether a member that does not run is to come back here.

        False where its manager took it away on purpose: then nobody has to be woken.
        """
        del member
        return True

    def exit_code(self) -> int | None:
        """How the last child of ours ended, None for services that others start."""
        return None
