"""Merged data become settings, and every problem is found at once.

Pydantic stops at the first level of what is wrong: a check across settings needs settings that
are right. So what is wrong is taken out and the rest is read again, only to find more problems.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from leakguard.config.lines import EnvText, Layer, Loc, read_flow
from leakguard.config.problems import Problem, problems_of
from leakguard.config.schema import Settings
from leakguard.config.sources import LayerSource, Recorder

_MOST_ROUNDS = 8


@dataclass(slots=True, kw_only=True)
class Validated:
    """The merged data, the settings (of what was right in it), and what was wrong."""

    data: dict[str, Any] = field(default_factory=dict)
    settings: Settings | None = None
    problems: list[Problem] = field(default_factory=list)


def validate(layers: Sequence[Layer]) -> Validated:
    """Merge the layers, the last one strongest, and read them as settings."""
    result = Validated()
    try:
        result.settings = _settings_from(layers, result)()
    except ValidationError as error:
        result.problems += _found(error, result.data)
        _read_the_rest(result)
    return result


def _settings_from(layers: Sequence[Layer], result: Validated) -> type[Settings]:
    def keep(data: dict[str, Any]) -> None:
        result.data = data

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            *_others: Any,
            **_more: Any,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            strongest_first = [LayerSource(settings_cls, layer) for layer in reversed(layers)]
            return (*strongest_first, Recorder(settings_cls, keep))

    return Layered


def _read_the_rest(result: Validated) -> None:
    rest = deepcopy(result.data)
    new = result.problems
    for _ in range(_MOST_ROUNDS):
        for problem in new:
            remove(rest, problem.loc)
        try:
            result.settings = Settings(**rest)
        except ValidationError as error:
            new = _found(error, result.data)
            fresh = [p for p in new if not any(p.follows(known) for known in result.problems)]
            result.problems += fresh
        else:
            return


def _found(error: ValidationError, data: dict[str, Any]) -> list[Problem]:
    found = problems_of(error, Settings)
    return [
        Problem(as_written(data, one.loc), one.text, as_written(data, one.meant)) for one in found
    ]


def as_written(data: object, loc: Loc) -> Loc:
    """Drop the list positions that exist only because one value may stand for a list of one."""
    written: list[str | int] = []
    for part in loc:
        if isinstance(data, EnvText):
            data = unfolded(data)
        if isinstance(part, int) and not isinstance(data, list):
            continue
        written.append(part)
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            data = None
    return tuple(written)


def unfolded(text: EnvText) -> object:
    """Give what a variable's text holds when it is a mapping or list, else the text."""
    try:
        return read_flow(text)
    except ValueError:
        return text


def _is_inside(container: object, part: str | int) -> bool:
    if isinstance(container, list):
        return isinstance(part, int) and part < len(container)
    return isinstance(container, dict) and part in container


def remove(data: dict[str, Any], loc: Loc) -> None:
    """Take out what is wrong, or what lacks something that must be there."""
    here: Any = data
    above: list[tuple[Any, str | int]] = []
    for part in loc:
        inside = isinstance(here, dict) and part in here
        if not inside and not (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        ):
            break
        above.append((here, part))
        here = here[part]
    if not above:
        return
    container, key = above[-1]
    if isinstance(container, dict):
        del container[key]
    elif len(above) > 1:  # one item of a list: the positions of the others must not move
        outer, name = above[-2]
        if isinstance(outer, dict):
            outer.pop(name, None)
