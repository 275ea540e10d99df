"""Checks requests and objects against an OpenAPI description of Kubernetes.

The description is a document with `operations` (path → method → query, body, consumes) and
`definitions` (JSON schemas), as tests/data/kubernetes-openapi.json holds them.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

BODIES = {
    "V1Eviction": "policy.v1.Eviction",
    "V1DeleteOptions": "DeleteOptions",
    "V1SelfSubjectAccessReview": "authorization.v1.SelfSubjectAccessReview",
}
KINDS = {
    "pods": "core.v1.Pod",
    "deployments": "apps.v1.Deployment",
    "statefulsets": "apps.v1.StatefulSet",
    "daemonsets": "apps.v1.DaemonSet",
    "replicasets": "apps.v1.ReplicaSet",
    "poddisruptionbudgets": "policy.v1.PodDisruptionBudget",
}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


class Operation(NamedTuple):
    """One published operation, and what the path of a request says in it."""

    values: Mapping[str, str]
    published: Mapping[str, Any]


class Description:
    """A published description."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = document["definitions"]
        self._operations = {
            re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)): methods
            for path, methods in document["operations"].items()
        }

    def find(self, method: str, path: str) -> Operation | None:
        """Give the operation that a request names, None when none is published."""
        for pattern, methods in self._operations.items():
            match = pattern.fullmatch(path)
            if match and method.lower() in methods:
                return Operation(match.groupdict(), methods[method.lower()])
        return None

    def problems(self, definition: str, value: object, where: str = "") -> Iterator[str]:
        """Give one line for each way in which a value does not fit a definition."""
        yield from self._misfits(self._definitions[definition], value, where or definition)

    def _misfits(self, schema: Mapping[str, Any], value: object, where: str) -> Iterator[str]:
        if "$ref" in schema:
            yield from self.problems(schema["$ref"].rpartition("/")[2], value, where)
        elif "oneOf" in schema:
            if all(any(self._misfits(one, value, where)) for one in schema["oneOf"]):
                yield f"{where}: {value!r} fits none of {len(schema['oneOf'])} forms"
        else:
            yield from self._plain_misfits(schema, value, where)

    def _plain_misfits(self, schema: Mapping[str, Any], value: object, where: str) -> Iterator[str]:
        types = schema.get("type", [])
        names = [types] if isinstance(types, str) else types
        if names and not any(_is(value, name) for name in names):
            yield f"{where}: {value!r} is not {' or '.join(names)}"
        elif value is not None and "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} is not one of {schema['enum']}"
        elif isinstance(value, list):
            for i, item in enumerate(value):
                yield from self._misfits(schema.get("items", {}), item, f"{where}[{i}]")
        elif isinstance(value, dict):
            yield from self._parts(schema, value, where)

    def _parts(
        self, schema: Mapping[str, Any], value: Mapping[str, object], where: str
    ) -> Iterator[str]:
        known = schema.get("properties", {})
        further = schema.get("additionalProperties", True)
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{where}.{name} is required"
        for name, part in value.items():
            if name in known:
                yield from self._misfits(known[name], part, f"{where}.{name}")
            elif further is False:
                yield f"{where}.{name} is not in the description"
            elif isinstance(further, dict):
                yield from self._misfits(further, part, f"{where}.{name}")


def _is(value: object, name: str) -> bool:
    if isinstance(value, bool) and name != "boolean":
        return False
    return isinstance(value, _TYPES[name])
