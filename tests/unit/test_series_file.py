"""Series from CSV: with and without a header, packed or not; what is wrong is named by its line."""

import gzip
from pathlib import Path

import pytest

from leakguard.cli._series_file import read_limits, read_series
from leakguard.core.errors import UsageError
from leakguard.core.units import MIB

ROWS = [("a", 0.0, 1.0), ("b", 0.0, 5.0), ("a", 10.0, 2.0)]
TEXT = "series_id,t_seconds,value\na,0,1\nb,0,5\na,10,2\n"


def written(folder: Path, text: str, name: str = "worker.csv") -> str:
    """Write a file and give its path."""
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.partition("\n")[2],
        TEXT.replace("\n", "\r\n"),
        "\ufeff" + TEXT,
        TEXT.replace("\n", "\n\n"),
        TEXT.rstrip("\n"),
    ],
    ids=["header", "no header", "CRLF", "byte order mark", "empty lines", "no last newline"],
)
def test_series_are_read(tmp_path: Path, text: str) -> None:
    """Whatever a spreadsheet or a script makes of three columns."""
    assert list(read_series(written(tmp_path, text), "bytes")) == ROWS


def test_packed_file_is_known_by_its_contents(tmp_path: Path) -> None:
    """What is packed is unpacked, whatever it is called."""
    path = tmp_path / "series"
    path.write_bytes(gzip.compress(TEXT.encode()))
    assert list(read_series(str(path), "bytes")) == ROWS


def test_two_columns_are_one_series_named_after_the_file(tmp_path: Path) -> None:
    """Without series_id the file's name is the series'."""
    path = tmp_path / "worker.csv.gz"
    path.write_bytes(gzip.compress(b"t_seconds,value\n0,1\n"))
    assert list(read_series(str(path), "bytes")) == [("worker", 0.0, 1.0)]


def test_units(tmp_path: Path) -> None:
    """MiB become bytes; percents and what has no unit stay."""
    path = written(tmp_path, "0,2\n")
    assert [next(read_series(path, unit))[2] for unit in ("bytes", "MiB", "percent", None)] == [
        2.0, 2.0 * MIB, 2.0, 2.0,
    ]  # fmt: skip


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    """NaN is a gap."""
    assert list(read_series(written(tmp_path, "0,NaN\n10,3\n"), "bytes")) == [("worker", 10.0, 3.0)]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("a,0,1\na,x,1\n", 2, "'x' is not a number"),
        ("a,0,1\na,10,\n", 2, "'' is not a number"),
        ("a,0,1\na,10\n", 2, "it has 2 columns, the first line has 3"),
        ("hello\n", 1, "it has 1 columns"),
        ("time,memory\n0,1\n", 1, "'time' is not a number"),
        ("a,b,c,d\n", 1, "it has 4 columns"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, text: str, line: int, what: str) -> None:
    """File, line, what is wrong, and how it is written."""
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        list(read_series(path, "bytes"))
    message = str(caught.value)
    assert message.startswith(f"{path}, line {line}: {what}")
    assert message.endswith("write series_id,t_seconds,value or t_seconds,value")


def test_file_that_is_cut_off_says_so(tmp_path: Path) -> None:
    """A packed file that ends early is not read as if it were whole."""
    path = tmp_path / "worker.csv.gz"
    path.write_bytes(gzip.compress(b"a,0,1\n" * 5000)[:-12])
    with pytest.raises(UsageError, match="it cannot be read"):
        list(read_series(str(path), "bytes"))


def test_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    """A picture is no series."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(UsageError, match="it cannot be read"):
        list(read_series(str(path), "bytes"))


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """The file that is not there is named."""
    with pytest.raises(UsageError, match="No such file or directory: name a CSV file, or - for"):
        list(read_series(str(tmp_path / "none.csv"), "bytes"))


def test_limits(tmp_path: Path) -> None:
    """One limit a series, in the unit of the values."""
    path = written(tmp_path, "series_id,limit\na,512\nb,100\n")
    assert read_limits(path, "MiB") == {"a": 512.0 * MIB, "b": 100.0 * MIB}


def test_bad_limit_is_named(tmp_path: Path) -> None:
    """A limit with a unit is no number."""
    with pytest.raises(UsageError, match="line 2: '512MiB' is not a number"):
        read_limits(written(tmp_path, "series_id,limit\na,512MiB\n"), "MiB")
    with pytest.raises(UsageError, match="line 1: it is not series_id,limit"):
        read_limits(written(tmp_path, "a,1,2\n"), "MiB")
