"""OOM reports from /dev/kmsg as they come: one read a tick at rest, bounded work in a storm."""

import contextlib
import os
from typing import TYPE_CHECKING

from leakguard.core.errors import ReadingError
from leakguard.core.oomlog.report import OomReport

if TYPE_CHECKING:
    from leakguard.core.oomlog.parse import OomLogParser

KMSG = "/dev/kmsg"
RECORDS_A_TICK = 1000
_RECORD_BYTES = 16384
QUIET_S = 1.0
"""A report without the line of its kill is given up as it is after so much silence."""
GROUP_QUIET_S = 0.2
"""After "Tasks in … are going to be killed" the kernel names them within milliseconds."""
_KILLED = "Killed process "
_GROUP = "memory.oom.group set"
_OPENING = ("oom", "Killed process ", "ut of memory")
_ANNOUNCED = (" invoked oom-killer: ", "oom-kill:constraint=")


class KernelLog:
    """The kernel's log from now on.

    Raises:
        ReadingError: it cannot be opened; says why, and what helps.
    """

    def __init__(self, path: str = KMSG) -> None:
        """Open it at its end: what was said before is no news."""
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError as error:
            raise ReadingError(
                f"{path} must not be read: run as root or give CAP_SYSLOG "
                "(kernel.dmesg_restrict is 1)"
            ) from error
        except OSError as error:
            raise ReadingError(f"{path} cannot be read: {error.strerror}") from error
        with contextlib.suppress(OSError):  # a pipe in its place has no end to go to
            os.lseek(self._fd, 0, os.SEEK_END)
        self._parser: OomLogParser | None = None
        self._open_since: float | None = None
        self._killed = self._group = False
        self.lost = 0
        """How often records were overwritten before we read them."""

    def read(self, boot_s: float) -> tuple[OomReport, ...]:
        """Give the reports that are finished, by the line of the kill or by silence.

        `boot_s` is now.

        Raises:
            ReadingError: the log cannot be read any more.
        """
        reports: list[OomReport] = []
        for _ in range(RECORDS_A_TICK):
            record = self._record()
            if record is None:
                break
            if record:
                reports += self._feed(record, boot_s)
        if self._open_since is not None and self._is_over(boot_s):
            reports += self._parser.flush() if self._parser is not None else []
            self._open_since, self._killed, self._group = None, False, False
        return tuple(reports)

    def close(self) -> None:
        """Close it; it may be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _record(self) -> str | None:
        """Give one record without its continuation lines; None: nothing new, "": none to read."""
        try:
            data = self._read()
        except BlockingIOError:
            return None
        except BrokenPipeError:  # the next read goes on behind what was overwritten
            self.lost += 1
            return ""
        except OSError as error:
            raise ReadingError(f"the kernel's log cannot be read: {error.strerror}") from error
        if not data:
            return None
        return data.partition(b"\n")[0].decode(errors="backslashreplace")

    def _read(self) -> bytes:
        return os.read(self._fd, _RECORD_BYTES)

    def _feed(self, record: str, boot_s: float) -> list[OomReport]:
        if _KILLED in record:
            self._open_since, self._killed = boot_s, True
        elif _GROUP in record:
            self._open_since, self._group = boot_s, True
        elif any(words in record for words in _ANNOUNCED):
            self._open_since, self._killed, self._group = boot_s, False, False
        if self._parser is None:
            if not any(words in record for words in _OPENING):
                return []
            self._parser = _parser()
        return self._parser.feed(record)

    def _is_over(self, boot_s: float) -> bool:
        if self._killed and not self._group:
            return True
        since = self._open_since if self._open_since is not None else boot_s
        return boot_s - since >= (GROUP_QUIET_S if self._group else QUIET_S)


def _parser() -> "OomLogParser":
    """Load the parser at the first kill: its patterns take 1 MB, and most guards see none."""
    from leakguard.core.oomlog.parse import OomLogParser

    return OomLogParser()
