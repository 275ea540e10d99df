"""`leakguard plugins`: every driver, target, notifier and detector, with its options."""

import dataclasses
import json
import textwrap
from typing import Any

import click

from leakguard import plugins
from leakguard.cli._options import json_option
from leakguard.cli._output import emit_json, paint
from leakguard.core.codec import to_plain
from leakguard.core.errors import PluginError, UsageError

EPILOG = """\b
Examples:
  leakguard plugins
  leakguard plugins drivers signal
"""
WIDTH = 96

Plain = dict[str, Any]  # a JSON object is untyped


@click.command("plugins", epilog=EPILOG)
@click.argument("kind", required=False, type=click.Choice(list(plugins.KINDS)), metavar="[KIND]")
@click.argument("key", required=False, metavar="[KEY]")
@json_option()
def command(kind: str | None, key: str | None, as_json: bool) -> None:  # noqa: FBT001  click calls it by name
    """List drivers, targets, notifiers and detectors, with their options."""
    kinds = [kind] if kind else list(plugins.KINDS)
    if kind and key and key not in plugins.names(kind):
        raise UsageError(plugins.unknown_key(kind, key))
    found = [describe(k, name) for k in kinds for name in plugins.names(k) if key in (None, name)]
    if as_json:
        emit_json({"plugins": found})
        return
    for one in kinds:
        print(paint(one, "bold"))
        for plugin in found:
            if plugin["kind"] == one:
                _print(plugin)


def describe(kind: str, key: str) -> Plain:
    """Give one plug-in as plain data; what cannot be loaded says why in `problem`."""
    try:
        plugin = plugins.load(kind, key)
    except PluginError as error:
        return {"kind": kind, "key": key, "summary": "", "options": [], "problem": str(error)}
    options = [_option(field) for field in dataclasses.fields(plugin.options)]
    return {
        "kind": kind,
        "key": key,
        "summary": plugin.summary,
        "options": options,
        "problem": None,
    }


def _option(field: "dataclasses.Field[object]") -> Plain:
    value, factory = field.default, field.default_factory
    required = value is dataclasses.MISSING and factory is dataclasses.MISSING
    if value is dataclasses.MISSING:
        value = None if factory is dataclasses.MISSING else factory()
    return {
        "name": field.name,
        "type": _type_name(field.type),
        "required": required,
        "default": to_plain(value),
        "doc": field.metadata.get("doc", ""),
    }


def _type_name(kind: object) -> str:
    if isinstance(kind, type) and not hasattr(kind, "__args__"):
        return kind.__name__
    text = str(kind)
    for prefix in ("collections.abc.", "typing.", "leakguard.core.units."):
        text = text.replace(prefix, "")
    return text.rpartition(".")[2] if "[" not in text and "|" not in text else text


def _default(option: Plain) -> str:
    value = option["default"]
    if value in (None, "", [], {}):
        return ""
    return f" [default: {value if isinstance(value, str) else json.dumps(value)}]"


def _print(plugin: Plain) -> None:
    print(f"  {plugin['key']:<12}  {plugin['problem'] or plugin['summary']}")
    for option in plugin["options"]:
        name = f"{option['name']}{'*' if option['required'] else ''}"
        text = f"{option['doc'] or option['type']}{_default(option)}"
        print(
            textwrap.fill(
                text, WIDTH, initial_indent=f"      {name:<18}  ", subsequent_indent=" " * 26
            )
        )
