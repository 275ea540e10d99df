"""The example, the JSON schema and the reference say what the code does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from leakguard import plugins
from leakguard.config import json_schema, load, reference
from leakguard.config.document import loadable
from leakguard.config.problems import keys_of
from leakguard.config.restarting import (
    Ask,
    Drain,
    Forecast,
    Group,
    Health,
    Hook,
    MaxRestarts,
    Restart,
    Schedule,
    Threshold,
)
from leakguard.config.schema import Defaults, Http, Route, Service, Settings, StateFile
from leakguard.config.values import options_model

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "config" / "leakguard.example.yaml"
MODELS: list[type[BaseModel]] = [
    Ask, Defaults, Drain, Forecast, Group, Health, Hook, Http, MaxRestarts, Restart, Route,
    Schedule, Service, Settings, StateFile, Threshold,
]  # fmt: skip


def test_the_schema_file_is_current() -> None:
    """`leakguard schema > config/leakguard.schema.json` brings it up to date."""
    written = json.loads((ROOT / "config" / "leakguard.schema.json").read_text())
    assert written == json_schema()


def test_the_reference_is_current() -> None:
    """`leakguard schema --docs` prints the end of the page anew."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    _, _, written = page.partition("holds it to the code. -->\n\n")
    assert written == reference()


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_explained(model: type[BaseModel]) -> None:
    """A setting without a sentence cannot be looked up."""
    assert [name for name, info in model.model_fields.items() if not info.description] == []


@pytest.mark.parametrize("kind", sorted(plugins.KINDS))
def test_every_option_of_a_plug_in_is_explained(kind: str) -> None:
    """The same holds for what plug-ins bring."""
    silent = [
        f"{plugin.key}.{name}"
        for plugin in loadable(kind)
        for name, info in options_model(plugin.options).model_fields.items()
        if not info.description
    ]
    assert silent == []


@pytest.mark.parametrize("model", MODELS)
def test_the_example_shows_every_setting(model: type[BaseModel]) -> None:
    """Set or commented out, each key stands in it."""
    text = EXAMPLE.read_text()
    missing = [key for key in keys_of(model) if not re.search(rf"\b{key}:", text)]
    assert missing == []


def test_the_example_shows_the_defaults(tmp_path: Path) -> None:
    """What it sets changes nothing: the shortest file gives the same plan but for its alerts."""
    short = tmp_path / "short.yaml"
    short.write_text("services: {worker: {target: {cmdline: my-worker}}}")
    example = load(str(EXAMPLE), environ={}, cwd=ROOT, secrets="")
    plain = load(str(short), environ={}, cwd=ROOT, secrets="")
    assert example.plan.services[0].rules == plain.plan.services[0].rules
    assert (example.plan.http, example.plan.state) == (plain.plan.http, plain.plan.state)
    assert example.warnings == ()


def test_the_example_is_right_with_its_comments_taken_away(tmp_path: Path) -> None:
    """What is shown as a comment can be used as it stands, but for secrets and this machine."""
    lines = EXAMPLE.read_text().splitlines()
    kept = [_uncommented(line) for line in lines if "token_file" not in line]
    text = "\n".join(line for line in kept if "secrets/" not in line)
    text = text.replace("to: [ops, hook]", "to: [console]")
    (tmp_path / "all.yaml").write_text(text)
    loaded = load("all.yaml", environ={}, cwd=tmp_path, secrets="")
    assert [service.rules.name for service in loaded.plan.services] == [
        "worker",
        "cache",
        "queue",
        "api",
        "tenant",
        "web",
        "shop",
        "app",
    ]


def _uncommented(line: str) -> str:
    shown = re.fullmatch(r"(\s*)# ((?: *)(?:- \{|[a-z_]+:).*)", line)
    if shown is None or shown.group(2).startswith(("respawn", "driver: signal", "yaml-")):
        return line
    return shown.group(1) + shown.group(2)


def test_the_schema_knows_every_setting_of_the_example() -> None:
    """No key of the example would be marked as wrong by an editor."""
    schema = json_schema()
    known = {key for node in _walk(schema) for key in node.get("properties", {})}
    assert [key for model in MODELS for key in keys_of(model) if key not in known] == []


def test_the_schema_refuses_unknown_keys_everywhere() -> None:
    """Each mapping with keys of ours is closed."""
    closed = [node for node in _walk(json_schema()) if "properties" in node]
    assert [node for node in closed if node.get("additionalProperties") is not False] == []


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    """A dangling one would switch checking off in some editors."""
    schema = json_schema()
    used = {node["$ref"] for node in _walk(schema) if isinstance(node.get("$ref"), str)}
    assert {ref for ref in used if ref.removeprefix("#/$defs/") not in schema["$defs"]} == set()


def _walk(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    if isinstance(node, list):
        for value in node:
            yield from _walk(value)
