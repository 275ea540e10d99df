"""No file, variable or expression makes the configuration crash, and units read back."""

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from leakguard import cron
from leakguard.config import load
from leakguard.config.lines import read_yaml
from leakguard.config.values import read_amount, read_bytes, read_seconds
from leakguard.core.errors import ConfigError
from leakguard.testing.settings import WORKER

KEYS = st.sampled_from(
    [
        "services", "worker", "target", "cmdline", "pattern", "restart", "threshold", "above",
        "schedule", "cron", "driver", "signal", "stop", "alerts", "channels", "routes", "to",
        "slack", "http", "listen", "defaults", "mode", "each", "max_restarts", "limit", "x",
    ]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["80%", "900MiB", "20m", "act", "0 3 * * *", "log", "signal", "off"]),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def refusal(read: Callable[[], object]) -> str | None:
    """Give the reason of a ValueError, None when `read` gives a value."""
    try:
        read()
    except ValueError as error:
        return str(error)
    return None


def lines_of(text: bytes, environ: dict[str, str]) -> tuple[str, ...]:
    """Load `text` and give its problems; anything but a ConfigError gets out."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "c.yaml").write_bytes(text)
        try:
            load("c.yaml", environ=environ, cwd=folder, secrets="")
        except ConfigError as error:
            return error.problems
    return ()


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    """Whatever a file holds, the answer is a plan or a list of problems, each one line."""
    assert [line for line in lines_of(data, {}) if "\n" in line] == []


@given(st.text(alphabet="abc:-[]{}&*!|>#'\"\n\t 0.%@<,?~", max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_yaml_crashes_the_reader(text: str) -> None:
    """Structure of any kind is data or a ConfigError."""
    try:
        data: object = read_yaml(text, "x").data
    except ConfigError as error:
        data = {"problems": error.problems} if error.problems else None
    assert isinstance(data, dict)


@given(TREES)
@settings(max_examples=150, deadline=None)
def test_no_tree_of_known_words_crashes(tree: object) -> None:
    """Right words in wrong places are problems with a place, never a traceback."""
    import yaml

    for line in lines_of(yaml.safe_dump(tree, allow_unicode=True).encode(), {}):
        assert line.startswith("c.yaml")


@given(
    st.dictionaries(
        st.lists(KEYS.map(str.upper), min_size=1, max_size=4).map("__".join),
        st.text(max_size=12).filter(lambda text: "\0" not in text),
        max_size=4,
    )
)
@settings(max_examples=150, deadline=None)
def test_no_variables_crash(variables: dict[str, str]) -> None:
    """Variables are problems with their name or the file's, never a traceback."""
    environ = {f"LEAKGUARD_{name}": value for name, value in variables.items()}
    for line in lines_of(WORKER.encode(), environ):
        assert line.startswith(("$LEAKGUARD_", "c.yaml"))


@given(st.text(max_size=30) | st.integers() | st.floats() | st.booleans() | st.none())
@pytest.mark.parametrize("read", [read_bytes, read_seconds, read_amount])
def test_no_value_crashes_a_unit(read: Callable[[object], object], value: object) -> None:
    """A value is read or refused by ValueError, which pydantic reports, with a reason."""
    assert refusal(lambda: read(value)) != ""


@given(st.integers(0, 10**6), st.sampled_from(["KiB", "MiB", "GiB"]))
def test_sizes_read_back(number: int, unit: str) -> None:
    """A size is its number times its unit, to the byte."""
    factor = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[unit]
    assert read_bytes(f"{number}{unit}") == number * factor


@given(st.text(alphabet="0123456789*/,-@L#WmonTUE? ", max_size=30))
@settings(deadline=None)
def test_no_expression_crashes_cron(text: str) -> None:
    """An expression fires, or is refused with a reason."""
    after = datetime(2026, 1, 1, tzinfo=UTC)
    assert refusal(lambda: cron.upcoming(text, "UTC", after, 1)[0]) != ""
