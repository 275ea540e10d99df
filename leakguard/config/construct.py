"""What a plug-in's `Options` refuse of values whose types are right, each part asked by itself."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from leakguard.config.lines import Loc
from leakguard.config.problems import Problem
from leakguard.core.codec import from_plain
from leakguard.core.errors import LeakguardError


def refused(options: type, values: Mapping[str, Any], loc: Loc) -> tuple[Problem, ...]:
    """Give everything that `options` and the dataclasses inside refuse, none when they are made."""
    return refused_inside(options, values, loc) or tuple(_refused_whole(options, values, loc))


def refused_inside(options: type, values: Mapping[str, Any], loc: Loc) -> tuple[Problem, ...]:
    """Give what the dataclasses inside `options` refuse."""
    hints = get_type_hints(options)
    return tuple(
        problem
        for name, value in values.items()
        if name in hints
        for problem in _inside(hints[name], value, (*loc, name))
    )


def _inside(kind: Any, value: object, loc: Loc) -> Iterator[Problem]:  # noqa: ANN401  a type expression
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if isinstance(value, Mapping):
            yield from refused(kind, value, loc)
    elif get_origin(kind) in (tuple, list):
        for i, item in enumerate(value if isinstance(value, list) else ()):
            yield from _inside(get_args(kind)[0], item, (*loc, i))
    elif isinstance(value, Mapping) and len(get_args(kind)) == 2:
        for key, item in value.items():
            yield from _inside(get_args(kind)[1], item, (*loc, key))


def _refused_whole(options: type, values: Mapping[str, Any], loc: Loc) -> Iterator[Problem]:
    try:
        from_plain(options, values)
    except (LeakguardError, ValueError) as error:
        yield Problem(loc, str(error))
