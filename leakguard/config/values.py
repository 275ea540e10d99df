"""One table from the plain value types of the core to what a person may write for them."""

import dataclasses
import difflib
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin, get_type_hints

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    create_model,
    model_validator,
)

from leakguard.config.lines import EnvText, read_flow
from leakguard.core.units import (
    MIB,
    Amount,
    Bytes,
    Seconds,
    Secret,
    parse_amount,
    parse_bytes,
    parse_duration,
)

SCHEMES = ("http", "https")
"""What a URL may begin with, unless a field's metadata say otherwise by `schemes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """How a value of the core is written: its reader, its JSON schema and how it is printed."""

    read: Callable[[object], object]
    schema: dict[str, Any]
    word: str


def _text_of(value: object, units: tuple[str, ...], kind: str) -> str:
    """Give the text of a value; a bare number is refused with what may have been meant."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"must be {kind}")  # noqa: TRY004  pydantic reports ValueError only
    if not isinstance(value, int | float):
        return value
    if not 0 < value < float("inf"):
        raise ValueError(f"must be {kind}")
    shown = [f"{value}{unit}" for unit in units]
    meant = " or ".join((", ".join(shown[:-1]), shown[-1]) if shown[1:] else shown)
    raise ValueError(f"a bare number has no unit - write {meant}")


def _size_units(value: object) -> tuple[str, ...]:
    """Guess the unit of a bare number: megabytes, unless it is so large that it is bytes."""
    return ("B",) if isinstance(value, int) and value >= MIB else ("MiB", "KiB")


def _amount_units(value: object) -> tuple[str, ...]:
    if isinstance(value, int | float) and 0 < value <= 100:
        return ("MiB", "%")
    return _size_units(value)


def read_bytes(value: object) -> Bytes:
    """Read `900MiB`."""
    return parse_bytes(_text_of(value, _size_units(value), "a size such as 900MiB"))


def read_seconds(value: object) -> Seconds:
    """Read `20m`."""
    return parse_duration(_text_of(value, ("s", "m", "h"), "a duration such as 20m"))


def read_amount(value: object) -> Amount:
    """Read `900MiB` or `80%`."""
    kind = "a size such as 900MiB, or a share of the limit such as 80%"
    return parse_amount(_text_of(value, _amount_units(value), kind))


def read_secret(value: object) -> Secret:
    """Read a secret; nothing of it is ever repeated in a message."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("must be text - put it in quotes")  # noqa: TRY004  pydantic reports ValueError only
    if not value:
        raise ValueError("is empty - write the secret, or leave the key out")
    return Secret(str(value))


_SIZE_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*([KMGT]i?[Bb]?|[kmgt]i?[Bb]?|[Bb])\s*$"
_DURATION_PATTERN = r"^\s*([0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d|w)\s*)+$"
_SHARE_PATTERN = r"^\s*[0-9]{1,3}(\.[0-9]+)?\s*%\s*$"

TABLE: dict[Any, Written] = {
    Bytes: Written(
        read=read_bytes, schema={"type": "string", "pattern": _SIZE_PATTERN}, word="size"
    ),
    Seconds: Written(
        read=read_seconds, schema={"type": "string", "pattern": _DURATION_PATTERN}, word="duration"
    ),
    Amount: Written(
        read=read_amount,
        schema={"type": "string", "pattern": f"{_SIZE_PATTERN}|{_SHARE_PATTERN}"},
        word="size or %",
    ),
    Secret: Written(read=read_secret, schema={"type": "string", "minLength": 1}, word="secret"),
}
"""Each value type of the core, once: for our own settings and for the options of plug-ins."""


def written(kind: Any) -> Any:  # noqa: ANN401  a type expression
    """Give the pydantic type that reads a value of the table."""
    row = TABLE[kind]
    return Annotated[kind, PlainValidator(row.read), WithJsonSchema(row.schema)]


def read_url(value: str, schemes: tuple[str, ...] = SCHEMES) -> str:
    """Check a URL's scheme and host; the URL itself may be secret and is never repeated."""
    scheme, colon, rest = value.strip().partition("://")
    right = " or ".join(f"{s}://" for s in schemes)
    if not colon:
        raise ValueError(f"is not a URL - begin with {right}")
    if scheme not in schemes:
        close = difflib.get_close_matches(scheme.lower(), schemes, n=1)
        raise ValueError(
            f"{scheme[:20]}:// is not a scheme that works here - "
            + (f"did you mean {close[0]}://?" if close else f"begin with {right}")
        )
    if not rest.partition("/")[0] or any(c.isspace() for c in value.strip()):
        raise ValueError("is not a URL - a host must follow the scheme, without spaces")
    return value.strip()


def structured(value: object) -> object:
    """Unfold a variable's text where a mapping, list, number or switch is wanted."""
    return read_flow(value) if isinstance(value, EnvText) else value


def _mark_short(schema: dict[str, Any], model: type[Any]) -> None:
    if model.SHORT:
        schema["x-short"] = model.SHORT


_MODELS: dict[type, type["Model"]] = {}


class Model(BaseModel):
    """What all settings share: unknown keys are errors, input is never shown in messages."""

    model_config = ConfigDict(
        extra="forbid",
        hide_input_in_errors=True,
        frozen=True,
        arbitrary_types_allowed=True,
        json_schema_extra=_mark_short,
    )

    SHORT: ClassVar[str] = ""
    """The key that a plain value instead of a mapping sets."""

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, value: object) -> object:
        if isinstance(value, EnvText):
            value = _unfold_text(value, short=bool(cls.SHORT))
        if value is None:
            return {}
        if isinstance(value, dict) or not cls.SHORT:
            return value
        return {cls.SHORT: value}


def _unfold_text(text: EnvText, *, short: bool) -> object:
    if short and not text.lstrip().startswith("{"):
        return text
    try:
        data = read_flow(text)
    except ValueError:
        if short:
            return text
        raise
    return data if isinstance(data, dict) or not short else text


def options_model(options: type) -> type[Model]:
    """Give the pydantic model of a plug-in's `Options`: a plain dataclass, nested ones included."""
    if options not in _MODELS:
        _MODELS[options] = _make_model(options)
    return _MODELS[options]


def _make_model(options: type) -> type[Model]:
    fields: dict[str, Any] = {}
    hints = get_type_hints(options)
    for spec in dataclasses.fields(options):
        kind = hints[spec.name]
        required = _required(spec)
        annotation = _field_type(spec, kind)
        if secret_in(kind):
            twin = f"{spec.name}_file"
            if twin not in hints:
                text = f"A file that holds `{spec.name}`, read at start."
                fields[twin] = (str | None, Field(default=None, description=text))
            # The secret may come from its file, so compile.py is the one who misses it.
            annotation, required = annotation | None, False
        info = _info(spec, required=required)
        fields[spec.name] = (annotation, info)
    first = next(iter(hints), "")
    base = type("_Options", (Model,), {"SHORT": first, "__module__": options.__module__})
    name = "_".join([*options.__module__.split(".")[-2:], options.__name__])
    return create_model(name, __base__=base, __module__=options.__module__, **fields)


def secrets_of(options: type) -> tuple[tuple[str, bool], ...]:
    """Give the secret fields of an `Options` dataclass, and whether each must be there."""
    hints = get_type_hints(options)
    return tuple(
        (spec.name, _required(spec))
        for spec in dataclasses.fields(options)
        if secret_in(hints[spec.name])
    )


def secret_in(kind: Any) -> bool:  # noqa: ANN401  a type expression
    """Tell whether a field is one secret (and so may come from a file)."""
    return kind is Secret or (_is_union(kind) and Secret in get_args(kind))


def type_of(kind: Any) -> Any:  # noqa: ANN401  a type expression
    """Give the pydantic type for a type expression of an `Options` dataclass."""
    if kind in TABLE:
        return written(kind)
    if _is_union(kind):
        return Union[tuple(type_of(part) for part in get_args(kind))]  # noqa: UP007  made at run time
    origin = get_origin(kind)
    if origin in (tuple, list):
        item: Any = type_of(get_args(kind)[0])
        return Annotated[tuple[item, ...], BeforeValidator(structured)]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        value: Any = type_of(get_args(kind)[1])
        return Annotated[dict[str, value], BeforeValidator(structured)]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return options_model(kind)
    if kind in (int, float, bool):
        return Annotated[kind, BeforeValidator(structured)]
    return kind


def plain(value: object) -> Any:  # noqa: ANN401  what from_plain reads
    """Give validated options as the plain data that `core.codec.from_plain` reads.

    Only what was written is in it: the defaults are the dataclass's own. A Secret stays one.
    """
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in value.model_fields_set}
    if isinstance(value, Amount):
        return {"size_bytes": value.size_bytes, "share": value.share}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, EnvText) else value


def _field_type(spec: dataclasses.Field[Any], kind: Any) -> Any:  # noqa: ANN401  a type expression
    annotation = type_of(kind)
    if spec.name != "url" and not spec.name.endswith("_url"):
        return annotation
    schemes = tuple(spec.metadata.get("schemes", SCHEMES))
    return Annotated[annotation, BeforeValidator(lambda value: _check_url(value, schemes))]


def _check_url(value: object, schemes: tuple[str, ...]) -> object:
    if isinstance(value, str) and value:
        return read_url(value, schemes)
    return value


def _info(spec: dataclasses.Field[Any], *, required: bool) -> Any:  # noqa: ANN401  as pydantic's Field
    text = str(spec.metadata.get("doc", ""))
    if required:
        return Field(description=text)
    if spec.default_factory is not dataclasses.MISSING:
        return Field(default_factory=spec.default_factory, description=text)
    default = None if spec.default is dataclasses.MISSING else spec.default
    return Field(default=default, description=text)


def _required(spec: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return spec.default is missing and spec.default_factory is missing


def _is_union(kind: Any) -> bool:  # noqa: ANN401  a type expression
    return get_origin(kind) in (Union, types.UnionType)
