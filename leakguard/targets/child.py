"""A command that leakguard itself starts, ends and starts again."""

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location, Scope
from leakguard.linux.procfs import ProcessGone
from leakguard.plugins import doc
from leakguard.targets.base import Target, TargetContext


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `child`."""

    argv: tuple[str, ...] = field(
        metadata=doc("the command and its arguments, as a list; no shell reads it")
    )
    cwd: str = field(
        default="", metadata=doc("directory the command starts in; empty: leakguard's own")
    )
    env: Mapping[str, str] = field(
        default_factory=dict, metadata=doc("variables that are added to leakguard's environment")
    )
    user: str = field(
        default="",
        metadata=doc("user the command runs as, `name` or `name:group`; empty: as leakguard"),
    )
    cgroup: str = field(
        default="",
        metadata=doc("directory of the cgroup the command is put into; empty: leakguard's own"),
    )

    def __post_init__(self) -> None:
        """Refuse an empty command."""
        if not self.argv or not self.argv[0]:
            raise TargetError("argv is empty: write the command as a list, [python3, worker.py]")


class ChildTarget(Target):
    """Finds the child of the service among those that leakguard started or adopted."""

    default_driver: ClassVar[str] = "child"

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._argv = options.argv
        self._context = context

    def locate(self) -> tuple[Location, ...]:
        """Give the child with its tree."""
        context = self._context
        incarnation = context.children.find(context.service)
        if incarnation is None:
            raise TargetError(f"{context.service}: no {self.describe()} runs")
        try:
            name = context.proc.stat(incarnation.pid).name
        except ProcessGone as error:
            raise TargetError(f"{context.service}: {self.describe()} has just ended") from error
        return (Location(root=incarnation, scope=Scope.TREE, name=name),)

    def describe(self) -> str:
        """Say the command."""
        return f"child {' '.join(self._argv)[:80]!r}"

    def exit_code(self) -> int | None:
        """Say how the last child ended."""
        return self._context.children.exit_code(self._context.service)
