"""`dataclass` of the standard library, whose classes take up to half less memory.

The library writes each class what is the same for all: a `repr`, and for frozen ones two methods
that refuse a change, which with slots keep the class alive that it was made from. Here all share
one of each: 7 kB less a class, a MiB and a half in the daemon.
"""

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass  # noqa: PLC0414  it is what others import
else:

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:  # noqa: ANN401  as there
        """Make a class of values, as `dataclasses.dataclass` does."""
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        shown = options.get("repr", True) and "__repr__" not in vars(cls)
        made = dataclasses.dataclass(cls, **{**options, "repr": False})
        if shown:
            made.__repr__ = _shown
        if options.get("slots") and not options.get("weakref_slot") and "__weakref__" in vars(made):
            del made.__weakref__  # up to Python 3.11.2 it is that of the class from before slots
        if options.get("frozen"):
            made.__setattr__, made.__delattr__ = _no_assignment, _no_deletion
        return made


def _shown(value: Any) -> str:  # noqa: ANN401  any dataclass
    known = (field.name for field in dataclasses.fields(value) if field.repr)
    fields = ", ".join(f"{name}={getattr(value, name)!r}" for name in known)
    return f"{type(value).__qualname__}({fields})"


def _no_assignment(_value: object, name: str, _new: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_deletion(_value: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
