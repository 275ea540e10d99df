"""Talk to the daemon over its unix socket, with the standard library alone."""

import http.client
import json
import os
from typing import Any
from urllib.parse import quote, urlencode

from leakguard.cli._socket import UnixConnection, candidates
from leakguard.core.errors import DaemonError, PermissionRefused

TIMEOUT_S = 15.0

Plain = dict[str, Any]  # a JSON object is untyped


class NobodyAnswers(DaemonError):  # noqa: N818  a kind of DaemonError, named by what is wrong
    """No daemon is there to be asked."""


class Client:
    """Asks the first daemon that answers. Each call is one connection."""

    def __init__(self, given: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """Look for the daemon at `given` (`--socket`), or in the usual places."""
        self._paths = candidates(given, os.environ)
        self._timeout_s = timeout_s

    def get(self, path: str, **query: object) -> Plain:
        """Fetch a document; DaemonError with the daemon's words when it refuses."""
        wanted = {k: str(v) for k, v in query.items() if v not in (None, "")}
        status, document = self.ask("GET", f"{path}?{urlencode(wanted)}" if wanted else path)
        if status != http.client.OK:
            raise DaemonError(str(document.get("error", f"the daemon answered {status}")))
        return document

    def post(self, path: str, body: Plain) -> tuple[int, Plain]:
        """Send a request; gives the status and the answer, refused (409) or not."""
        status, document = self.ask("POST", path, body)
        if status >= http.client.BAD_REQUEST and status != http.client.CONFLICT:
            raise DaemonError(str(document.get("error", f"the daemon answered {status}")))
        return status, document

    def ask(self, method: str, path: str, body: Plain | None = None) -> tuple[int, Plain]:
        """Make one request to the first socket that can be connected to.

        Raises:
            NobodyAnswers: no socket can be connected to.
            DaemonError: the answer is late, or none of leakguard's.
            PermissionRefused: the socket is there and this user may not use it.
        """
        refused: OSError | None = None
        for socket_path in self._paths:
            try:
                return self._ask_one(socket_path, method, path, body)
            except PermissionError as error:
                refused = error
            except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
                continue
            except TimeoutError as error:
                raise DaemonError(
                    f"the daemon on {socket_path} did not answer within {self._timeout_s:g}s: "
                    "see its log, or restart it"
                ) from error
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise DaemonError(
                    f"no usable answer on {socket_path} ({error}): is that leakguard's socket?"
                ) from error
        where = " or ".join(self._paths)
        if refused is not None:
            raise PermissionRefused(
                f"not allowed to use {where}: run this as the user that runs the daemon (sudo?)"
            )
        raise NobodyAnswers(
            f"no daemon answers on {where}: start `leakguard run`, or give --socket PATH"
        )

    def _ask_one(
        self, socket_path: str, method: str, path: str, body: Plain | None
    ) -> tuple[int, Plain]:
        connection = UnixConnection(socket_path, self._timeout_s)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        data = json.dumps(body) if body is not None else None
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            document = json.loads(answer.read())
        finally:
            connection.close()
        return answer.status, document if isinstance(document, dict) else {}


def service_path(name: str, verb: str = "") -> str:
    """Give the API path of a service, or of one of its actions."""
    path = f"/api/v1/services/{quote(name, safe='')}"
    return f"{path}/{verb}" if verb else path
