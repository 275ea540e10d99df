"""Recordings from the range query of a Prometheus server, or of anything that speaks like one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from leakguard.core.errors import LeakguardError, UsageError
from leakguard.core.frozen import dataclass
from leakguard.runtime.backtest.recording import Builder

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 120.0
MOST_POINTS = 10_000
"""A server answers at most 11,000 points a series; longer ranges are asked for in parts."""
NAMING = ("service", "name", "container", "pod", "instance", "job")
"""Labels that name a service, the best first."""

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeQuery:
    """What is asked for. Times are Unix time."""

    url: str
    query: str
    start_s: float
    end_s: float
    step_s: float

    def parts(self) -> Iterator[tuple[float, float]]:
        """Cut the range into parts that a server answers."""
        begin = self.start_s
        while begin <= self.end_s:
            end = min(self.end_s, begin + (MOST_POINTS - 1) * self.step_s)
            yield begin, end
            begin = end + self.step_s


def read_prometheus(query: RangeQuery) -> list[Builder]:
    """Ask for a range and give one builder a series, named by the labels that tell them apart.

    Raises:
        LeakguardError: the server cannot be reached, or does not answer as it should.
        UsageError: it refuses the query, or has nothing.
    """
    found: dict[Labels, list[tuple[float, float]]] = {}
    for begin, end in query.parts():
        for labels, points in _ask(query, begin, end):
            found.setdefault(labels, []).extend(points)
    found = {labels: points for labels, points in found.items() if points}
    if not found:
        raise UsageError(
            f"{host_of(query.url)} has no samples of {query.query!r} in that range: "
            "correct --query, --start or --end"
        )
    names = names_of([dict(labels) for labels in found])
    builders = []
    for name, points in zip(names, found.values(), strict=True):
        builder = Builder(name=name)
        for t, value in points:
            builder.add(t, value)
        builders.append(builder)
    return builders


def names_of(series: Sequence[Mapping[str, str]]) -> list[str]:
    """Name series by one label where one tells them apart, else by all that differ."""
    for label in NAMING:
        values = [labels.get(label, "") for labels in series]
        if all(values) and len(set(values)) == len(series):
            return values
    if len(series) == 1:
        return ["prometheus"]
    every = sorted({label for labels in series for label in labels if label != "__name__"})
    differ = [k for k in every if len({labels.get(k, "") for labels in series}) > 1]
    names = ["/".join(labels.get(k, "") for k in differ) for labels in series]
    if len(set(names)) < len(names):  # only the name of the metric differs
        return [
            labels.get("__name__", "") + name for labels, name in zip(series, names, strict=True)
        ]
    return names


def host_of(url: str) -> str:
    """Give host and port of an address, and nothing that may be secret."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.hostname or url}{port}"


def _ask(
    query: RangeQuery, begin: float, end: float
) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
    import requests  # only who asks a server pays for it

    host = host_of(query.url)
    try:
        response = requests.get(
            f"{query.url.rstrip('/')}/api/v1/query_range",
            params={
                "query": query.query,
                "start": f"{begin:.3f}",
                "end": f"{end:.3f}",
                "step": f"{query.step_s:g}",
            },
            timeout=(CONNECT_TIMEOUT_S, READ_TIMEOUT_S),
        )
    except (requests.RequestException, OSError, ValueError) as error:
        # `from None`: the cause carries the whole address.
        raise LeakguardError(
            f"{host} cannot be asked ({type(error).__name__}): check --prometheus and the network"
        ) from None
    answer = _answer(response, host)
    if response.status_code in {400, 422}:
        raise UsageError(f"{host} refuses the query: {answer.get('error', 'it does not say why')}")
    if response.status_code != requests.codes.ok or answer.get("status") != "success":
        raise LeakguardError(
            f"{host} answers {response.status_code}: {answer.get('error', 'no reason given')}"
        )
    yield from _series(answer, host)


def _answer(response: Any, host: str) -> dict[str, Any]:  # noqa: ANN401  requests is imported late
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise LeakguardError(
            f"{host} answers {response.status_code} and no JSON: is it a Prometheus server?"
        )
    return answer


def _series(
    answer: dict[str, Any], host: str
) -> Iterator[tuple[Labels, list[tuple[float, float]]]]:
    try:
        for one in answer["data"]["result"]:
            points = [(float(t), float(value)) for t, value in one["values"]]
            labels = tuple(sorted((str(k), str(v)) for k, v in one["metric"].items()))
            yield labels, [(t, value) for t, value in points if math.isfinite(value)]
    except (KeyError, TypeError, ValueError) as error:
        raise LeakguardError(f"{host} answers what cannot be read: {error}") from error
