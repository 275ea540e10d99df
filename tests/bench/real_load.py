"""Load for the real services: requests at a rate that wanders, over HTTP or the Redis protocol."""

import http.client
import itertools
import math
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

TIMEOUT_S = 10.0
LATE_S = 1.0
"""Whoever is further behind than this has given up: what is late is not sent at all."""
WANDER_BACK = 0.01
WANDER_SPREAD = 0.12
"""The logarithm of the rate wanders about 0 with this standard deviation."""


Do = Callable[..., bytes | None]
"""Sends a Redis command, given as words, and gives its answer."""
Step = Callable[[Do], None]


class Client(Protocol):
    """Sends requests one after the other."""

    def request(self) -> None:
        """Send one and wait for its answer; OSError when there is none."""

    def close(self) -> None:
        """Close the connection; the next request opens it again."""


MakeClient = Callable[[int, random.Random], Client]
"""Makes a client from a port and random numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How often somebody asks, and for what."""

    client: MakeClient
    per_s: float
    period_s: float = 0.0
    """Length of a "day", 0 for none."""
    depth: float = 0.0
    """How far the rate swings about its mean in a day, as a share."""

    def rate(self, elapsed_s: float, wander: float) -> float:
        """Give the requests a second at this moment."""
        day = math.sin(2 * math.pi * elapsed_s / self.period_s) if self.period_s else 0.0
        return self.per_s * (1 + self.depth * day) * math.exp(wander)


def drive(load: Load, port: int, numbers: random.Random, stop: threading.Event) -> None:
    """Send requests from when the service answers until `stop`; lost ones are lost."""
    client = load.client(port, numbers)
    began = due = time.monotonic()
    wander = 0.0
    while not stop.wait(max(0.0, due - time.monotonic())):
        try:
            client.request()
        except (OSError, http.client.HTTPException):
            client.close()
        wander += numbers.gauss(0, WANDER_SPREAD * math.sqrt(2 * WANDER_BACK)) - (
            WANDER_BACK * wander
        )
        due += numbers.expovariate(load.rate(due - began, wander))
        if time.monotonic() - due > LATE_S:
            due = time.monotonic()
    client.close()


class HttpClient:
    """Asks for paths."""

    def __init__(self, port: int, paths: Iterator[str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._paths = paths

    def request(self) -> None:
        """Ask for the next path."""
        self._connection.request("GET", next(self._paths))
        self._connection.getresponse().read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class RedisClient:
    """Does a step at each request, which may be several commands."""

    def __init__(self, port: int, step: Step) -> None:
        self._port = port
        self._step = step
        self._socket: socket.socket | None = None

    def request(self) -> None:
        """Do the next step."""
        self._step(self.do)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def do(self, *words: bytes) -> bytes | None:
        """Send one command and give its answer, None for nil."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S)
        parts = [b"*%d\r\n" % len(words)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self._socket.sendall(b"".join(parts))
        return self._answer(self._socket)

    def _answer(self, connection: socket.socket) -> bytes | None:
        data = b""
        while b"\r\n" not in data:
            data += _received(connection)
        head, _, rest = data.partition(b"\r\n")
        if head[:1] != b"$":
            return head[1:]
        size = int(head[1:])
        if size < 0:
            return None
        while len(rest) < size + 2:
            rest += _received(connection)
        return rest[:size]


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(1 << 16)
    if not data:
        raise ConnectionResetError("the service closed the connection")
    return data


def fresh_paths(port: int, _: random.Random) -> Client:
    """Ask for another path each time."""
    return HttpClient(port, (f"/{number}" for number in itertools.count()))


def popular_paths(keys: int, exponent: float) -> MakeClient:
    """Ask for one of so many paths, some more popular than others (Zipf; 0: all alike)."""

    def client(port: int, numbers: random.Random) -> Client:
        return HttpClient(port, (f"/{key}" for key in zipf(keys, exponent, numbers)))

    return client


def zipf(keys: int, exponent: float, numbers: random.Random) -> Iterator[int]:
    """Draw keys for ever, key k with a weight of 1 / (k + 1) ** exponent."""
    weights = list(itertools.accumulate((k + 1) ** -exponent for k in range(keys)))
    names = numbers.sample(range(keys), keys)
    while True:
        yield numbers.choices(names, cum_weights=weights)[0]


def redis_sets(value_bytes: int, expire_s: int = 0) -> MakeClient:
    """SET another key each time, with a time to live or without."""
    options = [b"EX", b"%d" % expire_s] if expire_s else []

    def client(port: int, numbers: random.Random) -> Client:
        keys = itertools.count()

        def step(do: Do) -> None:
            do(b"SET", b"item:%d" % next(keys), value(value_bytes, numbers), *options)

        return RedisClient(port, step)

    return client


def redis_queue(job_bytes: int, done_share: float) -> MakeClient:
    """Push a job each time; a consumer that is too slow takes this share of them."""

    def client(port: int, numbers: random.Random) -> Client:
        def step(do: Do) -> None:
            do(b"LPUSH", b"jobs", value(job_bytes, numbers))
            if numbers.random() < done_share:
                do(b"RPOP", b"jobs")

        return RedisClient(port, step)

    return client


def redis_cache(keys: int, exponent: float, value_bytes: int) -> MakeClient:
    """Get a key, popular or not, and SET it when it is not there."""

    def client(port: int, numbers: random.Random) -> Client:
        drawn = zipf(keys, exponent, numbers)

        def step(do: Do) -> None:
            key = b"page:%d" % next(drawn)
            if do(b"GET", key) is None:
                do(b"SET", key, value(value_bytes, numbers))

        return RedisClient(port, step)

    return client


def value(mean_bytes: int, numbers: random.Random) -> bytes:
    """Make a value of a random size between half and one and a half times the mean."""
    return b"v" * int(mean_bytes * numbers.uniform(0.5, 1.5))
