"""Plug-ins, found by file name: `drivers/signal.py` is the driver that a file calls `signal`.

A plug-in module holds one class that ends in its kind's word (`SignalDriver`) and, when it has
options, a frozen dataclass `Options` whose fields are documented by `metadata=doc("…")`. In a
configuration a plain value instead of a mapping sets the first field. Modules are imported only
when they are asked for. Outside packages bring plug-ins by the entry-point groups
`leakguard.drivers`, `leakguard.targets`, `leakguard.notifiers` and `leakguard.detectors`.
"""

import dataclasses
import importlib
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from leakguard.core.codec import from_plain
from leakguard.core.errors import PluginError
from leakguard.core.frozen import dataclass

KINDS = {
    "drivers": "Driver",
    "targets": "Target",
    "notifiers": "Notifier",
    "detectors": "Detector",
}
"""Folder of each kind, and the word its classes end in."""

EXTRAS = {"jeepney": "systemd", "redis": "redis", "psycopg": "postgres", "apprise": "apprise"}
"""Third-party modules that come with an extra, for the message that names the install line."""


@dataclass(frozen=True, slots=True)
class NoOptions:
    """Options of a plug-in that has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """A loaded plug-in: its class, the type of its options and its one-line summary."""

    kind: str
    key: str
    cls: type[Any]
    options: type[Any]
    summary: str

    def make(self, options: dict[str, Any], context: object) -> Any:  # noqa: ANN401  any kind of plug-in
        """Build an instance from plain options and what the kind's context offers."""
        return self.cls(from_plain(self.options, options), context)


def doc(text: str) -> dict[str, str]:
    """Document one field of an `Options` dataclass: `field(metadata=doc("…"))`."""
    return {"doc": text}


def names(kind: str) -> tuple[str, ...]:
    """Every key of a kind, our own and those of installed packages, sorted."""
    return tuple(sorted(_own(kind) | {point.name for point in _outside(kind)}))


def load(kind: str, key: str) -> Plugin:
    """Import one plug-in; PluginError lists the right names or the missing extra."""
    if key not in names(kind):
        _outside.cache_clear()  # perhaps installed since
    if key not in names(kind):
        raise PluginError(unknown_key(kind, key))
    outside = [point for point in _outside(kind) if point.name == key]
    try:
        module = (
            importlib.import_module(outside[0].module)
            if outside
            else importlib.import_module(f"leakguard.{kind}.{key}")
        )
    except ModuleNotFoundError as error:
        raise PluginError(_missing(kind, key, error)) from error
    return _describe(kind, key, module)


def unknown_key(kind: str, key: str) -> str:
    """Say that there is no such plug-in, and which names are right."""
    import difflib  # the daemon is told right names, and needs not 0.1 MiB for wrong ones

    right = names(kind)
    close = difflib.get_close_matches(key, right, n=1)
    hint = f", did you mean {close[0]!r}?" if close else ""
    return f"no {kind[:-1]} named {key!r}{hint} (there are: {', '.join(right)})"


def _describe(kind: str, key: str, module: ModuleType) -> Plugin:
    suffix = KINDS[kind]
    found = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type) and name.endswith(suffix) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise PluginError(f"{module.__name__} must hold one class that ends in {suffix}")
    options = getattr(module, "Options", NoOptions)
    if not dataclasses.is_dataclass(options):
        raise PluginError(f"{module.__name__}.Options must be a dataclass")
    summary = (module.__doc__ or "").strip().splitlines()
    return Plugin(
        kind=kind, key=key, cls=found[0], options=options, summary=summary[0] if summary else ""
    )


@cache
def _own(kind: str) -> frozenset[str]:
    package = importlib.import_module(f"leakguard.{kind}")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return frozenset(name for name in found if name != "base" and not name.startswith("_"))


@cache  # a look at every installed package: 6 ms
def _outside(kind: str) -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=f"leakguard.{kind}"))


def _missing(kind: str, key: str, error: ModuleNotFoundError) -> str:
    extra = EXTRAS.get((error.name or "").partition(".")[0])
    if extra is None:
        return f"{kind[:-1]} {key!r} cannot be loaded: {error}"
    return f"{kind[:-1]} {key!r} needs an extra: pip install 'leakguard-watchdog[{extra}]'"
