"""The configuration described for editors: a JSON schema with the options of every plug-in."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from leakguard import plugins
from leakguard.config.schema import Settings
from leakguard.config.values import options_model
from leakguard.core.errors import PluginError
from leakguard.core.units import format_duration
from leakguard.plugins import Plugin

DIALECT = "https://json-schema.org/draft/2020-12/schema"
REF = "#/$defs/"
_TARGET_KEYS = {"each": {"type": "boolean", "description": "The same as `each` of the service."}}
_PLAIN = {"type": ["string", "number", "boolean", "array"]}


def json_schema() -> dict[str, Any]:
    """Give the JSON schema of a configuration file, with the options of every plug-in."""
    found = {kind: tuple(loadable(kind)) for kind in sorted(plugins.KINDS)}
    models: list[type[BaseModel]] = [Settings]
    models += [options_model(plugin.options) for group in found.values() for plugin in group]
    refs, schema = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)], ref_template=f"{REF}{{model}}"
    )
    definitions = schema["$defs"]
    root = definitions.pop(refs[Settings, "validation"]["$ref"].removeprefix(REF))
    for kind, group in found.items():
        options = {p.key: refs[options_model(p.options), "validation"] for p in group}
        definitions[f"plugin.{kind}"] = _choice(kind, group, options)
    document = {"$schema": DIALECT, **root, "$defs": dict(sorted(definitions.items()))}
    short = {f"{REF}{name}" for name, spec in definitions.items() if spec.pop("x-short", None)}
    finished = _finish(document, short)
    used = json.dumps(finished)  # value types of the core are described in full where they are used
    kept = {name: spec for name, spec in finished["$defs"].items() if f'"{REF}{name}"' in used}
    return {**finished, "$defs": kept}


def loadable(kind: str) -> Iterator[Plugin]:
    """Load every plug-in of a kind that can be imported here."""
    for key in plugins.names(kind):
        try:
            yield plugins.load(kind, key)
        except PluginError:
            continue  # its extra is not installed; `check` says so when a file names it


def humanise(value: object, spec: dict[str, Any], definitions: dict[str, Any]) -> object:
    """Give a default as people write it: `10s` and `5%`, not 10.0 and 0.05."""
    if isinstance(value, list):
        item = spec.get("items", {})
        return [humanise(part, item, definitions) for part in value]
    if isinstance(value, dict):
        inner = definitions.get(spec.get("$ref", "").removeprefix(REF), {}).get("properties", {})
        return {key: humanise(v, inner.get(key, {}), definitions) for key, v in value.items()}
    if isinstance(value, float) and is_duration(spec):
        return format_duration(value) if value else "0s"
    if isinstance(value, float) and "%" in spec.get("pattern", ""):
        return f"{100 * value:g}%"
    return value


def is_duration(spec: dict[str, Any]) -> bool:
    """Tell whether a setting is a duration."""
    return "(ms|s|" in spec.get("pattern", "")


def _choice(kind: str, group: tuple[Plugin, ...], options: dict[str, Any]) -> dict[str, Any]:
    keys: dict[str, Any] = {
        plugin.key: {
            "anyOf": [options[plugin.key], {"type": "null"}],
            "description": plugin.summary,
        }
        for plugin in group
    }
    extra = _TARGET_KEYS if kind == "targets" else {}
    mapping = {
        "type": "object",
        "additionalProperties": False,
        "properties": {**keys, **extra},
        "minProperties": 1,
        "maxProperties": 1 + len(extra),
    }
    return {"anyOf": [{"enum": [plugin.key for plugin in group]}, mapping]}


def _finish(document: dict[str, Any], short: set[str]) -> dict[str, Any]:
    """Say what the readers accept beside the strict form, and give defaults in people's units."""
    definitions = document["$defs"]

    def finish(node: Any) -> Any:  # noqa: ANN401  JSON
        if isinstance(node, list):
            return [finish(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "default" in node:
            node["default"] = humanise(node["default"], node, definitions)
        kind, many = node.pop("x-plugin", None), node.pop("x-many", False)
        off = node.pop("x-off", False)
        done = {key: finish(value) for key, value in node.items()}
        if kind == "notifiers":
            done["additionalProperties"] = {"$ref": f"{REF}plugin.{kind}"}
        elif kind:
            done["$ref"] = f"{REF}plugin.{kind}"
        if many:
            done["anyOf"] = [{"type": done.pop("type"), "items": done["items"]}, done.pop("items")]
        if off:
            done["anyOf"] = [*done.get("anyOf", ()), {"const": False}]
        if done.get("$ref") in short:
            done["anyOf"] = [{"$ref": done.pop("$ref")}, _PLAIN]
        return done

    result: dict[str, Any] = finish(document)
    return result
