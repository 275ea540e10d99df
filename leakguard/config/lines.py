"""YAML read with the place of every key, so that each problem can name file and line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from leakguard.core.errors import ConfigError, UnitError

Loc = tuple[str | int, ...]
"""The way to a value: keys and list positions from the top."""

_MOST_NODES = 50_000
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str")}
_TEXT_TAGS = {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:value"}


class EnvText(str):
    """Text of an environment variable or a secret file: its type is what its setting wants."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """What one source says: plain data, the place of each key, and which keys hold mappings."""

    name: str
    data: dict[str, Any] = field(repr=False)
    places: dict[Loc, str] = field(default_factory=dict)
    mappings: set[Loc] = field(default_factory=set)


class Origins:
    """Finds the place of a value that several sources may have set; later layers win."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        """Take the layers from the weakest to the strongest."""
        self._layers = tuple(reversed(layers))

    def place(self, loc: Loc) -> str:
        """Give `config.yaml:7` (or a variable's name) of `loc`, or of what is nearest above it."""
        best, depth = self._layers[-1].name if self._layers else "", -1
        for layer in self._layers:
            known = _longest(layer, loc)
            if known is None:
                continue
            if len(known) >= depth:  # of a mapping in several layers, the first that was written
                best, depth = layer.places[known], len(known)
            if known not in layer.mappings:
                break  # a plain value or list here hides what weaker layers hold below it
        return best

    def all(self) -> dict[str, str]:
        """Give the place of every setting, by its dotted key."""
        locs = {loc for layer in self._layers for loc in layer.places if loc}
        return {dotted(loc): self.place(loc) for loc in sorted(locs, key=dotted)}


def _longest(layer: Layer, loc: Loc) -> Loc | None:
    """Give the longest beginning of `loc` whose place the layer knows."""
    for end in range(len(loc), -1, -1):
        if loc[:end] in layer.places:
            return loc[:end]
    return None


def dotted(loc: Loc) -> str:
    """Print a way as `services.worker.restart.schedule[1].cron`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def read_yaml(text: str, name: str) -> Layer:
    """Read one YAML document; ConfigError names the line of what cannot be read."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader(name)
        data = {} if root is None else reader.build(root, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = f"{error.context or ''} {error.problem or ''}".strip()
        raise ConfigError(f"{name}{line}: not YAML: {problem} - correct this line") from error
    except yaml.YAMLError as error:
        what = str(error).splitlines()[0]
        raise ConfigError(f"{name}: not YAML: {what} - save it as UTF-8 text") from error
    except RecursionError:
        raise ConfigError(f"{name}: it nests too deeply, or contains itself - unfold it") from None
    if reader.problems:
        raise ConfigError(*reader.problems)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name}:1: this must be a mapping - begin with `services:`")
    return Layer(name=name, data=data, places=reader.places, mappings=reader.mappings)


def read_flow(text: str) -> object:
    """Read a structured value of an environment variable, written as JSON or YAML."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        reader = _Reader("")
        data = None if root is None else reader.build(root, ())
    except (yaml.YAMLError, RecursionError) as error:
        raise UnitError("this is not YAML - write it as {key: value} or [a, b]") from error
    if reader.problems:
        raise UnitError(reader.problems[0].partition(": ")[2])
    return data


def below(data: object, *keys: str) -> Any:  # noqa: ANN401  unread data
    """Give what unread data hold at `keys`, None when they hold nothing there."""
    for key in keys:
        data = mapping(data).get(key)
    return data


def mapping(data: object) -> dict[str, Any]:
    """Give unread data as a mapping, unfolding a variable's text; empty when they are none."""
    if isinstance(data, EnvText):
        try:
            data = read_flow(data)
        except UnitError:
            return {}
    return data if isinstance(data, dict) else {}


class _Reader:
    """Turns YAML nodes into plain data and notes where each key stands."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._scalars = yaml.constructor.SafeConstructor()
        self._merged: set[int] = set()
        self._nodes = 0
        self.problems: list[str] = []
        self.places: dict[Loc, str] = {}
        self.mappings: set[Loc] = set()

    def build(self, node: yaml.Node, loc: Loc) -> Any:  # noqa: ANN401  YAML is untyped
        """Give the data of one node and everything below it."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise RecursionError
        self.places.setdefault(loc, self._place(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*loc, i)) for i, item in enumerate(node.value)]
        return self._scalar(node, loc)

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        self.mappings.add(loc)
        if id(node) not in self._merged:
            self._merged.add(id(node))
            self._refuse_duplicates(node, loc)
            self._scalars.flatten_mapping(node)
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(key_node, loc, "a key must be plain text - write one word")
                continue
            key = str(key_node.value)
            self.places[(*loc, key)] = self._place(key_node)
            data[key] = self.build(value_node, (*loc, key))
        return data

    def _refuse_duplicates(self, node: yaml.MappingNode, loc: Loc) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                continue
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in first:
                text = f"is written twice (first in line {first[key]}) - keep one of them"
                self._problem(key_node, (*loc, key), text)
            first.setdefault(key, line)

    def _scalar(self, node: yaml.Node, loc: Loc) -> object:
        if node.tag in _TEXT_TAGS:
            return str(node.value)
        if node.tag not in _PLAIN_TAGS:
            self._problem(node, loc, f"the tag {node.tag} is not understood - remove it")
            return None
        if node.tag.endswith(":int") and ":" in node.value:
            return str(node.value)  # YAML 1.1 reads 1:30 as the number 90
        try:
            return self._scalars.construct_object(node)
        except (ValueError, OverflowError):
            return str(node.value)

    def _place(self, node: yaml.Node) -> str:
        return f"{self._name}:{node.start_mark.line + 1}"

    def _problem(self, node: yaml.Node, loc: Loc, text: str) -> None:
        key = f"{dotted(loc)}: " if loc else ""
        self.problems.append(f"{self._place(node)}: {key}{text}")
