"""Where settings come from: the main file, conf.d beside it, secret files, the environment."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from leakguard.config.environment import (
    MOST_BYTES,
    PREFIX,
    Gathered,
    Names,
    from_secret_files,
    from_variables,
)
from leakguard.config.lines import Layer, read_yaml
from leakguard.core.errors import ConfigError

SYSTEM_FILE = "/etc/leakguard/config.yaml"
SECRETS = "/run/secrets"
SHORTEST = "services: {worker: {target: {cmdline: my-worker}}}"


@dataclass(slots=True, kw_only=True)
class Sources:
    """All layers from the weakest to the strongest, and the files among them."""

    layers: list[Layer] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class LayerSource(PydanticBaseSettingsSource):
    """Hands one layer to pydantic-settings, which merges them all."""

    def __init__(self, settings: type[BaseSettings], layer: Layer) -> None:
        """Take the layer."""
        super().__init__(settings)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Give one setting's value; pydantic-settings asks `__call__` instead."""
        return self._layer.data.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Give everything the layer says."""
        return self._layer.data


class Recorder(PydanticBaseSettingsSource):
    """Stands behind all sources and keeps what they said together; adds nothing."""

    def __init__(
        self, settings: type[BaseSettings], keep: Callable[[dict[str, Any]], None]
    ) -> None:
        """Take the function that gets the merged data."""
        super().__init__(settings)
        self._keep = keep

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Give nothing."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Hand on what stronger sources said, give nothing."""
        self._keep(self.current_state)
        return {}


def gather(
    path: str | None,
    environ: Mapping[str, str],
    cwd: Path,
    names: Names,
    secrets: str = SECRETS,
) -> Sources:
    """Read every source; ConfigError holds all that cannot be read at all."""
    sources = Sources()
    problems: list[str] = []
    main = find(path, environ, cwd)
    for shown in _files(main, cwd):
        try:
            sources.layers.append(_read(shown, cwd))
            sources.files.append(str(cwd / shown))
        except ConfigError as error:
            problems += error.problems
    folders = [secrets, *environ.get("CREDENTIALS_DIRECTORY", "").split(":")]
    for gathered in _beside_files(sources.layers, environ, names, [f for f in folders if f]):
        sources.layers.append(gathered.layer)
        sources.warnings += gathered.warnings
        problems += gathered.problems
    if problems:
        raise ConfigError(*problems)
    if main is None and not any("services" in layer.data for layer in sources.layers):
        raise ConfigError(_nothing_found(environ))
    return sources


def _beside_files(
    layers: Sequence[Layer], environ: Mapping[str, str], names: Names, folders: Sequence[str]
) -> tuple[Gathered, Gathered]:
    below = merged(layers)
    secret = from_secret_files(folders, names, below)
    return secret, from_variables(environ, names, merged([*layers, secret.layer]))


def find(path: str | None, environ: Mapping[str, str], cwd: Path) -> str | None:
    """Give the main file: what was asked for, or the first usual place that holds one."""
    for asked, origin in ((path, "-c"), (environ.get("LEAKGUARD_CONFIG"), "$LEAKGUARD_CONFIG")):
        if not asked:
            continue
        if not _is_there(cwd / asked):
            raise ConfigError(f"{asked}: no such file - correct {origin}, or write the file")
        return asked
    return next((place for place in usual_places(environ) if os.path.isfile(place)), None)  # noqa: PTH113  Path.is_file raises where ProtectHome= hides the home directory


def usual_places(environ: Mapping[str, str]) -> tuple[str, ...]:
    """List where a file is looked for when none is named."""
    home = environ.get("XDG_CONFIG_HOME") or (
        f"{environ['HOME']}/.config" if environ.get("HOME") else ""
    )
    return (*((f"{home}/leakguard/config.yaml",) if home else ()), SYSTEM_FILE)


def _is_there(place: Path) -> bool:
    """Tell whether a file that was named may be there; reading it says why it cannot be read."""
    try:
        return place.exists()
    except OSError:
        return True


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """Merge layers as pydantic-settings does: mappings by key, anything else replaced."""
    result: dict[str, Any] = {}
    for layer in layers:
        result = _over(layer.data, result)
    return result


def _over(strong: dict[str, Any], weak: dict[str, Any]) -> dict[str, Any]:
    result = dict(weak)
    for key, value in strong.items():
        other = weak.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            result[key] = _over(value, other)
        else:
            result[key] = value
    return result


def _files(main: str | None, cwd: Path) -> list[str]:
    if main is None:
        return []
    folder = os.path.join(os.path.dirname(main), "conf.d")  # noqa: PTH118, PTH120  keeps the path as it was written
    try:
        parts = sorted(p.name for p in (cwd / folder).iterdir() if p.suffix in (".yaml", ".yml"))
    except FileNotFoundError:
        parts = []
    except OSError as error:
        if not os.access(cwd / main, os.R_OK):
            return [main]  # reading it says why
        fix = "let leakguard list it, or remove it"
        raise ConfigError(f"{folder}: {error.strerror} - {fix}") from error
    return [main, *(f"{folder}/{name}" for name in parts if not name.startswith("."))]


def _read(shown: str, cwd: Path) -> Layer:
    try:
        with (cwd / shown).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except IsADirectoryError:
        raise ConfigError(f"{shown}: is a directory - {_name_the_file(shown, cwd)}") from None
    except OSError as error:
        raise ConfigError(f"{shown}: {error.strerror} - let leakguard read it") from error
    if len(data) > MOST_BYTES:
        raise ConfigError(f"{shown}: larger than 1 MiB - this is not a configuration file")
    try:
        return read_yaml(data.decode("utf-8-sig"), shown)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown}:{line}: not UTF-8 text - save the file as UTF-8") from error


def _name_the_file(folder: str, cwd: Path) -> str:
    """Say what to do about a directory that stands where a file is wanted."""
    if folder.endswith((".yaml", ".yml")):
        return "write a file of that name, or rename it"
    parts = sorted(p.name for p in (cwd / folder).glob("*.y*ml") if p.is_file())
    name = "config.yaml" if "config.yaml" in parts or not parts else parts[0]
    return f"name the file in it, such as {os.path.join(folder, name)}"  # noqa: PTH118  keeps the path as it was written


def _nothing_found(environ: Mapping[str, str]) -> str:
    places = usual_places(environ)
    hidden = [place for place in places if _is_hidden(place)]
    unseen = f" (uid {os.geteuid()} may not look for {' and '.join(hidden)})" if hidden else ""
    return (
        f"no configuration: there is no {' and no '.join(places)}{unseen} - "
        f"name one with -c, set {PREFIX}SERVICES__NAME__TARGET__…, or begin with a file that has "
        f"this line: {SHORTEST}"
    )


def _is_hidden(place: str) -> bool:
    try:
        os.stat(place)  # noqa: PTH116  the error is the answer
    except PermissionError:
        return True
    except OSError:
        return False
    return False
