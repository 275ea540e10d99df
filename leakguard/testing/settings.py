"""Configurations for tests: a text is written to a folder and loaded as `config.yaml` of it."""

from collections.abc import Mapping
from pathlib import Path

from leakguard.config import Loaded, load
from leakguard.core.errors import ConfigError
from leakguard.core.plan import ServicePlan

WORKER = "services: {worker: {target: {cmdline: my-worker}}}\n"
"""The shortest configuration."""


def load_text(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Loaded:
    """Load `text` with nothing else around it; secrets may lie in `folder/secrets`."""
    (folder / "config.yaml").write_text(text)
    return load("config.yaml", environ=environ or {}, cwd=folder, secrets=str(folder / "secrets"))


def load_service(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> ServicePlan:
    """Load `text` and give the plan of its only service."""
    (service,) = load_text(folder, text, environ).plan.services
    return service


def problems(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """Give everything that is wrong with `text`; none when it can be loaded."""
    try:
        load_text(folder, text, environ)
    except ConfigError as error:
        return list(error.problems)
    return []
