"""Turn core values into JSON-ready plain data and back, by their type hints.

The same code hands the compiled configuration to the daemon, keeps state in the store, writes
recordings and answers the API, so that one spelling of a value exists. Rules: a dataclass is an
object, a union of dataclasses carries its class name under `kind`, an enum is its value, a tuple
is an array. `Secret` is refused unless asked for: it goes only into the hand-over to the daemon.
"""

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from leakguard.core.errors import CodecError
from leakguard.core.units import Secret

T = TypeVar("T")


def to_plain(value: object, *, secrets: bool = False) -> Any:  # noqa: ANN401  JSON is untyped
    """Give `value` as dicts, lists, text, numbers, booleans and None."""
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _object_to_plain(value, secrets=secrets)
    if isinstance(value, Mapping):
        return {str(to_plain(k)): to_plain(v, secrets=secrets) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(item, secrets=secrets) for item in value]
    if isinstance(value, frozenset | set):
        return sorted(to_plain(item, secrets=secrets) for item in value)
    if isinstance(value, Secret):
        return value.reveal() if secrets else repr(value)
    if hasattr(value, "to_plain"):
        return value.to_plain()
    raise CodecError(f"no plain form for {type(value).__name__}")


def from_plain(expected: type[T], data: object) -> T:
    """Read plain `data` as a value of type `expected`; CodecError names what does not fit."""
    return cast("T", _read(expected, data, expected.__name__))


def _object_to_plain(value: Any, *, secrets: bool) -> dict[str, Any]:  # noqa: ANN401  any dataclass
    plain: dict[str, Any] = {}
    tagged = getattr(type(value), "TAGGED", False)
    if tagged:
        plain["kind"] = type(value).__name__
    for name in _fields(type(value)):  # type: ignore[arg-type]  # a class is hashable
        plain[name] = to_plain(getattr(value, name), secrets=secrets)
    return plain


@cache
def _fields(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _read(expected: Any, data: object, where: str) -> object:  # noqa: ANN401  a type expression
    expected = _plain_type(expected)
    origin = get_origin(expected)
    if origin in (Union, types.UnionType):
        return _read_union(get_args(expected), data, where)
    if origin in (tuple, list, frozenset):
        return _read_array(origin, get_args(expected), data, where)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return _read_mapping(get_args(expected), data, where)
    if expected is Any or expected is object:
        return data
    if dataclasses.is_dataclass(expected):
        return _read_object(cast("type", expected), data, where)
    return _read_leaf(expected, data, where)


def _plain_type(expected: Any) -> Any:  # noqa: ANN401  a type expression
    while hasattr(expected, "__supertype__"):  # a NewType is read as what it stands for
        expected = expected.__supertype__
    return expected


def _read_leaf(expected: Any, data: object, where: str) -> object:  # noqa: ANN401  a type expression
    if expected is float and isinstance(data, int) and not isinstance(data, bool):
        return _read_float(data, where)
    if isinstance(expected, type) and issubclass(expected, Enum):
        return _read_enum(expected, data, where)
    if expected is Secret and isinstance(data, str):
        return Secret(data)
    if hasattr(expected, "from_plain"):
        return _read_custom(expected, data, where)
    if not isinstance(expected, type) or type(data) is not expected:
        raise CodecError(f"{where}: expected {expected}, found {type(data).__name__}")
    return data


def _read_float(data: int, where: str) -> float:
    try:
        return float(data)
    except OverflowError as error:
        raise CodecError(f"{where}: {error}") from error


def _read_custom(expected: Any, data: object, where: str) -> object:  # noqa: ANN401  a class with from_plain
    try:
        return expected.from_plain(data)
    except (LookupError, TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"{where}: {error!r}") from error


def _read_enum(expected: type[Enum], data: object, where: str) -> Enum:
    try:
        return expected(data)
    except ValueError as error:
        raise CodecError(f"{where}: {error}") from error


def _read_union(options: tuple[Any, ...], data: object, where: str) -> object:
    if data is None and type(None) in options:
        return None
    kind = data.get("kind") if isinstance(data, dict) else None
    problems = []
    for option in options:
        other = getattr(option, "TAGGED", False) and kind and option.__name__ != kind
        if option is type(None) or other:
            continue
        try:
            return _read(option, data, where)
        except CodecError as error:
            problems.append(str(error))
    raise CodecError(problems[0] if problems else f"{where}: {data!r} fits none of its types")


def _read_array(origin: Any, args: tuple[Any, ...], data: object, where: str) -> object:  # noqa: ANN401  a type expression
    if not isinstance(data, list | tuple):
        raise CodecError(f"{where}: expected an array, found {type(data).__name__}")
    if origin is tuple and len(args) > 1 and args[-1] is not Ellipsis:
        if len(args) != len(data):
            raise CodecError(f"{where}: expected {len(args)} items, found {len(data)}")
        return tuple(
            _read(a, item, f"{where}[{i}]")
            for i, (a, item) in enumerate(zip(args, data, strict=True))
        )
    return origin(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))


def _read_mapping(args: tuple[Any, ...], data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise CodecError(f"{where}: expected an object, found {type(data).__name__}")
    key, item = args
    return {_read(key, k, where): _read(item, v, f"{where}.{k}") for k, v in data.items()}


def _read_object(expected: type, data: object, where: str) -> object:
    if not isinstance(data, dict):
        raise CodecError(f"{where}: expected an object, found {type(data).__name__}")
    fields = _fields(expected)
    unknown = set(data) - set(fields) - {"kind"}
    if unknown:
        raise CodecError(f"{where}: unknown {', '.join(sorted(unknown))}")
    values = {k: _read(fields[k], v, f"{where}.{k}") for k, v in data.items() if k in fields}
    try:
        return expected(**values)
    except TypeError as error:
        raise CodecError(f"{where}: {error}") from error
