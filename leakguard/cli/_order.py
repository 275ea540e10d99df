"""Send one order that takes effect at once, and print the daemon's answer."""

from http import HTTPStatus
from typing import Any

from leakguard.cli._client import Client, service_path
from leakguard.cli._output import Exit, emit_json, talk


def order(
    socket_path: str | None,
    service: str,
    verb: str,
    body: dict[str, Any],
    *,
    as_json: bool,
    said: str = "",
) -> Exit:
    """Post `verb` for `service`; a refusal is said on stderr and is exit code 1.

    `said` is printed in place of the daemon's words when it accepts.
    """
    status, reply = Client(socket_path).post(service_path(service, verb), body)
    if as_json:
        emit_json(reply)
    elif status == HTTPStatus.OK:
        print(f"{service}: {said or reply['message']}")
    else:
        talk(f"leakguard: {service}: {reply['message']}")
    return Exit.OK if status == HTTPStatus.OK else Exit.FAILED
