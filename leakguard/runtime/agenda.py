"""When each service is sampled next, in seconds since boot. Written by the loop, read by others."""

from collections.abc import Collection, Iterable

from leakguard.core.instant import Instant

AT_LEAST_S = 10.0
"""The loop ticks this often even when no service is due, to see jumps and deadlines."""


class Agenda:
    """A service that is not in it is due at once.

    Any thread may `hasten`. That is kept apart from the times that the loop sets: when it comes
    while the loop reads the service, the loop's next time must not take its place.
    """

    def __init__(self) -> None:
        """Start empty: everything is due."""
        self._due: dict[str, float] = {}
        self._hastened: set[str] = set()

    def set(self, service: str, boot_s: float) -> None:
        """Note when a service is due."""
        self._due[service] = boot_s

    def bring_forward(self, service: str, boot_s: float) -> None:
        """Make a service due by a moment; an earlier one that is set stays."""
        if service in self._due:
            self._due[service] = min(self._due[service], boot_s)

    def hasten(self, service: str) -> None:
        """Make a service due at once, whatever is set for it until it is given out as due."""
        self._hastened.add(service)

    def due(self, services: Iterable[str], asked: Collection[str], now: Instant) -> tuple[str, ...]:
        """Give what is due by time, and what was asked about (by its name or its entry's)."""
        found = tuple(
            name
            for name in services
            if name in self._hastened
            or self._due.get(name, now.boot_s) <= now.boot_s
            or name in asked
            or name.partition(":")[0] in asked
        )
        for name in found:  # from here on, a `hasten` asks for another look after this one
            self._hastened.discard(name)
        return found

    def wait_s(self, services: Iterable[str], now: Instant) -> float:
        """Seconds until the first of `services` is due, never more than `AT_LEAST_S`."""
        at = min((self._at(name, now) for name in services), default=float("inf"))
        return max(0.0, min(AT_LEAST_S, at - now.boot_s))

    def sample_in_s(self, service: str, now: Instant) -> float | None:
        """Seconds until a service is sampled next; None when that is not known."""
        if service not in self._due:
            return None
        return max(0.0, round(self._at(service, now) - now.boot_s, 2))

    def _at(self, service: str, now: Instant) -> float:
        return now.boot_s if service in self._hastened else self._due.get(service, now.boot_s)
