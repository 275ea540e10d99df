"""What a Prometheus server is asked, how its series are named, and what its refusals become."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from leakguard.core.errors import LeakguardError, UsageError
from leakguard.runtime.backtest.from_prometheus import (
    RangeQuery,
    host_of,
    names_of,
    read_prometheus,
)

PATH = "/api/v1/query_range"


def query(server: HTTPServer, **changes: Any) -> RangeQuery:
    """Ask for a minute, in steps of 15 seconds."""
    given = {"query": "up", "start_s": 1000.0, "end_s": 1060.0, "step_s": 15.0, **changes}
    return RangeQuery(url=server.url_for("/"), **given)


def matrix(*series: tuple[dict[str, str], list[tuple[float, str]]]) -> dict[str, Any]:
    """Answer with these series."""
    result = [{"metric": labels, "values": values} for labels, values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def test_samples_are_read(httpserver: HTTPServer) -> None:
    """Values are text; what is no number was not measured."""
    values = [(1000.0, "5"), (1015.0, "NaN"), (1030.0, "1e1"), (1045.0, "+Inf")]
    httpserver.expect_request(
        PATH, query_string={"query": "up", "start": "1000.000", "end": "1060.000", "step": "15"}
    ).respond_with_json(matrix(({"__name__": "up", "job": "app"}, values)))
    (builder,) = read_prometheus(query(httpserver))
    assert (builder.name, list(builder.times), list(builder.values)) == (
        "app", [1000.0, 1030.0], [5.0, 10.0],
    )  # fmt: skip


def test_long_range_is_asked_in_parts(httpserver: HTTPServer) -> None:
    """A server answers at most 11,000 points: 25,000 are asked in three, none twice."""

    def answer(request: Request) -> Response:
        asked = {
            k: float(v[0])
            for k, v in parse_qs(request.query_string.decode()).items()
            if k != "query"
        }
        steps = range(int(asked["start"]), int(asked["end"]) + 1)
        assert len(steps) <= 11_000
        document = matrix(({"job": "app"}, [(float(t), "1") for t in steps]))
        return Response(json.dumps(document), content_type="application/json")

    httpserver.expect_request(PATH).respond_with_handler(answer)
    (builder,) = read_prometheus(query(httpserver, start_s=0.0, end_s=25_000.0, step_s=1.0))
    assert list(builder.times) == [float(t) for t in range(25_001)]
    assert len(httpserver.log) == 3


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ([{}], ["prometheus"]),
        ([{"job": "app", "instance": "a:1"}], ["a:1"]),
        ([{"pod": "x", "job": "app"}, {"pod": "y", "job": "app"}], ["x", "y"]),
        ([{"service": "w", "pod": "x"}, {"service": "w", "pod": "y"}], ["x", "y"]),
        ([{"a": "1", "b": "1"}, {"a": "1", "b": "2"}, {"a": "2", "b": "1"}], ["1/1", "1/2", "2/1"]),
        ([{"__name__": "rss"}, {"__name__": "pss"}], ["rss", "pss"]),
    ],
)
def test_series_are_named_by_what_tells_them_apart(
    labels: list[dict[str, str]], names: list[str]
) -> None:
    """One good label where one is enough, else all that differ."""
    assert names_of(labels) == names


def test_refused_query_says_why(httpserver: HTTPServer) -> None:
    """The server's own words are told."""
    answer = {"status": "error", "errorType": "bad_data", "error": "parse error at char 3"}
    httpserver.expect_request(PATH).respond_with_json(answer, status=400)
    with pytest.raises(UsageError, match="refuses the query: parse error at char 3"):
        read_prometheus(query(httpserver))


def test_empty_answer_says_what_to_correct(httpserver: HTTPServer) -> None:
    """No sample is no series."""
    httpserver.expect_request(PATH).respond_with_json(matrix())
    with pytest.raises(UsageError, match="has no samples of 'up' in that range: correct"):
        read_prometheus(query(httpserver))


@pytest.mark.parametrize(
    ("respond", "says"),
    [
        (lambda h: h.respond_with_data("<html>", status=200), "no JSON: is it a Prometheus"),
        (lambda h: h.respond_with_json([], status=200), "no JSON: is it a Prometheus"),
        (lambda h: h.respond_with_json({"error": "too busy"}, status=503), "503: too busy"),
        (lambda h: h.respond_with_json({"status": "success"}), "answers what cannot be read"),
        (
            lambda h: h.respond_with_json(matrix(({}, [(1.0, "many")]))),
            "answers what cannot be read",
        ),
    ],
)
def test_other_answers_are_failures(
    httpserver: HTTPServer, respond: Callable[[Any], None], says: str
) -> None:
    """What is no range of samples is said, never taken for one."""
    respond(httpserver.expect_request(PATH))
    with pytest.raises(LeakguardError, match=says) as caught:
        read_prometheus(query(httpserver))
    assert not isinstance(caught.value, UsageError)


def test_server_that_is_not_there_is_named_without_its_password() -> None:
    """A refused connection names the host and nothing that may be secret."""
    url = "http://ann:hunter2@127.0.0.1:9"
    with pytest.raises(LeakguardError, match=r"127\.0\.0\.1:9 cannot be asked") as caught:
        read_prometheus(RangeQuery(url=url, query="up", start_s=0, end_s=60, step_s=15))
    assert "hunter2" not in str(caught.value)


def test_host_of_an_address() -> None:
    """Host and port only."""
    assert host_of("https://a:b@prom.example.org:9090/x?y=z") == "prom.example.org:9090"
    assert host_of("http://prom") == "prom"
