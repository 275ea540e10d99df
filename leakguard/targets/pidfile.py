"""The process whose number a service wrote into a file."""

import os
import stat
from dataclasses import field
from typing import ClassVar

from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import Location
from leakguard.plugins import doc
from leakguard.targets._found import location_of
from leakguard.targets.base import Target, TargetContext

_MAX_BYTES = 4096
_MAX_DIGITS = 10


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the target `pidfile`."""

    path: str = field(metadata=doc("file whose first line is the number of the main process"))
    name: str = field(
        default="",
        metadata=doc(
            "name the process must have (as `ps -o comm` shows it); a stale file whose number is "
            "used by another process is then seen. Empty: any name"
        ),
    )

    def __post_init__(self) -> None:
        """Refuse a path that depends on where leakguard was started."""
        if not self.path.startswith("/"):
            raise TargetError(f"pidfile {self.path!r} is not an absolute path: begin it with /")


class PidfileTarget(Target):
    """Finds the process that the file names."""

    default_driver: ClassVar[str] = "signal"

    def __init__(self, options: Options, context: TargetContext) -> None:
        self._path = options.path
        self._name = options.name
        self._proc = context.proc

    def locate(self) -> tuple[Location, ...]:
        """Give the process with its tree."""
        pid = self._read()
        try:
            location = location_of(self._proc, pid)
        except TargetError as error:
            raise TargetError(
                f"pidfile {self._path} says {pid}: {error}; if the service is down, start it, "
                "else remove the stale file"
            ) from error
        if self._name and location.name != self._name:
            raise TargetError(
                f"pidfile {self._path} says {pid}, which is {location.name!r} and not "
                f"{self._name!r}: the file is stale, remove it"
            )
        return (location,)

    def describe(self) -> str:
        """Say the file."""
        return f"process named by pidfile {self._path}"

    def _read(self) -> int:
        data = self._content()
        if len(data) > _MAX_BYTES:
            raise TargetError(
                f"pidfile {self._path} is larger than {_MAX_BYTES} bytes: it is no pidfile, "
                "correct the path"
            )
        if not data.strip():
            raise TargetError(
                f"pidfile {self._path} is empty: the service is starting or did not write it; "
                "start the service again"
            )
        word = data.strip().splitlines()[0].strip()
        if not word.isdigit() or len(word) > _MAX_DIGITS or int(word) == 0:
            raise TargetError(
                f"pidfile {self._path} holds {data[:40].decode('utf-8', 'replace')!r} and not the "
                "number of a process: correct the path, or let the service write it again"
            )
        return int(word)

    def _content(self) -> bytes:
        """Read the file without waiting: a FIFO of that name must not stop the guard."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise TargetError(
                f"pidfile {self._path} does not exist: start the service, or correct the path"
            ) from error
        except OSError as error:
            raise ReadingError(f"cannot read pidfile {self._path}: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise TargetError(f"pidfile {self._path} is not a plain file: correct the path")
            return os.read(descriptor, _MAX_BYTES + 1)
        except OSError as error:
            raise ReadingError(f"cannot read pidfile {self._path}: {error.strerror}") from error
        finally:
            os.close(descriptor)
