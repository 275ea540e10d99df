"""The health gate: ask a service that came back until it answers well, or its time is over."""

import socket
from collections.abc import Callable
from threading import Event
from urllib.parse import SplitResult, urlsplit

from leakguard.core.errors import DriverError
from leakguard.core.instant import Clock
from leakguard.core.plan import HealthSpec
from leakguard.core.units import format_duration
from leakguard.linux.children import Children
from leakguard.linux.run_command import run_command
from leakguard.linux.spawn import ChildSpec
from leakguard.runtime.http_exchange import ExchangeError, Left, exchange, shown, words

TRY_S = 5.0
"""One try waits this long at most; a service that needs longer to say hello is not healthy."""
LEAST_S = 0.1
"""No further try is begun with less than this left: its failure would only hide the last answer."""

Probe = Callable[[Left], str]
"""Asks once, within the seconds that `Left` gives; the answer is what is wrong, empty for well."""


def check(
    spec: HealthSpec, within_s: float, *, clock: Clock, cancelled: Event, children: Children
) -> tuple[bool, str]:
    """Ask until the gate passes (True) or the time is over; says how, or the last failure."""
    began = clock.now()

    def left_s() -> float:
        return within_s - clock.now().since(began)

    probe = _probe(spec, clock=clock, cancelled=cancelled, children=children)
    what = whom_it_asks(spec)
    tries, problem = 0, "it was not asked"
    while tries == 0 or left_s() > LEAST_S:
        problem = probe(_nearer(left_s, clock))
        tries += 1
        if not problem:
            return True, f"{what} is well after {format_duration(clock.now().since(began))}"
        if cancelled.wait(min(spec.every_s, max(0.0, left_s()))):
            return False, f"{what}: leakguard stopped asking; last answer: {problem}"
    within, tried = format_duration(within_s), f"{tries} {'try' if tries == 1 else 'tries'}"
    return False, f"{what} did not become well within {within} ({tried}): {problem}"


def whom_it_asks(spec: HealthSpec) -> str:
    """Name what a gate asks, without its secrets."""
    if spec.http:
        return shown(urlsplit(spec.http))
    return f"tcp {spec.tcp}" if spec.tcp else spec.command[0]


def _probe(spec: HealthSpec, *, clock: Clock, cancelled: Event, children: Children) -> Probe:
    if spec.http:
        url = urlsplit(spec.http)
        return lambda left: _ask_http(url, left)
    if spec.tcp:
        return lambda left: _ask_tcp(spec.tcp, left)

    def command(left: Left) -> str:
        return _ask_command(spec.command, left, clock=clock, cancelled=cancelled, children=children)

    return command


def _nearer(left_s: Left, clock: Clock) -> Left:
    began = clock.now()
    return lambda: max(0.05, min(left_s(), TRY_S - clock.now().since(began)))


def _ask_http(url: SplitResult, left_s: Left) -> str:
    try:
        answer = exchange(url, "GET", left_s, whole=False)
    except ExchangeError as error:
        return str(error)
    return "" if 200 <= answer.status < 400 else f"answered {answer.status} {answer.reason}".strip()


def _ask_tcp(address: str, left_s: Left) -> str:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=left_s()):
            return ""
    except TimeoutError:
        return "no connection in time"
    except (OSError, ValueError, OverflowError) as error:
        return words(error)


def _ask_command(
    argv: tuple[str, ...], left_s: Left, *, clock: Clock, cancelled: Event, children: Children
) -> str:
    limit_s = left_s()
    try:
        ended = run_command(
            children, ChildSpec(argv=argv), timeout_s=limit_s, clock=clock, cancelled=cancelled
        )
    except DriverError as error:
        return str(error)
    if ended.code is None:
        return f"did not end within {format_duration(limit_s)}"
    return f"exit code {ended.code}: {ended.tail}".rstrip(": ") if ended.code else ""
