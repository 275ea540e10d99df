"""A plug-in's plain `Options` are validated by one table, nested ones included."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pytest
from pydantic import ValidationError

from leakguard.config.lines import EnvText
from leakguard.config.problems import problems_of
from leakguard.config.values import options_model, plain, read_url, secrets_of
from leakguard.core.codec import from_plain
from leakguard.core.units import MIB, Amount, Bytes, Seconds, Secret
from leakguard.plugins import doc

# ruff: noqa: E501  the cases are a table


class Colour(StrEnum):
    """A closed set."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A nested option."""

    name: str
    wait: Seconds = field(default=Seconds(1.0), metadata=doc("how long"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Every type that an option may have."""

    first: str = field(metadata=doc("the first"))
    size: Bytes = field(default=Bytes(MIB))
    share: Amount | None = None
    token: Secret | None = None
    colour: Colour = Colour.RED
    steps: tuple[Step, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, Secret] = field(default_factory=dict)
    count: int = 1
    ratio: float | None = None
    on: bool = False
    url: str = ""
    step: Step | None = None


def read(written: object) -> Options:
    """Validate and read back as the daemon does."""
    return from_plain(Options, plain(options_model(Options).model_validate(written)))


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("a", Options(first="a")),
        ({"first": "a", "size": "2MiB"}, Options(first="a", size=Bytes(2 * MIB))),
        ({"first": "a", "share": "50%"}, Options(first="a", share=Amount(share=0.5))),
        ({"first": "a", "token": "x"}, Options(first="a", token=Secret("x"))),
        ({"first": "a", "colour": "blue"}, Options(first="a", colour=Colour.BLUE)),
        (
            {"first": "a", "steps": ["x", {"name": "y", "wait": "2s"}]},
            Options(first="a", steps=(Step(name="x"), Step(name="y", wait=Seconds(2.0)))),
        ),
        ({"first": "a", "env": {"A": "b"}}, Options(first="a", env={"A": "b"})),
        ({"first": "a", "headers": {"A": "b"}}, Options(first="a", headers={"A": Secret("b")})),
        ({"first": "a", "ratio": 2}, Options(first="a", ratio=2.0)),
        ({"first": "a", "step": "x"}, Options(first="a", step=Step(name="x"))),
        (
            {
                "first": EnvText("[a]"),
                "count": EnvText("3"),
                "on": EnvText("true"),
                "steps": EnvText("[x]"),
                "env": EnvText("{A: b}"),
                "colour": EnvText("blue"),
                "ratio": EnvText("0.5"),
            },
            Options(
                first="[a]",
                count=3,
                on=True,
                steps=(Step(name="x"),),
                env={"A": "b"},
                colour=Colour.BLUE,
                ratio=0.5,
            ),
        ),
        (EnvText("{first: a, count: 2}"), Options(first="a", count=2)),
    ],
)
def test_options_are_read_back_as_they_were_written(written: object, expected: Options) -> None:
    """From YAML or a variable, long or short, to the plug-in's own dataclass."""
    assert read(written) == expected


@pytest.mark.parametrize(
    ("written", "place", "text"),
    [
        ({}, ("first",), "is missing - add it"),
        ({"first": "a", "colur": "x"}, ("colur",), "is not known here - did you mean 'colour'?"),
        ({"first": 3}, ("first",), "must be text - put it in quotes"),
        ({"first": "a", "size": 5}, ("size",), "a bare number has no unit - write 5MiB or 5KiB"),
        ({"first": "a", "size": True}, ("size",), "must be a size such as 900MiB"),
        ({"first": "a", "size": "80%"}, ("size",), "'80%' is not a size: write a number and a unit, such as 900MiB"),
        ({"first": "a", "steps": [{"name": "x", "wait": 3}]}, ("steps", 0, "wait"), "a bare number has no unit - write 3s, 3m or 3h"),
        ({"first": "a", "steps": [{"nam": "x"}]}, ("steps", 0, "nam"), "is not known here - did you mean 'name'?"),
        ({"first": "a", "steps": "x"}, ("steps",), "must be a list - write [a, b]"),
        ({"first": "a", "colour": "blu"}, ("colour",), "must be one of red, blue - did you mean 'blue'?"),
        ({"first": "a", "on": "perhaps"}, ("on",), "must be true or false"),
        ({"first": "a", "count": 1.5}, ("count",), "must be a whole number"),
        ({"first": "a", "token": ""}, ("token",), "is empty - write the secret, or leave the key out"),
        ({"first": "a", "url": "htp://x"}, ("url",), "htp:// is not a scheme that works here - did you mean http://?"),
        ({"first": "a", "env": "x"}, ("env",), "must be a mapping - write {key: value}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_placed_and_explained(
    written: object, place: tuple[Any, ...], text: str
) -> None:
    """The same words as for our own settings, at the option's own place."""
    with pytest.raises(ValidationError) as caught:
        options_model(Options).model_validate(written)
    found = problems_of(caught.value, options_model(Options))
    assert [(one.loc, one.text) for one in found] == [(place, text)]


def test_an_option_that_is_a_secret_gets_a_file_beside_it() -> None:
    """`token_file` is taken for `token`; a mapping of secrets has no such twin."""
    fields = set(options_model(Options).model_fields)
    assert "token_file" in fields
    assert "headers_file" not in fields
    assert secrets_of(Options) == (("token", False),)


def test_what_was_not_written_is_not_handed_on() -> None:
    """The defaults stay the plug-in's own."""
    assert plain(options_model(Options).model_validate("a")) == {"first": "a"}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a", ""),
        ("https://a:1/b?c", ""),
        ("a.example", "is not a URL - begin with http:// or https://"),
        ("ftp://a", "ftp:// is not a scheme that works here - begin with http:// or https://"),
        (
            "gopher://a",
            "gopher:// is not a scheme that works here - begin with http:// or https://",
        ),
        ("http:///x", "is not a URL - a host must follow the scheme, without spaces"),
        ("http://a b", "is not a URL - a host must follow the scheme, without spaces"),
    ],
)
def test_urls(url: str, problem: str) -> None:
    """Scheme and host are checked, the rest is the receiver's."""
    try:
        assert read_url(url) == url
    except ValueError as error:
        assert str(error) == problem  # noqa: PT017  half of the cases are right
