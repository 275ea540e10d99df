"""Recorded series from CSV: a file, packed by gzip or not, or standard input."""

import csv
import gzip
import io
import math
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

from leakguard.core.errors import UnitError, UsageError
from leakguard.core.units import MIB, parse_bytes

STDIN = "-"
UNITS = {"bytes": 1.0, "MiB": float(MIB), "percent": 1.0}
"""Unit of the values → what one of them is; a percent stays one."""
HEADERS = (("series_id", "t_seconds", "value"), ("t_seconds", "value"))
_GZIP = b"\x1f\x8b"


def read_series(path: str, unit: str | None) -> Iterator[tuple[str, float, float]]:
    """Give series, time and value of each line; values in bytes, or as they are in percent.

    The first line may name the columns. Two columns are one series, named after the file.

    Raises:
        UsageError: the file cannot be read, or a line is not a sample; names both.
    """
    factor, own = UNITS[unit] if unit is not None else 1.0, _name(path)
    columns = 0
    with _lines(path) as lines:
        for number, row in _rows(path, lines):
            if not columns:
                columns = _columns(path, number, row)
                if tuple(cell.strip().lower() for cell in row) in HEADERS:
                    continue
            if len(row) != columns:
                raise _bad(path, number, f"it has {len(row)} columns, the first line has {columns}")
            try:
                t, value = float(row[-2]), float(row[-1])
            except ValueError:
                t, value = (_number(path, number, cell) for cell in row[-2:])
            if math.isfinite(value):  # NaN: nothing was measured
                yield (row[0].strip() if columns == len(HEADERS[0]) else own), t, value * factor


def read_limits(path: str, unit: str | None) -> dict[str, float]:
    """Read the limit of each series, in the unit of the values.

    Raises:
        UsageError: the file cannot be read, or a line is not a limit; names both.
    """
    factor, limits = UNITS[unit] if unit is not None else 1.0, {}
    with _lines(path) as lines:
        for number, row in _rows(path, lines):
            if [cell.strip().lower() for cell in row] == ["series_id", "limit"]:
                continue
            if len(row) != 2:
                raise _bad(path, number, "it is not series_id,limit")
            limits[row[0].strip()] = _number(path, number, row[1]) * factor
    return limits


@contextmanager
def _lines(path: str) -> Iterator[IO[str]]:
    """Open a file or standard input as text, unpacked where it is packed."""
    with ExitStack() as stack:
        raw = _raw(path, stack)
        if raw.peek(2)[:2] == _GZIP:
            raw = io.BufferedReader(stack.enter_context(gzip.GzipFile(fileobj=raw)))
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")
        stack.callback(text.detach)  # else it would close standard input with it
        yield text


def _raw(path: str, stack: ExitStack) -> io.BufferedReader:
    if path == STDIN:
        return cast("io.BufferedReader", sys.stdin.buffer)
    try:
        return stack.enter_context(Path(path).open("rb"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: name a CSV file, or - for stdin") from error


def _rows(path: str, lines: IO[str]) -> Iterator[tuple[int, list[str]]]:
    """Give number and cells of each line that has any."""
    reader = csv.reader(lines)
    try:
        for row in reader:
            if row and (row[-1] or any(cell.strip() for cell in row)):
                yield reader.line_num, row
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise _bad(path, reader.line_num + 1, f"it cannot be read ({error})") from error


def _columns(path: str, number: int, row: list[str]) -> int:
    if len(row) not in {len(header) for header in HEADERS}:
        raise _bad(path, number, f"it has {len(row)} columns")
    return len(row)


def _number(path: str, line: int, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise _bad(path, line, f"{cell.strip()!r} is not a number") from None


def _bad(path: str, number: int, what: str) -> UsageError:
    name = "standard input" if path == STDIN else path
    return UsageError(
        f"{name}, line {number}: {what}: write series_id,t_seconds,value or t_seconds,value"
    )


def _name(path: str) -> str:
    if path == STDIN:
        return "stdin"
    name = Path(path).name
    return name.removesuffix(".gz").removesuffix(".csv") or name


def read_limit(text: str, unit: str | None) -> float:
    """Read one limit for all: a size with its unit, a percentage, or a plain number."""
    if unit in {"bytes", "MiB"}:
        return float(parse_bytes(text))
    try:
        number = float(text.removesuffix("%") if unit == "percent" else text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or number <= 0:
        hint = "" if unit else "; say --unit bytes or MiB to give it as a size"
        raise UnitError(f"--limit {text!r}: without a size's unit it is a plain number{hint}")
    return number
