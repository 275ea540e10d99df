"""Options that several commands share, spelled and explained once."""

import os
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from leakguard.core.errors import UnitError, UsageError
from leakguard.core.units import format_duration, parse_duration

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """A duration with its unit (`20m`), as seconds; with `at_most_s` also above 0."""

    name = "duration"

    def __init__(self, at_most_s: float | None = None) -> None:
        """Take durations up to `at_most_s`."""
        self._at_most_s = at_most_s

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read the text; click reports what is wrong with it."""
        if isinstance(value, int | float):
            return float(value)
        try:
            seconds = float(parse_duration(str(value)))
        except UnitError as error:
            self.fail(str(error), param, ctx)
        most = self._at_most_s
        if most is not None and not 0 < seconds <= most:
            span = format_duration(most)
            self.fail(f"{value!r}: write more than 0s and at most {span}", param, ctx)
        return seconds


def socket_option(function: F) -> F:
    """Add `--socket PATH`."""
    return click.option(
        "--socket",
        "socket_path",
        metavar="PATH",
        help="The daemon's unix socket.  [default: $LEAKGUARD_SOCKET, then the usual places]",
    )(function)


def json_option(text: str = "Print one JSON document.") -> Callable[[F], F]:
    """Add `--json`, explained by `text`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def reason_option(function: F) -> F:
    """Add `--reason TEXT`."""
    return click.option("--reason", metavar="TEXT", default="", help="Why, for log and alerts.")(
        function
    )


def who() -> str:
    """Give the name of the person at the keyboard, also behind sudo."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container often runs a uid that has no name
        return f"uid {os.getuid()}"


def check_writable(record: str) -> None:
    """Refuse a `--record` file that cannot be written, before anything is started.

    Raises:
        UsageError: it cannot be opened.
    """
    try:
        Path(record).open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"--record {record}: {error.strerror}") from error
