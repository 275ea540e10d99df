"""Asks supervisord about its programs: several XML-RPC calls in one request over its socket.

`xmlrpc.client` is imported by the first answer, so that a guard without supervisord is no heavier.
"""

import base64
import errno
import fnmatch
import os
from collections.abc import Iterator, Mapping, Sequence
from socket import (
    AF_UNIX,
    SOCK_STREAM,
    create_connection,
    socket as Socket,  # noqa: N812  `socket` is an option here
)
from typing import Any
from urllib.parse import urlsplit

from leakguard.core.errors import LeakguardError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.units import Secret

SOCKETS = ("/run/supervisor.sock", "/var/run/supervisor.sock", "/tmp/supervisor.sock")  # noqa: S108  where supervisorctl looks
ASK_S = 2.0
"""It answers questions in milliseconds; the guard does not wait longer for one that hangs."""
PORT = 9001
CHUNK = 65536
UNAUTHORIZED = 401
OK = 200
BAD_NAME = 10
NO_FILE = 20
NOT_EXECUTABLE = 21
ABNORMAL_TERMINATION = 40
ALREADY_STARTED = 60
NOT_RUNNING = 70
MULTICALL = "system.multicall"
GLOB = frozenset("*?[")

Call = tuple[str | bool, ...]
"""A method of supervisord's own, without `supervisor.`, and its arguments."""


class SupervisordError(LeakguardError):
    """supervisord could not be asked. `permanent`: until somebody changes something.

    `unknown`: it is there, and what it would say is not known.
    """

    def __init__(self, message: str, *, permanent: bool = False, unknown: bool = False) -> None:
        """Hold the message and what it means for whoever asked."""
        super().__init__(message)
        self.permanent = permanent
        self.unknown = unknown


@dataclass(frozen=True, slots=True)
class Fault:
    """supervisord's answer to a call that it refuses: `code` is a number of its own."""

    code: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where supervisord listens. Without `socket` and `url`, the first usual socket that is there.

    Raises:
        UnitError: it cannot be an address.
    """

    socket: str = ""
    url: str = ""
    username: str = ""
    password: Secret | None = None

    def __post_init__(self) -> None:
        """Refuse what the file alone shows to be wrong."""
        if self.socket and self.url:
            raise UnitError("socket and url are both given: keep one of them")
        if self.socket and not self.socket.startswith("/"):
            raise UnitError(f"socket {self.socket!r} is not an absolute path: begin it with /")
        if self.url and not (self.url.startswith("http://") and urlsplit(self.url).hostname):
            raise UnitError(f"url {self.url!r} is not one of supervisord: write http://HOST:9001")
        if bool(self.username) != (self.password is not None):
            raise UnitError("username and password_file belong together: give both, or neither")

    def place(self) -> str:
        """Name the place for people: the socket's path, or the address."""
        if self.url:
            return self.url
        return self.socket or next((one for one in SOCKETS if os.path.exists(one)), "")

    def connect(self, timeout_s: float = ASK_S) -> Socket:
        """Open a connection.

        Raises:
            SupervisordError: there is none to be had, and why.
        """
        place = self.place()
        if not place:
            raise SupervisordError(
                f"no socket of supervisord at {', '.join(SOCKETS)}: start supervisord, or set "
                "`socket` to the file of its [unix_http_server]",
                permanent=True,
            )
        try:
            if self.url:
                return create_connection(_tcp_address(self.url), timeout_s)
            return _unix_connection(place, timeout_s)
        except OSError as error:
            raise _unreachable(place, error) from error

    def request(self, *calls: Call) -> bytes:
        """Write one request that makes all calls, in their order."""
        import xmlrpc.client

        many = [{"methodName": f"supervisor.{name}", "params": args} for name, *args in calls]
        body = xmlrpc.client.dumps((many,), MULTICALL).encode()
        lines = [
            "POST /RPC2 HTTP/1.0",  # of that version supervisord closes the connection at the end
            "Content-Type: text/xml",
            f"Content-Length: {len(body)}",
            *self._authorization(),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _authorization(self) -> Iterator[str]:
        if self.password is not None:
            pair = f"{self.username}:{self.password.reveal()}".encode()
            yield f"Authorization: Basic {base64.b64encode(pair).decode()}"

    def ask(self, *calls: Call, timeout_s: float = ASK_S) -> list[Any]:
        """Make calls in one request; gives what each returned, a `Fault` for one refused.

        Raises:
            SupervisordError: there is no answer, and why.
        """
        with self.connect(timeout_s) as connection:
            try:
                connection.sendall(self.request(*calls))
                raw = b"".join(iter(lambda: connection.recv(CHUNK), b""))
            except TimeoutError as error:
                raise SupervisordError(
                    f"supervisord at {self.place()} did not answer within {timeout_s:g}s",
                    unknown=True,
                ) from error
            except OSError as error:
                raise _unreachable(self.place(), error) from error
        return self.answers(raw)

    def answers(self, raw: bytes) -> list[Any]:
        """Read a whole answer as it came over the connection.

        Raises:
            SupervisordError: it is no answer of supervisord's, or the end of it is missing.
        """
        import xmlrpc.client

        status, body = _http(raw)
        if status == UNAUTHORIZED:
            raise SupervisordError(
                f"supervisord at {self.place()} wants another password: set username and "
                "password_file as in its configuration",
                permanent=True,
            )
        if status is None:
            raise SupervisordError(
                f"supervisord at {self.place()} went away in the middle of its answer: look "
                "whether it runs"
            )
        if status != OK:
            raise SupervisordError(f"supervisord at {self.place()} answered with status {status}")
        try:
            given: Any = xmlrpc.client.loads(body)[0][0]
            return [_answer(one) for one in given]
        except xmlrpc.client.Fault as fault:
            raise SupervisordError(f"supervisord refuses: {fault.faultString}") from fault
        except Exception as error:  # expat, and whatever a stranger's answer makes of it
            raise SupervisordError(
                f"what answers at {self.place()} is not supervisord: correct socket or url",
                permanent=True,
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process of supervisord's. `pid` 0: none runs."""

    group: str
    name: str
    state: str
    pid: int = 0
    spawn_error: str = ""
    exit_status: int = 0

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Program":
        """Read what getProcessInfo gives."""
        return cls(
            group=str(info["group"]),
            name=str(info["name"]),
            state=str(info["statename"]),
            pid=int(info["pid"]),
            spawn_error=str(info.get("spawnerr") or ""),
            exit_status=int(info.get("exitstatus") or 0),
        )

    @property
    def full(self) -> str:
        """Its full name, `group:name`."""
        return f"{self.group}:{self.name}"

    def why_not(self) -> str:
        """Say what supervisord makes of it, when no process of it runs."""
        match self.state:
            case "FATAL":
                return (
                    f"supervisord gave up starting {self.full} (FATAL, {self._error()}): look at "
                    f"its log, then `supervisorctl start {self.full}`"
                )
            case "BACKOFF":
                return (
                    f"supervisord is trying to start {self.full} (BACKOFF, {self._error()}): "
                    "wait, or look at its log"
                )
            case "EXITED":
                return (
                    f"{self.full} ended with code {self.exit_status} (EXITED) and supervisord does "
                    f"not start it again: `supervisorctl start {self.full}`"
                )
            case _:
                return f"{self.full} is {self.state}: `supervisorctl start {self.full}`"

    def _error(self) -> str:
        return self.spawn_error or "no reason given"


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """What supervisord allows a program: seconds to stop and to start, and further tries."""

    stop_wait_s: float = 10.0
    start_s: float = 1.0
    start_retries: int = 3

    @classmethod
    def of(cls, infos: object, program: Program) -> "Times":
        """Find the program in what getAllConfigInfo gives; its usual values where it is not."""
        for info in infos if isinstance(infos, list) else ():
            if (info.get("group"), info.get("name")) == (program.group, program.name):
                return cls(
                    stop_wait_s=float(info["stopwaitsecs"]),
                    start_s=float(info["startsecs"]),
                    start_retries=int(info["startretries"]),
                )
        return cls()

    @property
    def both_s(self) -> float:
        """How long a stop and a start may take before supervisord itself says how it went."""
        return self.stop_wait_s + self.start_s


def nearest(wanted: str, programs: Sequence[Program]) -> str:
    """Say which name was meant, or which there are: the end of a message about a wrong name."""
    if not programs:
        return "supervisord has no program"
    groups = [one for one in programs if one.group == wanted]
    if groups and ":" not in wanted:
        return f"{wanted} is a group: write {groups[0].full}, or {wanted}:* for all of it"
    last = wanted.rpartition(":")[2] or "*"
    same = [one.full for one in programs if fnmatch.fnmatchcase(one.name, last)]
    if same and last != "*":
        return f"did you mean {' or '.join(same[:3])}?"
    import difflib  # only where a name is wrong

    full = [one.full for one in programs]
    close = difflib.get_close_matches(wanted, full, n=1)
    if close:
        return f"did you mean {close[0]}?"
    return f"there are: {', '.join(full[:10])}{' …' if len(full) > 10 else ''}"


def _answer(one: object) -> object:
    if isinstance(one, Mapping) and "faultCode" in one:
        return Fault(int(one["faultCode"]), str(one.get("faultString", "")))
    return one


def _http(raw: bytes) -> tuple[int | None, bytes]:
    """Split an HTTP answer into status and body; None where it is not whole."""
    head, found, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not found or len(words) < 2 or not words[1].isdecimal():
        return None, b""
    for line in lines[1:]:
        name, _, value = line.partition(":")
        if name.lower() == "content-length" and value.strip() != str(len(body)):
            return None, b""
    return int(words[1]), body


def _unix_connection(path: str, timeout_s: float) -> Socket:
    made = Socket(AF_UNIX, SOCK_STREAM)
    made.settimeout(timeout_s)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def _tcp_address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "localhost", parts.port or PORT


def _unreachable(place: str, error: OSError) -> SupervisordError:
    if isinstance(error, PermissionError):
        return SupervisordError(
            f"not allowed to use {place} as uid {os.geteuid()}: set chmod and chown in "
            "[unix_http_server] so that leakguard's user may write to it, or run leakguard as its "
            "owner",
            permanent=True,
        )
    if isinstance(error, FileNotFoundError):
        return SupervisordError(
            f"no socket {place}: start supervisord, or correct `socket`", permanent=True
        )
    if isinstance(error, TimeoutError) or error.errno == errno.EAGAIN:
        return SupervisordError(f"supervisord at {place} takes no connection", unknown=True)
    if isinstance(error, ConnectionRefusedError):
        return SupervisordError(f"nobody answers at {place}: start supervisord")
    said = error.strerror or str(error)
    return SupervisordError(f"supervisord cannot be asked at {place}: {said}")
