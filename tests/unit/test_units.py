"""Sizes, durations, percentages and secrets: what is read, what is refused, how it is printed."""

import pytest

from leakguard.core.errors import UnitError
from leakguard.core.units import (
    GIB,
    KIB,
    MIB,
    Amount,
    Secret,
    format_bytes,
    format_duration,
    format_rate,
    parse_amount,
    parse_bytes,
    parse_duration,
    parse_share,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("900MiB", 900 * MIB),
        (" 1.5 G ", 3 * GIB // 2),
        ("64kB", 64_000),
        ("0B", 0),
        ("2TiB", 2 * 1024**4),
        ("1tb", 10**12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    """Binary and decimal units, in any case."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "900", "MiB", "-1MiB", "1e3MiB", "1.MiB", "1MiB2", "\uff11MiB"]
)
def test_what_is_no_size(text: str) -> None:
    """A bare number is refused, with what to write."""
    with pytest.raises(UnitError, match="write a number and a unit, such as 900MiB"):
        parse_bytes(text)


def test_an_unknown_unit_of_size_is_named() -> None:
    """With the right ones."""
    with pytest.raises(UnitError, match="'XiB' in '5XiB' is not a unit of size: use KiB, MiB"):
        parse_bytes("5XiB")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20m", 1200.0),
        ("2h30m", 9000.0),
        ("2h 30m", 9000.0),
        ("1.5s", 1.5),
        ("850ms", 0.85),
        ("1w2d", 777_600.0),
        ("0s", 0.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """One unit or several."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "20", "m", "1h 20", "-1s", "1y", "1,5s", "20 minutes"])
def test_what_is_no_duration(text: str) -> None:
    """A bare number is refused, with what to write."""
    with pytest.raises(UnitError, match="is not a duration: write a number and a unit"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "share"), [("80%", 0.8), (" 0 % ", 0.0), ("99.5%", 0.995)])
def test_percentages(text: str, share: float) -> None:
    """As a share between 0 and 1."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["80", "101%", "-1%", "%", "100.01%"])
def test_what_is_no_percentage(text: str) -> None:
    """From 0 to 100."""
    with pytest.raises(UnitError, match="is not a percentage"):
        parse_share(text)


@pytest.mark.parametrize(
    ("text", "limit", "resolved", "printed"),
    [
        ("80%", 1000, 800, "80%"),
        ("80%", None, None, "80%"),
        ("900MiB", None, 900 * MIB, "900 MiB"),
    ],
)
def test_amounts(text: str, limit: int | None, resolved: int | None, printed: str) -> None:
    """A share of a limit that is not known is not known."""
    amount = parse_amount(text)
    assert (amount.resolve(limit), str(amount)) == (resolved, printed)


def test_an_empty_amount_is_not_known() -> None:
    """And is printed as nothing."""
    assert (Amount().resolve(5), str(Amount())) == (None, "0%")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (812 * MIB, "812 MiB"),
        (int(9.996 * MIB), "10.0 MiB"),
        (1023.9 * MIB, "1.00 GiB"),
        (5 * 1024**4, "5.00 TiB"),
        (-3 * MIB, "-3.00 MiB"),
    ],
)
def test_sizes_are_printed_with_three_figures(size: float, text: str) -> None:
    """In binary units."""
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (12 * MIB, "12.0 MiB/s"),
        (21 * MIB / 3600, "21.0 MiB/h"),
        (MIB / 86400, "1.00 MiB/d"),
        (-12 * MIB, "-12.0 MiB/s"),
        (0, "0 B/d"),
        (100 * KIB, "352 MiB/h"),
    ],
)
def test_rates_are_printed_in_the_unit_that_reads_well(rate: float, text: str) -> None:
    """A second, an hour or a day."""
    assert format_rate(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0ms"),
        (0.85, "850ms"),
        (0.9996, "1.0s"),
        (1.0, "1s"),
        (1.5, "1.5s"),
        (59.7, "1m"),
        (9000, "2h 30m"),
        (90_061, "1d 1h"),
        (-5, "-5s"),
    ],
)
def test_durations_are_printed_in_their_two_largest_units(seconds: float, text: str) -> None:
    """What a person reads at a glance."""
    assert format_duration(seconds) == text


def test_a_secret_is_never_printed() -> None:
    """Only `reveal` gives it."""
    secret = Secret("hunter2")
    assert (repr(secret), str(secret), f"{secret}", secret.reveal()) == (
        "Secret(****)",
        "Secret(****)",
        "Secret(****)",
        "hunter2",
    )


def test_secrets_are_compared_by_their_text() -> None:
    """So that a reload can see a change."""
    same = {Secret("a"), Secret("a"), Secret("b")}
    assert (len(same), Secret("a") == "a") == (2, False)
