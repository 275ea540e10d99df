"""One HTTP request and its answer within a time that holds for the whole of it.

The answer is read by hand from the socket: a service that sends its headers one byte at a time
cannot hold anybody beyond the time, as it could where each byte has a time of its own.
"""

import http.client
import io
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from typing import cast
from urllib.parse import SplitResult

from leakguard.core.frozen import dataclass

MOST_BYTES = 65536
"""More of an answer is not read."""
_LINE_BYTES = 4096
_LEAST_S = 0.05
_BODILESS = frozenset({204, 304})

Left = Callable[[], float]
"""Gives the seconds left."""


class ExchangeError(Exception):
    """There was no answer; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An answer; `headers` by their names in small letters, and `body`, only where asked for."""

    status: int
    reason: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def shown(url: SplitResult) -> str:
    """Give a URL for people: without what may be secret in it."""
    return url._replace(netloc=url.netloc.rpartition("@")[2], query="").geturl()


def exchange(
    url: SplitResult, method: str, left_s: Left, *, body: bytes = b"", whole: bool = True
) -> HttpAnswer:
    """Send one request and read the answer, up to the status line unless `whole`.

    Raises:
        ExchangeError: there was none in time, or it is not HTTP.
    """
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    connection = kind(url.hostname or "", url.port, timeout=max(_LEAST_S, left_s()))
    headers = {"Connection": "close", **({"Content-Type": "application/json"} if body else {})}
    try:
        connection.request(method, _path(url), body=body or None, headers=headers)
        data = _read(connection.sock, left_s, whole=whole)
    except ssl.SSLError as error:
        raise ExchangeError(f"TLS: {error.reason or error}") from error
    except TimeoutError as error:
        raise ExchangeError("no answer in time") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ExchangeError(words(error)) from error
    finally:
        connection.close()
    return _whole(data, method) if whole else _status(data)


def words(error: Exception) -> str:
    """Give an error's own words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _path(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _read(sock: socket.socket, left_s: Left, *, whole: bool) -> bytes:
    data = b""
    most = MOST_BYTES if whole else _LINE_BYTES
    while len(data) < most and not _is_enough(data, whole=whole):
        remaining_s = left_s()
        if remaining_s <= _LEAST_S:
            raise TimeoutError
        sock.settimeout(remaining_s)
        chunk = sock.recv(_LINE_BYTES)
        if not chunk:
            break
        data += chunk
    return data


def _is_enough(data: bytes, *, whole: bool) -> bool:
    if not whole:
        return b"\n" in data
    head, ended, body = data.partition(b"\r\n\r\n")
    if not ended:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length" and value.strip().isdigit():
            return len(body) >= int(value)
    return _status(data).status in _BODILESS


def _status(data: bytes) -> HttpAnswer:
    line = data.partition(b"\n")[0].decode("latin-1").strip()
    parts = line.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/") or not parts[1].isdecimal():
        raise ExchangeError(f"not an HTTP answer: {line[:60]!r}")
    return HttpAnswer(status=int(parts[1]), reason=parts[2] if len(parts) > 2 else "")


def _whole(data: bytes, method: str) -> HttpAnswer:
    answer = _status(data)
    response = http.client.HTTPResponse(cast("socket.socket", _Read(data)), method=method)
    body = b""
    try:
        response.begin()
        with suppress(http.client.IncompleteRead):  # what came in time is what there is
            body = response.read(MOST_BYTES)
    except (http.client.HTTPException, ValueError) as error:
        raise ExchangeError(f"not an HTTP answer: {words(error)}") from error
    finally:
        response.close()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return HttpAnswer(status=answer.status, reason=answer.reason, headers=headers, body=body)


class _Read:
    """What was read, for a parser that wants a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
