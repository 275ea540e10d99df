"""Ask a service something before its restart, by HTTP or a command: yes, not yet, or no answer."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from enum import StrEnum
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from leakguard.core.errors import DriverError, UnitError
from leakguard.core.frozen import dataclass
from leakguard.core.instant import Clock
from leakguard.core.plan import Method, Question
from leakguard.core.units import format_duration, parse_duration
from leakguard.linux.children import Children
from leakguard.linux.run_command import run_command
from leakguard.linux.spawn import ChildSpec
from leakguard.runtime.http_exchange import ExchangeError, HttpAnswer, Left, exchange

LATER_WITH_RETRY = frozenset({202, 409, 429, 503})
"""What means `not yet` together with Retry-After."""
MOST_WORDS = 200


class Says(StrEnum):
    """What was understood of an answer."""

    YES = "yes"
    LATER = "later"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer in words of its own; `again_s`: when to ask again, where it said so."""

    says: Says
    message: str = ""
    again_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """What a question is asked with."""

    clock: Clock
    children: Children
    cancelled: Event

    def ask(self, question: Question, about: Mapping[str, str], limit_s: float) -> Answer:
        """Ask once, for `limit_s` at most; `about` is what the service is told of the restart."""
        if question.http:
            return self._by_http(question, about, limit_s)
        return self._by_command(question, about, limit_s)

    def left(self, limit_s: float) -> Left:
        """Give a clock that runs down from `limit_s`."""
        began = self.clock.now()
        return lambda: limit_s - self.clock.now().since(began)

    def _by_http(self, question: Question, about: Mapping[str, str], limit_s: float) -> Answer:
        body = json.dumps(dict(about)).encode() if question.method is not Method.GET else b""
        url, left = urlsplit(question.http), self.left(limit_s)
        try:
            answer = exchange(url, question.method, left, body=body)
        except ExchangeError as error:
            return Answer(says=Says.UNCLEAR, message=str(error))
        return _read_http(answer, self.clock)

    def _by_command(self, question: Question, about: Mapping[str, str], limit_s: float) -> Answer:
        spec = ChildSpec(argv=expand(question.command, about), env=variables(about))
        try:
            ended = run_command(
                self.children, spec, timeout_s=limit_s, clock=self.clock, cancelled=self.cancelled
            )
        except DriverError as error:
            return Answer(says=Says.UNCLEAR, message=str(error))
        if ended.code is None:
            message = f"did not end within {format_duration(limit_s)}"
            return Answer(says=Says.UNCLEAR, message=message)
        if ended.code == os.EX_TEMPFAIL:
            first, _, rest = ended.tail.partition("\n")
            return Answer(says=Says.LATER, message=_one_line(rest), again_s=_duration(first))
        if ended.code:
            message = f"exit code {ended.code}: {_one_line(ended.tail)}".rstrip(": ")
            return Answer(says=Says.UNCLEAR, message=message)
        return Answer(says=Says.YES)


def variables(about: Mapping[str, str]) -> dict[str, str]:
    """Give what is said of a restart as environment variables."""
    return {f"LEAKGUARD_{name.upper()}": value for name, value in about.items()}


def expand(argv: tuple[str, ...], about: Mapping[str, str]) -> tuple[str, ...]:
    """Put what is said of a restart in the place of `{pid}`, `{service}` and so on."""
    return tuple(_expand_one(word, about) for word in argv)


def _expand_one(word: str, about: Mapping[str, str]) -> str:
    for name, value in about.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _read_http(answer: HttpAnswer, clock: Clock) -> Answer:
    fields = _fields(answer.body)
    retry_s = _retry_after(answer.headers.get("retry-after", ""), clock)
    words = _one_line(str(fields.get("reason") or ""))
    if fields.get("busy") is True:
        asked_s = _duration(str(fields.get("again_in") or ""))
        return Answer(
            says=Says.LATER, message=words, again_s=retry_s if asked_s is None else asked_s
        )
    if answer.status in LATER_WITH_RETRY and retry_s is not None:
        return Answer(says=Says.LATER, message=words, again_s=retry_s)
    if 200 <= answer.status < 300:
        return Answer(says=Says.YES)
    return Answer(says=Says.UNCLEAR, message=f"answered {answer.status} {answer.reason}".strip())


def _fields(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after(value: str, clock: Clock) -> float | None:
    """Read `120` or an HTTP date."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - clock.now().wall_s)
    return None


def _duration(text: str) -> float | None:
    try:
        return parse_duration(text.strip())
    except UnitError:
        return None


def _one_line(text: str) -> str:
    words = " ".join(text.split())[:MOST_WORDS]
    return "".join(letter for letter in words if letter.isprintable())
