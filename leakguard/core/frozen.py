"""`dataclass` of the standard library, whose frozen classes take a third less memory.

The library writes two methods for each of them that refuse a change, and with slots these keep the
class alive that it was made from: 5 kB a class, a MiB in the daemon. Here all share one of each.
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
        made = dataclasses.dataclass(cls, **options)
        if options.get("frozen"):
            made.__setattr__, made.__delattr__ = _no_assignment, _no_deletion
        return made


def _no_assignment(_value: object, name: str, _new: object) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _no_deletion(_value: object, name: str) -> NoReturn:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
