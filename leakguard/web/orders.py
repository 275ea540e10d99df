"""Turn the JSON body of a POST into a request to the engine, saying what does not fit."""

import json
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from leakguard.core.inbox import (
    LONGEST_PAUSE_S,
    DryRunRequest,
    PauseRequest,
    Request,
    RestartRequest,
    ResumeRequest,
)
from leakguard.web.base import HttpError, HttpRequest

MAX_TEXT = 500

Fields = Mapping[str, Any]  # a JSON object is untyped


def read_body(request: HttpRequest) -> Fields:
    """Give the JSON object of a request; no body at all is an empty object."""
    if not request.body:
        return {}
    kind = request.content_type.partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HttpError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as Content-Type: application/json"
        )
    try:
        document = json.loads(request.body)
    except (ValueError, RecursionError) as error:
        raise HttpError(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise HttpError(HTTPStatus.BAD_REQUEST, "the body must be a JSON object")
    return document


def restart(service: str, fields: Fields) -> Request:
    """Read the fields `force`, `dry_run`, `reason` and `by`."""
    _only(fields, "force", "dry_run", "reason", "by")
    force, asks = _flag(fields, "force"), _flag(fields, "dry_run")
    return (DryRunRequest if asks else RestartRequest)(
        id=_new_id(),
        service=service,
        by=_text(fields, "by"),
        reason=_text(fields, "reason"),
        force=force,
    )


def pause(service: str, fields: Fields) -> Request:
    """Read the fields `for_s`, `reason` and `by`."""
    _only(fields, "for_s", "reason", "by")
    return PauseRequest(
        id=_new_id(),
        service=service,
        by=_text(fields, "by"),
        reason=_text(fields, "reason"),
        for_s=_duration(fields, "for_s"),
    )


def resume(service: str, fields: Fields) -> Request:
    """Read the field `by`."""
    _only(fields, "by")
    return ResumeRequest(id=_new_id(), service=service, by=_text(fields, "by"))


ORDERS: Mapping[str, Callable[[str, Fields], Request]] = {
    "restart": restart,
    "pause": pause,
    "resume": resume,
}


def _new_id() -> str:
    return f"req-{uuid.uuid4().hex[:16]}"


def _only(fields: Fields, *known: str) -> None:
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise HttpError(
            HTTPStatus.BAD_REQUEST,
            f"unknown field {unknown[0]!r}: there are {', '.join(known)}",
        )


def _flag(fields: Fields, name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise HttpError(HTTPStatus.BAD_REQUEST, f"`{name}` must be true or false")
    return value


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name) or ""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise HttpError(
            HTTPStatus.BAD_REQUEST, f"`{name}` must be a text of at most {MAX_TEXT} letters"
        )
    words = " ".join(value.split())  # it goes into logs and alerts: one line
    return "".join(letter for letter in words if letter.isprintable())


def _duration(fields: Fields, name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and 0 < value <= LONGEST_PAUSE_S:  # neither NaN nor infinity is in between
        return float(value)
    raise HttpError(
        HTTPStatus.BAD_REQUEST,
        f"`{name}` must be a number of seconds above 0 and at most {LONGEST_PAUSE_S:.0f}",
    )
