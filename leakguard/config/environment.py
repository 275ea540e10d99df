"""Settings from variables (`LEAKGUARD_HTTP__LISTEN`) and from files named in the same way."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakguard.config.lines import EnvText, Layer, Loc, read_flow

PREFIX = "LEAKGUARD_"
KNOWN = (
    "LEAKGUARD_CHILD",
    "LEAKGUARD_CONFIG",
    "LEAKGUARD_PID",
    "LEAKGUARD_REASON",
    "LEAKGUARD_SERVICE",
)
"""Variables of ours that are no settings; the last three are what the driver `command` sets.

`LEAKGUARD_SOCKET` is the setting `socket`.
"""
MOST_BYTES = 1 << 20
"""No configuration or secret is larger; what is was named by mistake."""

# Kubernetes gives every container the addresses of a service named `leakguard`.
_KUBERNETES = re.compile(r"LEAKGUARD_(SERVICE_(?!_)|PORT(_|$))")
_LOOSE = re.compile(r"[-.@]")


@dataclass(slots=True)
class Names:
    """Which names begin a setting: `sections` hold more below them, `plain` do not."""

    sections: tuple[str, ...]
    plain: tuple[str, ...]
    second: tuple[str, ...] = ()
    """`http__listen` and the like, for did-you-mean."""

    def is_setting(self, name: str) -> bool:
        """Tell whether a name in small letters begins with a section, or is a plain setting."""
        head, _, rest = name.partition("__")
        return head in self.sections or (head in self.plain and not rest)


@dataclass(slots=True)
class Gathered:
    """What variables or secret files gave."""

    layer: Layer
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def from_variables(environ: Mapping[str, str], names: Names, below: dict[str, Any]) -> Gathered:
    """Read the variables; `below` is what weaker sources say, for names that shells cannot write.

    An empty variable counts as not set.
    """
    gathered = Gathered(Layer(name="the environment", data={}))
    entries = []
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable in KNOWN or not environ[variable]:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if names.is_setting(name):
            entries.append((name, environ[variable], f"${variable}"))
        elif not _KUBERNETES.match(variable):
            gathered.warnings.append(_unknown(variable, names))
    _fill(gathered, entries, below)
    return gathered


def from_secret_files(directories: Sequence[str], names: Names, below: dict[str, Any]) -> Gathered:
    """Read files such as `/run/secrets/alerts__channels__ops__slack__webhook_url`."""
    gathered = Gathered(Layer(name="secret files", data={}))
    entries = []
    for directory in directories:
        for path in _files(directory):
            name = path.name.lower().removeprefix(PREFIX.lower())
            if "__" not in name or not names.is_setting(name):
                continue
            try:
                entries.append((name, read_secret_file(str(path)), str(path)))
            except ValueError as error:
                gathered.problems.append(f"{path}: {error}")
    _fill(gathered, entries, below)
    return gathered


def read_secret_file(path: str) -> str:
    """Read a secret; ValueError says why it cannot be read. One trailing newline is dropped."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123  the path may be one of /dev/fd
            data = file.read(MOST_BYTES + 1)
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not text - store the secret as UTF-8") from None
    except OSError as error:
        fix = (
            "correct the path"
            if isinstance(error, FileNotFoundError)
            else "allow this user to read it"
        )
        raise ValueError(f"cannot read {path}: {error.strerror} - {fix}") from None
    except ValueError:
        raise ValueError("is not a path - correct it") from None
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path} is larger than 1 MiB - this is not a secret")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError(f"{path} is empty - write the secret into it")
    return text


def _files(directory: str) -> list[Path]:
    try:
        return sorted(path for path in Path(directory).iterdir() if path.is_file())
    except OSError:
        return []


def _unknown(variable: str, names: Names) -> str:
    right = [name.upper() for name in (*names.sections, *names.plain, *names.second)]
    name = variable.removeprefix(PREFIX)
    head, sep, rest = name.partition("__")
    close = difflib.get_close_matches(name, right, n=1, cutoff=0.75)
    if sep and (near := difflib.get_close_matches(head, right, n=1, cutoff=0.75)):
        close = [f"{near[0]}{sep}{rest}"]
    hint = f"did you mean {PREFIX}{close[0]}?" if close else "unset it, or correct its name"
    return f"${variable}: no setting begins like this, it is ignored - {hint}"


def _fill(gathered: Gathered, entries: list[tuple[str, str, str]], below: dict[str, Any]) -> None:
    # Short names first, so that LEAKGUARD_HTTP__LISTEN refines LEAKGUARD_HTTP.
    for name, text, place in sorted(entries, key=lambda entry: entry[0].count("__")):
        parts = name.split("__")
        if "" in parts:
            gathered.problems.append(f"{place}: an empty name between __ - write one name each")
            continue
        try:
            _put(gathered.layer, parts, EnvText(text), place, below)
        except ValueError as error:
            gathered.problems.append(f"{place}: {error}")


def _put(layer: Layer, parts: list[str], text: EnvText, place: str, below: Any) -> None:  # noqa: ANN401  unread data
    here: dict[str, Any] = layer.data
    loc: Loc = ()
    layer.places.setdefault((), place)
    layer.mappings.add(())
    for part in parts[:-1]:
        key, below = _match(part, here, below)
        loc = (*loc, key)
        layer.places.setdefault(loc, place)
        layer.mappings.add(loc)
        inner = here.get(key, {})
        if isinstance(inner, EnvText):
            inner = read_flow(inner)
        if not isinstance(inner, dict):
            raise ValueError("another variable sets what is above it to a plain value - unset one")  # noqa: TRY004  all are ValueError here
        here[key] = inner
        here = inner
    key, _ = _match(parts[-1], here, below)
    here[key] = text
    layer.places[(*loc, key)] = place


def _match(part: str, here: dict[str, Any], below: Any) -> tuple[str, Any]:  # noqa: ANN401  unread data
    """Find the name that a variable means: shells write neither capitals nor `-`, `.` and `@`."""
    known = {*here, *(below if isinstance(below, dict) else ())}
    means = [name for name in sorted(known) if _LOOSE.sub("_", name.lower()) == part]
    if part in known:
        means = [part]
    if len(means) > 1:
        raise ValueError(f"{part!r} may mean {' or '.join(means)} - rename one of them")
    name = means[0] if means else part
    return name, below.get(name) if isinstance(below, dict) else None


def state_file(environ: Mapping[str, str], *, is_root: bool) -> str:
    """Give the usual place of the state file: systemd's, the machine's or the user's."""
    if folder := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return f"{folder}/state.db"
    home = environ.get("HOME", "")
    if is_root or not home:
        return "/var/lib/leakguard/state.db"
    folder = environ.get("XDG_STATE_HOME") or f"{home}/.local/state"
    return f"{folder}/leakguard/state.db"


def local_timezone(environ: Mapping[str, str], localtime: str = "/etc/localtime") -> str:
    """Give the machine's time zone by name, UTC where it has none."""
    named = environ.get("TZ", "").lstrip(":")
    try:
        target = named or os.path.realpath(localtime).partition("zoneinfo/")[2]
    except OSError:
        return "UTC"
    return target.removeprefix("posix/").removeprefix("right/") or "UTC"
