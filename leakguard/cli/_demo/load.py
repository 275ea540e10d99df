"""The users of the service: GETs at a steady rate, each on its own connection, none repeated."""

import http.client
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

from leakguard.cli._demo.tally import Fate, Request
from leakguard.core.instant import Clock

TIMEOUT_S = 3.0
MOST_AT_ONCE = 64


class Load:
    """Sends requests from a thread of its own until it is stopped."""

    def __init__(self, port: int, per_s: float, clock: Clock) -> None:
        self._port = port
        self._period_s = 1 / per_s
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._record: list[Request] = []
        self._pool = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="user")
        self._pacer = threading.Thread(target=self._pace, name="users", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._pacer.start()

    def stop(self) -> None:
        """Send no more and wait for the answers still due (at most the timeout)."""
        self._stop.set()
        if self._pacer.is_alive():
            self._pacer.join()
        self._pool.shutdown(wait=True)

    def record(self) -> tuple[Request, ...]:
        """Every request that is over."""
        with self._lock:
            return tuple(self._record)

    def _pace(self) -> None:
        started = self._clock.now()
        for number in itertools.count():
            ahead_s = number * self._period_s - self._clock.now().since(started)
            if self._stop.wait(max(0.0, ahead_s)):
                return
            self._pool.submit(self._send)

    def _send(self) -> None:
        sent_s = self._clock.now().boot_s
        fate, pid = ask(self._port)
        request = Request(sent_s=sent_s, done_s=self._clock.now().boot_s, fate=fate, pid=pid)
        with self._lock:
            self._record.append(request)


def ask(port: int) -> tuple[Fate, int | None]:
    """Send one GET; give how it ended and the pid that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = json.loads(connection.getresponse().read())
        return Fate.ANSWERED, int(answer["pid"])
    except ConnectionRefusedError:
        return Fate.REFUSED, None
    except TimeoutError:
        return Fate.TIMED_OUT, None
    except (OSError, http.client.HTTPException, ValueError):
        return Fate.CUT_OFF, None
    finally:
        connection.close()
