"""One POST, sent once: short timeouts, no redirects, errors without the secrets of an address.

The outbox does the retrying, so only a connection that could not be made is tried a second time:
after that nobody knows whether the receiver has the message. `requests` is imported on first use.
"""

import email.utils
import logging
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from leakguard.core.errors import NotifyError
from leakguard.core.frozen import dataclass

if TYPE_CHECKING:
    import requests

CONNECT_TIMEOUT_S = 3.05
READ_TIMEOUT_S = 15.0
ANSWER_BYTES = 512

_local = threading.local()
_importing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the receiver said."""

    status: int
    text: str
    retry_after: str = ""

    @property
    def ok(self) -> bool:
        """Whether the message was taken: 2xx and nothing else."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        """Say it in a few words."""
        return f"{self.status} {self.text}".strip()


def post(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Send `body` and give the answer, whatever its status.

    Raises:
        NotifyError: there was no answer; the text names the host and nothing more of the address.
    """
    _import_requests()
    import requests

    try:
        with _session().post(
            url,
            data=body,
            headers=dict(headers),
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
            allow_redirects=False,
            stream=True,
        ) as response:
            return Answer(
                status=response.status_code,
                text=_first_line(response),
                retry_after=response.headers.get("Retry-After", ""),
            )
    except (requests.RequestException, OSError, ValueError) as error:
        # `from None`: the cause carries the whole address. A ValueError is about the request.
        permanent = isinstance(error, ValueError)
        raise NotifyError(f"{host_of(url)}: {_reason(error)}", permanent=permanent) from None


def retry_after_s(text: str, now_wall_s: float) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now_wall_s)


def check_url(name: str, url: str) -> None:
    """Refuse an address that cannot work, without repeating it; ValueError says what is wrong."""
    parts = _split(url)
    if parts is None or parts.scheme not in {"http", "https"}:
        scheme = (parts.scheme if parts else "") or "no scheme"
        raise ValueError(f"{name} must begin with https:// or http:// (found {scheme[:16]})")
    if not parts.hostname or any(c.isspace() for c in url):
        raise ValueError(f"{name} must name a host, and hold no blank")


def host_of(url: str) -> str:
    """Give host and port of an address: what may be shown of it."""
    parts = _split(url)
    return parts.netloc.rpartition("@")[2] if parts else "?"


def shown_url(url: str, *, path: bool) -> str:
    """Give an address for people: without user, password and query, and its path only if asked."""
    parts = _split(url)
    if parts is None:
        return "****"
    query = "?****" if parts.query else ""
    return f"{parts.scheme}://{host_of(url)}{parts.path if path else '/****'}{query}"


def shown_request(url: str, headers: Mapping[str, str], body: str) -> str:
    """Lay out a request as it goes over the wire; the caller has masked what is secret."""
    lines = [f"POST {url}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\n".join([*lines, "", body])


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  reading it checks that it is a number in range
    except ValueError:
        return None
    return parts


def _import_requests() -> None:
    """Import requests without the guesser of encodings: 3.7 MiB that only `Response.text` needs."""
    with _importing:
        if "requests" in sys.modules:
            return
        hidden = [n for n in ("chardet", "charset_normalizer") if n not in sys.modules]
        for name in hidden:
            sys.modules[name] = None  # type: ignore[assignment]  # as if it was not installed
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it is missing, which it says it can bear
                import requests  # noqa: F401  the first import is what counts
        finally:
            for name in hidden:
                del sys.modules[name]


def _session() -> "requests.Session":
    """Give this thread's session; they are not safe to share."""
    if not hasattr(_local, "session"):
        _local.session = _new_session()
    session: requests.Session = _local.session
    return session


def _new_session() -> "requests.Session":
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util.retry import Retry

    # urllib3 logs whole addresses, secret paths included: when it retries, and in its debug output.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
    once = Retry(
        total=1,
        connect=1,
        read=False,
        status=0,
        redirect=0,
        other=0,
        backoff_factor=0.5,
        backoff_jitter=0.5,
        allowed_methods=None,
        respect_retry_after_header=False,
        raise_on_status=False,
    )
    session = requests.Session()
    adapter = HTTPAdapter(max_retries=once, pool_connections=1, pool_maxsize=1)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _first_line(response: "requests.Response") -> str:
    """Read a few bytes of the body: the error word of the receiver, never more."""
    from urllib3.exceptions import HTTPError

    try:
        raw = response.raw.read1(ANSWER_BYTES, decode_content=True) or b""
    except (HTTPError, OSError):
        raw = b""  # the status has said whether it was taken
    text = raw.decode("utf-8", "replace").strip().splitlines()
    line = "".join(c for c in (text[0] if text else "") if c.isprintable())[:200]
    return line or str(response.reason or "")


def _reason(error: BaseException) -> str:
    """Say in words of our own what went wrong; library texts repeat the address."""
    import requests

    words: tuple[tuple[type[BaseException], str], ...] = (
        (requests.exceptions.ConnectTimeout, f"no connection within {CONNECT_TIMEOUT_S:.0f} s"),
        (requests.exceptions.ReadTimeout, f"no answer within {READ_TIMEOUT_S:.0f} s"),
        (requests.exceptions.SSLError, "its TLS certificate or handshake was refused"),
        (requests.exceptions.ProxyError, "the proxy refused or could not be reached"),
        (requests.exceptions.InvalidHeader, "a header holds a character that may not be sent"),
        (requests.exceptions.InvalidURL, "the address cannot be used"),
    )
    for kind, text in words:
        if isinstance(error, kind):
            return text
    system = _system_reason(error)
    return system or "the connection failed or broke before an answer came"


def _system_reason(error: BaseException) -> str:
    """Look for the operating system's own words among the causes."""
    import socket

    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        found = queue.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, socket.gaierror):
            return "its name cannot be resolved"
        if type(found).__module__ == "builtins" and isinstance(found, OSError) and found.strerror:
            return found.strerror.lower()
        queue += [*found.args, getattr(found, "reason", None), found.__cause__, found.__context__]
    return ""
