"""Every error that leakguard raises on purpose, in one tree.

LeakguardError
├── ConfigError        what the configuration file, the environment or an option says is wrong (78)
├── UnitError          a size, share or duration that cannot be read
├── UsageError         a command was called in a way that cannot work (2)
├── PluginError        no plug-in of that name, or its extra is not installed
├── CodecError         stored or handed-over values that do not fit their type
├── StoreError         the state file cannot be read or written
├── ReadingError       a statistic of the kernel could not be read: unknown, never zero
├── TargetError        a target that matches nothing, too much, or leakguard itself
├── DriverError        a restart could not be carried out; says whether trying again can help
├── NotifyError        an alert could not be delivered; says whether trying again can help
├── PermissionRefused  the machine refuses a right that is needed (77)
└── DaemonError        the daemon cannot be reached, or it refused a request
"""


class LeakguardError(Exception):
    """Base of all errors that carry a message for a person: what, where, and what to do."""


class ConfigError(LeakguardError):
    """The configuration is wrong; `problems` has one line each, with place and fix."""

    def __init__(self, *problems: str) -> None:
        """Hold every problem found, so that all are shown at once."""
        super().__init__("\n".join(problems))
        self.problems = problems


class UnitError(LeakguardError, ValueError):
    """A size, share or duration cannot be read. A ValueError, so that validators report it."""


class UsageError(LeakguardError):
    """A command was called in a way that cannot work."""


class PluginError(LeakguardError):
    """A plug-in is unknown, broken, or needs an extra that is not installed."""


class CodecError(LeakguardError):
    """A plain value does not fit the type it is read as."""


class StoreError(LeakguardError):
    """The state file cannot be used; the guard goes on in memory."""


class ReadingError(LeakguardError):
    """A statistic could not be read: it is unknown, which is neither zero nor over a limit."""


class TargetError(LeakguardError):
    """A target matches nothing, unrelated processes, or leakguard itself."""

    def __init__(self, message: str, *, ambiguous: bool = False, taken_away: bool = False) -> None:
        """Hold the message; `ambiguous` tells too many matches from none.

        `taken_away`: its manager removed it on purpose, and nothing is to come back here.
        """
        super().__init__(message)
        self.ambiguous = ambiguous
        self.taken_away = taken_away


class DriverError(LeakguardError):
    """A restart could not be carried out."""

    def __init__(
        self, message: str, *, permanent: bool = False, retry_after_s: float | None = None
    ) -> None:
        """Hold the message; `permanent` says that trying again cannot help.

        `retry_after_s`: nothing was done and nothing is wrong, the manager said "not now"; ask
        again after so many seconds.
        """
        super().__init__(message)
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class NotifyError(LeakguardError):
    """An alert could not be delivered."""

    def __init__(
        self, message: str, *, permanent: bool = False, retry_after_s: float | None = None
    ) -> None:
        """Hold the message, whether trying again can help, and when the receiver asked for it."""
        super().__init__(message)
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class PermissionRefused(LeakguardError):  # noqa: N818  the field's word, not "…Error"
    """The machine refuses a right that leakguard needs; the message names right and fix."""


class DaemonError(LeakguardError):
    """The daemon cannot be reached, or it refused a request."""
