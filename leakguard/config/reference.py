"""The configuration described for people: one table of all settings, one for each plug-in."""

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from leakguard.config.document import REF, humanise, is_duration, loadable
from leakguard.config.schema import Settings
from leakguard.config.values import options_model

_HEAD = ("| key | value | default | what it does |", "|---|---|---|---|")
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "array": "list",
    "object": "mapping",
}
_KINDS = {"targets": "target", "drivers": "driver", "detectors": "detector", "notifiers": "channel"}


def reference() -> str:
    """Give every setting and every option of a plug-in as Markdown."""
    blocks = ["### Settings", "", *_table(Settings), ""]
    for kind, word in _KINDS.items():
        for plugin in loadable(kind):
            rows = _table(options_model(plugin.options))
            title = f"### The {word} `{plugin.key}`"
            blocks += [title, "", plugin.summary, "", *(rows or ["It has no options."]), ""]
    return "\n".join(blocks)


def _table(model: type[BaseModel]) -> list[str]:
    schema = model.model_json_schema(by_alias=True)
    rows = list(_walk(schema, schema.get("$defs", {}), ""))
    return [*_HEAD, *rows] if rows else []


def _walk(schema: dict[str, Any], definitions: dict[str, Any], prefix: str) -> Iterator[str]:
    for key, spec in schema.get("properties", {}).items():
        inner, suffix = _resolve(spec, definitions)
        path = f"{prefix}{key}{suffix}"
        text = spec.get("description") or inner.get("description", "")
        required = key in schema.get("required", ())
        default = "required" if required else _default(spec, definitions)
        cells = (f"`{path}`", _value(spec, inner), default, text)
        yield f"| {' | '.join(_cell(text) for text in cells)} |"
        if path == "services.NAME":  # what stands under `defaults` is not said twice
            known = definitions["Defaults"]["properties"]
            rest = {k: v for k, v in inner["properties"].items() if k not in known}
            inner = {**inner, "properties": rest}
        yield from _walk(inner, definitions, f"{path}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _resolve(spec: dict[str, Any], definitions: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Follow a setting to the mapping that it holds: itself, each of a list, each by a name."""
    for option in (spec, *spec.get("anyOf", ())):
        extra = option.get("additionalProperties")
        named = extra if isinstance(extra, dict) else {}
        for holder, suffix in ((option, ""), (option.get("items", {}), "[]"), (named, ".NAME")):
            if "$ref" in holder:
                return definitions[holder["$ref"].removeprefix(REF)], suffix
    return {}, ".NAME" if spec.get("x-plugin") == "notifiers" else ""


def _value(spec: dict[str, Any], inner: dict[str, Any]) -> str:
    if "x-plugin" in spec:
        return f"one of the {_KINDS[spec['x-plugin']]}s below"
    if "enum" in inner:
        return ", ".join(map(str, inner["enum"]))
    if inner.get("properties"):
        return "mapping"
    options = [o for o in spec.get("anyOf", [spec]) if o.get("type") != "null"]
    return " or ".join(dict.fromkeys(_word(option) for option in options))


def _word(option: dict[str, Any]) -> str:
    pattern = option.get("pattern", "")
    if "const" in option:
        return "off" if option["const"] is False else str(option["const"])
    if is_duration(option):
        return "duration"
    if "KMGT" in pattern:
        return "size or percentage" if "%" in pattern else "size"
    kind = str(option.get("type", "any"))
    return "percentage" if "%" in pattern else _WORDS.get(kind, kind)


def _default(spec: dict[str, Any], definitions: dict[str, Any]) -> str:
    value = spec.get("default")
    if value is None or value in ([], "", {}):
        return "–"
    human = humanise(value, spec, definitions)
    flow = yaml.safe_dump(human, default_flow_style=True, sort_keys=False, width=1000)
    return f"`{flow.strip().removesuffix('...').strip()}`"
