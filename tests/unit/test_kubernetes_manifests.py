"""The manifests that are shipped: their configuration loads, their pods are hardened."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from leakguard.config import load
from leakguard.core.policy import Mode
from leakguard.testing.kube_schema import KINDS, Description
from tests.kube import DESCRIPTION

FOLDER = Path(__file__).parents[2] / "config/kubernetes"
WORKLOADS = ("sidecar.yaml", "node-agent.yaml")


def documents(name: str) -> list[Any]:
    """Give the objects of one file."""
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


def workload(name: str) -> Any:  # noqa: ANN401  YAML is untyped
    """Give the one object that has a pod template."""
    (found,) = [one for one in documents(name) if "template" in one.get("spec", {})]
    return found


def leakguard_of(name: str) -> Any:  # noqa: ANN401  YAML is untyped
    """Give leakguard's own container."""
    spec = workload(name)["spec"]["template"]["spec"]
    every = [*spec.get("initContainers", ()), *spec["containers"]]
    (own,) = [one for one in every if one["name"] == "leakguard"]
    return own


def without(value: object, names: frozenset[str]) -> object:
    """Leave out the properties that the trimmed description does not have."""
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items() if k not in names}
    return [without(item, names) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_manifest_is_as_published(name: str) -> None:
    """Every field but those that the trimmed description leaves out."""
    described = json.loads(DESCRIPTION.read_text("utf-8"))
    left_out = {n for one in described["definitions"].values() for n in one.get("x-left-out", ())}
    shown = workload(name)
    kind = KINDS[f"{shown['kind'].lower()}s"]
    problems = Description(described).problems(kind, without(shown, frozenset(left_out)))
    assert list(problems) == []


@pytest.mark.parametrize("name", WORKLOADS)
def test_its_variables_are_a_configuration(name: str, tmp_path: Path) -> None:
    """With the driver that is meant, and acting."""
    environ = {one["name"]: one["value"] for one in leakguard_of(name)["env"] if "value" in one}
    loaded = load(None, environ=environ, cwd=tmp_path, secrets="")
    (service,) = loaded.plan.services
    assert service.driver is not None
    assert (service.rules.mode, service.target.key, service.driver.key, loaded.warnings) == (
        Mode.ACT,
        "pod",
        "kubernetes",
        (),
    )


@pytest.mark.parametrize("name", WORKLOADS)
def test_leakguard_s_container_is_hardened(name: str) -> None:
    """No way to more rights, no capability but those it names, nothing written but its state."""
    own = leakguard_of(name)
    secured = own["securityContext"]
    assert secured["allowPrivilegeEscalation"] is False
    assert secured["readOnlyRootFilesystem"] is True
    assert secured["capabilities"]["drop"] == ["ALL"]
    assert "memory" in own["resources"]["limits"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_binding_names_a_role_that_is_shipped(name: str) -> None:
    """And an account of the same file."""
    roles = {role["metadata"]["name"] for role in documents("roles.yaml")}
    bound = list(bindings(name))
    accounts = {o["metadata"]["name"] for o in documents(name) if o["kind"] == "ServiceAccount"}
    assert bound != []
    assert [b for b in bound if b[0] not in roles or b[1] not in accounts] == []


def bindings(name: str) -> Iterator[tuple[str, str]]:
    """Give role and account of each binding."""
    for one in documents(name):
        if one["kind"] == "RoleBinding":
            yield one["roleRef"]["name"], one["subjects"][0]["name"]
