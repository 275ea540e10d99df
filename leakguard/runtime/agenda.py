"""When each service is sampled next, in seconds since boot. Written by the loop, read by others."""

from collections.abc import Collection, Iterable

from leakguard.core.instant import Instant

AT_LEAST_S = 10.0
"""The loop ticks this often even when no service is due, to see jumps and deadlines."""


class Agenda:
    """A service that is not in it is due at once."""

    def __init__(self) -> None:
        """Start empty: everything is due."""
        self._due: dict[str, float] = {}

    def set(self, service: str, boot_s: float) -> None:
        """Note when a service is due."""
        self._due[service] = boot_s

    def hasten(self, service: str) -> None:
        """Make a service due at once."""
        self._due.pop(service, None)

    def due(self, services: Iterable[str], asked: Collection[str], now: Instant) -> tuple[str, ...]:
        """Give what is due by time, and what was asked about (by its name or its entry's)."""
        return tuple(
            name
            for name in services
            if self._due.get(name, now.boot_s) <= now.boot_s
            or name in asked
            or name.partition(":")[0] in asked
        )

    def wait_s(self, services: Iterable[str], now: Instant) -> float:
        """Seconds until the first of `services` is due, never more than `AT_LEAST_S`."""
        at = min((self._due.get(name, now.boot_s) for name in services), default=float("inf"))
        return max(0.0, min(AT_LEAST_S, at - now.boot_s))

    def sample_in_s(self, service: str, now: Instant) -> float | None:
        """Seconds until a service is sampled next; None when that is not known."""
        at = self._due.get(service)
        return None if at is None else max(0.0, round(at - now.boot_s, 2))
