"""The configuration: read, checked as a whole, and compiled to the plan. Only here is pydantic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leakguard.config import sources
from leakguard.config.choices import Choices
from leakguard.config.compile import Compiler
from leakguard.config.document import json_schema
from leakguard.config.environment import Names
from leakguard.config.lines import Origins
from leakguard.config.problems import Problem, keys_of, lines, model_at
from leakguard.config.reference import reference
from leakguard.config.schema import Settings
from leakguard.config.validate import as_written, validate
from leakguard.core.errors import ConfigError
from leakguard.core.plan import Plan

__all__ = ["Loaded", "json_schema", "load", "reference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A plan, what is odd about it though not wrong, and where each setting was written."""

    plan: Plan
    warnings: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)


def load(
    path: str | None,
    *,
    environ: Mapping[str, str],
    cwd: str | Path,
    secrets: str = sources.SECRETS,
) -> Loaded:
    """Read the configuration from `path` (None: the usual places) and from `environ`.

    Raises:
        ConfigError: everything that is wrong, one line each.
    """
    cwd = Path(cwd)
    gathered = sources.gather(path, environ, cwd, setting_names(), secrets)
    origins = Origins(gathered.layers)
    validated = validate(gathered.layers)
    choices = Choices(cwd)
    choices.collect(validated.data)
    problems, warnings = [*validated.problems, *choices.problems], list(gathered.warnings)
    plan = None
    if validated.settings is not None:
        known = len(choices.problems)
        compiler = Compiler(
            settings=validated.settings,
            choices=choices,
            origins=origins,
            environ=environ,
            cwd=cwd,
            data=validated.data,
        )
        plan = compiler.compile(tuple(gathered.files))
        late = [*compiler.problems, *choices.problems[known:]]
        # What was taken out because it is wrong is not also missing.
        problems += [p for p in late if not any(p.follows(first) for first in problems)]
        warnings += compiler.warnings
    if problems or plan is None:
        written = [Problem(as_written(validated.data, p.loc), p.text) for p in problems]
        raise ConfigError(*lines(written, origins))
    return Loaded(plan=plan, warnings=tuple(warnings), origins=origins.all())


def setting_names() -> Names:
    """Give the names that variables of the environment may begin with."""
    models = {key: model_at(Settings, (key,)) for key in keys_of(Settings)}
    sections = {key for key, model in models.items() if model is not None} | {"groups", "services"}
    return Names(
        sections=tuple(sorted(sections)),
        plain=tuple(sorted(set(models) - sections)),
        second=tuple(
            f"{key}__{below}" for key, model in models.items() if model for below in keys_of(model)
        ),
    )
