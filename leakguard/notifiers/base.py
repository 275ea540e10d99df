"""What a notifier must do: turn one alert into one message and say whether it arrived."""

from abc import ABC, abstractmethod

from leakguard.core.alerts import Alert
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class NotifierContext:
    """What a notifier may use. `channel` is its name in the configuration."""

    channel: str
    clock: Clock


class Notifier(ABC):
    """Sends alerts to one channel. Never decides which; never retries on its own for long."""

    spacing_s: float = 0.0
    """Least time between two messages; the dispatcher keeps to it."""

    @abstractmethod
    def send(self, alert: Alert) -> str:
        """Deliver one alert and give the receiver's answer in a few words (`200 ok`).

        Raises:
            NotifyError: it did not arrive; `permanent` when trying again cannot help,
                `retry_after_s` when the receiver asked to wait.
        """

    @abstractmethod
    def preview(self, alert: Alert) -> str:
        """Show the exact message that `send` would send, secrets masked."""
