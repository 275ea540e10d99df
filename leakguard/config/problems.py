"""What pydantic found wrong, said as one line: what it is and how to mend it."""

import difflib
import re
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from leakguard.config.lines import Loc, Origins, dotted

_TYPES = {
    "string_type": "must be text - put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "tuple_type": "must be a list - write [a, b]",
    "list_type": "must be a list - write [a, b]",
    "dict_type": "must be a mapping - write {key: value}",
    "model_type": "must be a mapping - write {key: value}",
    "missing": "is missing - add it",
    "too_short": "must not be empty - add one",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where in the configuration, and what.

    `meant`: the place that a misspelt key stands for, so that nobody also misses it there.
    """

    loc: Loc
    text: str
    meant: Loc = ()

    def follows(self, other: "Problem") -> bool:
        """Tell whether this one may only be there because of the other."""
        if other.meant and self.loc == other.meant:
            return True
        shorter = min(len(self.loc), len(other.loc))
        return self.loc[:shorter] == other.loc[:shorter]


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: Loc = ()
) -> tuple[Problem, ...]:
    """Translate everything that pydantic found in data of `model`, which stands at `prefix`."""
    found = []
    for details in error.errors(include_url=False):
        # pydantic marks a wrong key, as against the value under it, by a last part of its own
        loc = tuple(part for part in details["loc"] if part != "[key]")
        meant = _meant(details, model)
        found.append(
            Problem((*prefix, *loc), _say(details, model), (*prefix, *meant) if meant else ())
        )
    unique = tuple(dict.fromkeys(found))
    return tuple(one for one in unique if not any(one.loc == other.meant for other in unique))


def lines(problems: Iterable[Problem], origins: Origins) -> tuple[str, ...]:
    """Print problems in the order of the files: `config.yaml:7: services.w.mode: … - …`."""
    printed = {f"{origins.place(p.loc)}: {dotted(p.loc)}: {p.text}" for p in problems}
    return tuple(sorted(printed, key=_reading_order))


def nearest(word: str, right: Sequence[str], what: str = "there are") -> str:
    """Say which right name was probably meant, and otherwise list them all."""
    close = difflib.get_close_matches(word, right, n=1)
    return f"did you mean {close[0]!r}?" if close else f"{what}: {', '.join(right) or 'none'}"


def keys_of(model: type[BaseModel]) -> tuple[str, ...]:
    """List the keys that a model takes, as people write them."""
    return tuple(info.alias or name for name, info in model.model_fields.items())


def model_at(model: type[BaseModel], loc: Sequence[str | int]) -> type[BaseModel] | None:
    """Find the model that reads the mapping at `loc`, None for what is no mapping of ours."""
    here: Any = model
    for part in loc:
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {info.alias or name: info for name, info in here.model_fields.items()}
            here = _core(fields[str(part)].annotation) if part in fields else None
        elif get_origin(here) is dict:
            here = _core(get_args(here)[1])
        elif get_origin(here) is tuple and isinstance(part, int):
            here = _core(get_args(here)[0])
        else:
            return None
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _core(annotation: Any) -> Any:  # noqa: ANN401  a type expression
    """Strip `Annotated` and `| None`."""
    if hasattr(annotation, "__metadata__"):
        return _core(get_args(annotation)[0])
    parts = [part for part in get_args(annotation) if part is not type(None)]
    is_union = get_origin(annotation) not in (dict, tuple, list, typing.Literal)
    return _core(parts[0]) if parts and is_union else annotation


def _say(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(str(details["loc"][-1]), model_at(model, details["loc"][:-1]))
    if kind in ("enum", "literal_error"):
        right = re.findall(r"'([^']*)'", str(context["expected"]))
        close = difflib.get_close_matches(str(details["input"]), right, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"write {right[0]}"
        return f"must be one of {', '.join(right)} - {hint}"
    if kind == "value_error":
        return str(context.get("error", details["msg"]))
    if kind == "greater_than_equal":
        return f"must be {context['ge']} or more"
    return _TYPES.get(kind, details["msg"])


def _meant(details: ErrorDetails, model: type[BaseModel]) -> Loc:
    if details["type"] != "extra_forbidden":
        return ()
    *above, key = details["loc"]
    home = model_at(model, above)
    close = difflib.get_close_matches(str(key), keys_of(home) if home else (), n=1)
    return (*above, *close) if close else ()


def _unknown_key(key: str, model: type[BaseModel] | None) -> str:
    right = keys_of(model) if model else ()
    return f"is not known here - {nearest(key, right)}"


def _reading_order(line: str) -> tuple[str, int, str]:
    place = line.partition(": ")[0]
    name, _, number = place.rpartition(":")
    return (name, int(number), line) if number.isdigit() else (place, 0, line)
