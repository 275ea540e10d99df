"""Plug-ins that a configuration names: found by their key, their options checked by their type."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from leakguard import plugins
from leakguard.config.construct import refused, refused_inside
from leakguard.config.environment import read_secret_file
from leakguard.config.lines import EnvText, Loc, below, mapping, read_flow
from leakguard.config.problems import Problem, problems_of
from leakguard.config.validate import remove
from leakguard.config.values import options_model, plain, secrets_of
from leakguard.core.codec import from_plain
from leakguard.core.errors import PluginError, UnitError
from leakguard.core.plan import PluginSpec
from leakguard.core.units import Secret
from leakguard.plugins import NoOptions, Plugin

_MOST_ROUNDS = 8
_SIGNAL_WORDS = {"kill", "signal", "signals", "stop", "stop_signal", "term"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One plug-in with options that fit it.

    `each`: written inside a target's mapping, or implied by options whose `many` is true.
    """

    plugin: Plugin
    spec: PluginSpec
    each: bool | None = None


@dataclass(slots=True)
class Choices:
    """Every plug-in that the configuration names, by its place, and what is wrong with them."""

    cwd: Path
    found: dict[Loc, Choice] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def collect(self, data: dict[str, Any]) -> None:
        """Check every plug-in in the merged data, whether or not the rest of it is right."""
        self._behaviour(below(data, "defaults"), ("defaults",))
        for name, service in mapping(below(data, "services")).items():
            loc: Loc = ("services", name)
            self._behaviour(service, loc)
            if "target" in mapping(service):
                self._choose("targets", below(service, "target"), (*loc, "target"))
        for name, channel in mapping(below(data, "alerts", "channels")).items():
            self._choose("notifiers", channel, ("alerts", "channels", name))

    def _behaviour(self, service: object, loc: Loc) -> None:
        if "detector" in mapping(service):
            self._choose("detectors", below(service, "detector"), (*loc, "detector"))
        driver = below(service, "restart", "driver")
        if driver is not None:
            self._choose("drivers", driver, (*loc, "restart", "driver"))

    def _choose(self, kind: str, written: object, loc: Loc) -> None:
        try:
            key, options, each = _split(kind, written)
            plugin = plugins.load(kind, key)
        except (PluginError, UnitError) as error:
            self._problem(loc, str(error))
            return
        choice = self.check(plugin, options, loc, each=each)
        if choice is not None:
            self.found[loc] = choice

    def check(
        self, plugin: Plugin, written: object, loc: Loc, *, each: bool | None = None
    ) -> Choice | None:
        """Check the options of a plug-in that is named at `loc`; None when they do not fit."""
        spec = self._spec(plugin, written, (*loc, plugin.key))
        if spec is None:
            return None
        if each is None and getattr(from_plain(plugin.options, spec.options), "many", False):
            each = True  # a pattern that is meant to match several
        return Choice(plugin=plugin, spec=spec, each=each)

    def _spec(self, plugin: Plugin, written: object, loc: Loc) -> PluginSpec | None:
        model = options_model(plugin.options)
        if plugin.options is NoOptions and written not in (None, {}, ""):
            self._problem(loc, f"takes no options - write {plugin.key} alone")
            return None
        try:
            options = model.model_validate(written)
        except ValidationError as error:
            found = problems_of(error, model, loc)
            for problem in found:
                self._problem(problem.loc, _explain_signals(plugin, problem) or problem.text)
            self.problems += _wrong_beside(plugin.options, written, found, loc)
            return None
        values = self._with_secrets(plugin.options, options, loc)
        if values is None:
            return None
        wrong = refused(plugin.options, values, loc)
        self.problems += wrong
        return None if wrong else PluginSpec(key=plugin.key, options=values)

    def _with_secrets(self, options: type, written: BaseModel, loc: Loc) -> dict[str, Any] | None:
        """Put secrets from files in the place of the keys that name the files."""
        values: dict[str, Any] = plain(written)
        before = len(self.problems)
        for name, required in secrets_of(options):
            twin = f"{name}_file"
            file = values.pop(twin, None) if twin not in options.__annotations__ else None
            if file and values.get(name) is not None:
                self._problem((*loc, twin), f"{name} is there too - keep one of the two")
            elif file:
                try:
                    values[name] = Secret(read_secret_file(str(self.cwd / file)))
                except ValueError as error:
                    self._problem((*loc, twin), str(error))
            elif values.get(name) is None and required:
                self._problem(loc, f"{name} is missing - add {twin}: PATH, or {name}: TEXT")
            if name in values and values[name] is None:
                del values[name]
        return values if len(self.problems) == before else None

    def _problem(self, loc: Loc, text: str) -> None:
        self.problems.append(Problem(loc, text))


def _split(kind: str, written: object) -> tuple[str, object, bool | None]:
    """Read `name`, `{name: options}` or, for targets, `{name: options, each: true}`."""
    if isinstance(written, EnvText) and written.lstrip().startswith("{"):
        written = read_flow(written)
    if isinstance(written, str):
        return str(written), None, None
    word = kind[:-1]
    right = ", ".join(plugins.names(kind))
    if not isinstance(written, dict) or not written:
        raise UnitError(f"must name one {word} - write {{NAME: options}} with one of: {right}")
    rest = dict(written)
    each = rest.pop("each", None) if kind == "targets" else None
    if isinstance(each, EnvText):
        each = read_flow(each)
    if each is not None and not isinstance(each, bool):
        raise UnitError("each must be true or false")
    if len(rest) != 1:
        named = ", ".join(map(str, rest)) or "none"
        raise UnitError(f"must name exactly one {word}, found {named} - keep one of: {right}")
    ((key, options),) = rest.items()
    return str(key), options, each


def _wrong_beside(
    options: type, written: object, known: Sequence[Problem], loc: Loc
) -> tuple[Problem, ...]:
    """Take out what is known to be wrong, and give what the rest of the options is refused for."""
    rest, model = deepcopy(written), options_model(options)
    for _ in range(_MOST_ROUNDS):
        if not isinstance(rest, dict):
            return ()
        for problem in known:
            remove(rest, problem.loc[len(loc) :])
        try:
            values = plain(model.model_validate(rest))
        except ValidationError as error:
            known = problems_of(error, model, loc)
        else:
            whole = not secrets_of(options)  # a secret may still have to come from its file
            return (refused if whole else refused_inside)(options, values, loc)
    return ()


def _explain_signals(plugin: Plugin, problem: Problem) -> str:
    if plugin.kind != "drivers" or str(problem.loc[-1]).lower() not in _SIGNAL_WORDS:
        return ""
    if not problem.text.startswith("is not known"):
        return ""
    return (
        f"signals belong to the drivers signal and child; with {plugin.key} it is not leakguard"
        " that stops the service, and a signal of ours would restart it twice - leave it out"
    )
