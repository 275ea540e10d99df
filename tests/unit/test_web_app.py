"""Every route and every status of the HTTP API, asked without a socket."""

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from leakguard.core.codec import to_plain
from leakguard.core.decision import Reply
from leakguard.core.domain_victims import DomainVictim
from leakguard.core.errors import DaemonError
from leakguard.core.events import EventKind
from leakguard.core.forecast import TimeToLimit
from leakguard.core.inbox import PauseRequest, RestartRequest, ResumeRequest
from leakguard.core.status import (
    LimitStatus,
    RestartStatus,
    ServiceStatus,
    Status,
    ThrottleStatus,
    WaitingStatus,
)
from leakguard.core.victim_status import SuspectStatus, VictimStatus
from leakguard.testing.web import (
    AT,
    Answer,
    FakeBack,
    ask_wsgi,
    sample_event,
    sample_status,
    worker,
)
from leakguard.web.access import Access
from leakguard.web.app import EVERY_ANSWER, MAX_BODY_BYTES, WebApp
from leakguard.web.orders import ORDERS

JSON = {"Content-Type": "application/json"}
TRUSTED = Access(trusted=True)
SERVICE = "/api/v1/services/worker"


def ask(back: FakeBack, method: str, target: str, **more: Any) -> Answer:
    """Ask as over the unix socket."""
    return ask_wsgi(WebApp(back, TRUSTED), method, target, **more)


def get(back: FakeBack, target: str) -> Any:  # noqa: ANN401  JSON is untyped
    """Give the JSON of a GET that must succeed."""
    answer = ask(back, "GET", target)
    assert answer.status == 200
    return json.loads(answer.body)


def post(back: FakeBack, verb: str, document: object, service: str = "worker") -> Answer:
    """Post a JSON document to a service."""
    body = json.dumps(document).encode()
    return ask(back, "POST", f"/api/v1/services/{service}/{verb}", body=body, headers=JSON)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 200),
        ("GET", "/metrics", 200),
        ("GET", "/api/v1/status", 200),
        ("GET", "/api/v1/events", 200),
        ("GET", SERVICE, 200),
        ("GET", f"{SERVICE}/series", 200),
        ("HEAD", "/api/v1/status", 200),
        ("POST", f"{SERVICE}/restart", 200),
        ("POST", f"{SERVICE}/pause", 200),
        ("POST", f"{SERVICE}/resume", 200),
        ("GET", "/favicon.ico", 404),
        ("GET", "/api/v1/status/", 404),
        ("GET", "/api/v1/services/nobody", 404),
        ("GET", "/api/v1/services/nobody/series", 404),
        ("GET", "/api/v1/events?service=nobody", 404),
        ("GET", "/api/v1/services/\xff\xfe", 404),
        ("POST", "/api/v1/services/nobody/restart", 404),
        ("POST", f"{SERVICE}/explode", 404),
        ("POST", "/api/v1/status", 405),
        ("DELETE", SERVICE, 405),
        ("OPTIONS", "/", 405),
        ("GET", f"{SERVICE}/restart", 405),
        ("GET", "/api/v1/events?limit=0", 400),
        ("GET", "/api/v1/events?limit=1001", 400),
        ("GET", "/api/v1/events?limit=many", 400),
        ("GET", f"{SERVICE}/series?points=-1", 400),
        ("GET", f"{SERVICE}/series?since=yesterday", 400),
    ],
)
def test_route(method: str, target: str, status: int) -> None:
    """Each route answers with its status."""
    assert ask(FakeBack(), method, target).status == status


def test_every_answer_is_hardened() -> None:
    """Good answers and errors carry the same protective headers."""
    for target in ("/api/v1/events", "/nowhere"):
        headers = ask(FakeBack(), "GET", target).headers
        assert {name: headers[name] for name in EVERY_ANSWER} == EVERY_ANSWER


def test_405_says_what_is_possible() -> None:
    """A wrong method is told the right one."""
    assert ask(FakeBack(), "PUT", f"{SERVICE}/restart").headers["Allow"] == "POST"


def test_head_has_the_length_and_no_body() -> None:
    """HEAD answers like GET without the body."""
    full, head = (ask(FakeBack(), method, "/api/v1/status") for method in ("GET", "HEAD"))
    assert (head.headers["Content-Length"], head.body) == (str(len(full.body)), b"")


def test_healthz_says_what_is_wrong() -> None:
    """A loop that does not tick is 503 with the reason in JSON."""
    answer = ask(FakeBack(liveness=(False, "no tick for 40s")), "GET", "/healthz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"alive": False, "problem": "no tick for 40s"}


@pytest.mark.parametrize(
    ("back", "problem"),
    [
        (FakeBack(liveness=(False, "no tick for 40s")), "no tick for 40s"),
        (
            FakeBack(state=sample_status(ready=False, not_ready_because="cache was not read yet")),
            "cache was not read yet",
        ),
        (FakeBack(state=sample_status(ready=False)), "not known"),
    ],
)
def test_readyz_says_what_is_missing(back: FakeBack, problem: str) -> None:
    """Not ready is 503 with the reason in JSON."""
    answer = ask(back, "GET", "/readyz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"ready": False, "problem": problem}


def test_status_is_the_whole_status() -> None:
    """The status document has the daemon, its services and their limits."""
    document = get(FakeBack(), "/api/v1/status")
    assert document["host"] == "db1"
    assert [service["name"] for service in document["services"]] == ["worker", "cache"]
    assert document["services"][0]["nearest"]["time_to_limit"]["p95_s"] is None
    assert document["services"][1]["value_bytes"] is None


@pytest.mark.parametrize("services", [(), (worker(),), (worker(), worker(name="b"))])
def test_status_is_written_service_by_service(services: tuple[ServiceStatus, ...]) -> None:
    """However many there are, the document is that of the whole status."""
    status = sample_status(services=services)
    assert get(FakeBack(state=status), "/api/v1/status") == to_plain(status)


def test_status_that_did_not_change_is_304() -> None:
    """With the tag of the last answer, an unchanged status has no body; a changed one has."""
    back = FakeBack()
    tag = ask(back, "GET", "/api/v1/status").headers["ETag"]
    for sent in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        answer = ask(back, "GET", "/api/v1/status", headers={"If-None-Match": sent})
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
    back.state = sample_status(host="db2")
    assert ask(back, "GET", "/api/v1/status", headers={"If-None-Match": tag}).status == 200


def test_service_names_are_decoded() -> None:
    """`worker:2` and names beyond ASCII are found by their path."""
    named = worker(name="wörker:2")
    back = FakeBack(state=sample_status(services=(named,)))
    path = "/api/v1/services/wörker:2".encode().decode("latin-1")
    assert get(back, path)["name"] == "wörker:2"


@pytest.mark.parametrize("name", ["worker:shop/db-0/app", "worker:shop/web/app#2"])
def test_a_service_of_a_pod_has_slashes_in_its_name(name: str) -> None:
    """Two of them, so that what follows the name is not taken for a part of it."""
    back = FakeBack(state=sample_status(services=(worker(name=name),)))
    path = f"/api/v1/services/{name}"
    assert get(back, path)["name"] == name
    assert ask(back, "GET", f"{path}/series").status == 200
    assert ask(back, "GET", f"{path}/other/app").status == 404


@pytest.mark.parametrize(
    ("name", "message", "near"),
    [
        ("wroker", "no service 'wroker': did you mean worker?", ["worker"]),
        ("pool", "no service 'pool': did you mean pool:1 or pool:2?", ["pool:1", "pool:2"]),
        ("xyz", "no service 'xyz' (there are: worker, pool:1, pool:2)", []),
    ],
)
def test_an_unknown_service_is_told_the_right_names(
    name: str, message: str, near: list[str]
) -> None:
    """404 carries the nearest names in words and as data."""
    services = (worker(), worker(name="pool:1"), worker(name="pool:2"))
    answer = ask(
        FakeBack(state=sample_status(services=services)), "GET", f"/api/v1/services/{name}"
    )
    assert json.loads(answer.body) == {"error": message, "did_you_mean": near}


def test_no_service_at_all() -> None:
    """Without any service the 404 says so."""
    back = FakeBack(state=sample_status(services=()))
    assert b"none is guarded" in ask(back, "GET", SERVICE).body


def test_series_are_bounded_and_named() -> None:
    """A series names its measure and has at most the wanted points."""
    back = FakeBack(points=[(float(t), 100.0 + t, 100.0, 200.0) for t in range(10)])
    assert get(back, f"{SERVICE}/series?points=2&since=3.5") == {
        "service": "worker",
        "measure": "auto",
        "points": [[8.0, 108.0, 100.0, 200.0], [9.0, 109.0, 100.0, 200.0]],
    }


def test_events_come_in_pages() -> None:
    """`before` of one page asks for the next, and is null on the last."""
    back = FakeBack(happened=[sample_event(i) for i in range(1, 6)])
    seen, before = [], ""
    for _ in range(3):
        page = get(back, f"/api/v1/events?limit=2&before={before}")
        seen.append([event["id"] for event in page["events"]])
        before = page["before"] or ""
    assert (seen, before) == ([["e5", "e4"], ["e3", "e2"], ["e1"]], "")


def test_events_are_what_json_output_prints() -> None:
    """An event is the flat line of `run --json`, details included."""
    event = sample_event(1, EventKind.RESTART_SUCCEEDED, action_id="a1")
    back = FakeBack(happened=[event])
    assert get(back, "/api/v1/events?service=worker")["events"] == [event.to_line()]
    assert event.to_line()["action_id"] == "a1"


def test_events_of_a_service_without_any_are_empty() -> None:
    """A guarded service to which nothing happened is no error, nor is the name of a group."""
    back = FakeBack(state=sample_status(services=(worker(name="pool:1"),)))
    assert get(back, "/api/v1/events?service=pool:1")["events"] == []
    assert get(back, "/api/v1/events?service=pool")["events"] == []


def test_a_restart_is_asked_for() -> None:
    """The fields of the body reach the engine, and its answer comes back."""
    back = FakeBack()
    answer = post(back, "restart", {"force": True, "reason": " two\nlines\x00 ", "by": "alice"})
    request = back.asked[0]
    assert request == RestartRequest(
        id=getattr(request, "id", ""),
        service="worker",
        by="alice",
        reason="two lines",
        force=True,
    )
    assert json.loads(answer.body) == {
        "request_id": getattr(request, "id", ""),
        "accepted": True,
        "message": "restarting worker: asked by alice",
        "action_id": "a1",
    }


def test_a_pause_and_a_resume_are_asked_for() -> None:
    """Pause takes a duration or none, resume only who asked."""
    back = FakeBack()
    post(back, "pause", {"for_s": 7200, "reason": "load test", "by": "alice"})
    post(back, "pause", {"for_s": None})
    post(back, "resume", {"by": "bob"})
    first, second, third = back.asked
    assert isinstance(first, PauseRequest)
    assert isinstance(second, PauseRequest)
    assert isinstance(third, ResumeRequest)
    assert (first.for_s, first.reason, second.for_s, third.by) == (7200.0, "load test", None, "bob")


def test_every_request_has_its_own_id() -> None:
    """Two requests are never taken for one."""
    back = FakeBack()
    post(back, "resume", {})
    post(back, "resume", {})
    assert len({getattr(request, "id", "") for request in back.asked}) == 2


def test_a_refusal_is_409_with_the_guards_words() -> None:
    """What a guard refuses is a conflict, not an error of the request."""
    answer = post(
        FakeBack(accepts=False, message="in_flight: a restart is in flight"), "restart", {}
    )
    assert answer.status == 409
    assert json.loads(answer.body)["message"] == "in_flight: a restart is in flight"


def test_a_loop_that_does_not_answer_is_503() -> None:
    """When the engine does not answer in time, the client hears why."""
    back = FakeBack(error=None)
    app = WebApp(back, TRUSTED)

    def silent(*_: object) -> None:
        raise DaemonError("the loop did not answer within 10s")

    back.ask = silent  # type: ignore[method-assign, assignment]  # a daemon whose loop hangs
    answer = ask_wsgi(app, "POST", f"{SERVICE}/restart")
    assert (answer.status, json.loads(answer.body)["error"]) == (
        503,
        "the loop did not answer within 10s",
    )


@pytest.mark.parametrize(
    ("verb", "body", "content_type", "status"),
    [
        ("restart", b"{}", "application/json; charset=utf-8", 200),
        ("restart", b"", "", 200),
        ("restart", b"{", "application/json", 400),
        ("restart", b"[]", "application/json", 400),
        ("restart", b"\xff\xfe\x00", "application/json", 400),
        ("restart", b"[" * 60000, "application/json", 400),
        ("restart", b'{"force": 1}', "application/json", 400),
        ("restart", b'{"reason": 5}', "application/json", 400),
        ("restart", b'{"reason": "' + b"x" * 501 + b'"}', "application/json", 400),
        ("restart", b'{"forse": true}', "application/json", 400),
        ("resume", b'{"reason": "done"}', "application/json", 400),
        ("pause", b'{"for_s": "2h"}', "application/json", 400),
        ("pause", b'{"for_s": true}', "application/json", 400),
        ("pause", b'{"for_s": 0}', "application/json", 400),
        ("pause", b'{"for_s": -1}', "application/json", 400),
        ("pause", b'{"for_s": NaN}', "application/json", 400),
        ("pause", b'{"for_s": 1e999}', "application/json", 400),
        ("restart", b"force=1", "application/x-www-form-urlencoded", 415),
        ("restart", b"{}", "", 415),
        ("restart", b" " * (MAX_BODY_BYTES + 1), "application/json", 413),
    ],
)
def test_a_bad_body_is_refused(verb: str, body: bytes, content_type: str, status: int) -> None:
    """What does not fit is refused with its status, and the engine is not asked."""
    back = FakeBack()
    headers = {"Content-Type": content_type}
    answer = ask(back, "POST", f"{SERVICE}/{verb}", body=body, headers=headers)
    assert (answer.status, len(back.asked)) == (status, 1 if status == 200 else 0)


def test_a_content_length_that_is_no_number_is_400() -> None:
    """A malformed length is the client's fault."""
    answer = ask(FakeBack(), "POST", f"{SERVICE}/resume", headers={"Content-Length": "x"})
    assert answer.status == 400


def test_a_bug_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error shows nothing of itself to the client, and all of it to the log."""
    with caplog.at_level(logging.ERROR, "leakguard.web"):
        answer = ask(FakeBack(error=RuntimeError("boom")), "GET", "/api/v1/status")
    assert answer.status == 500
    assert b"boom" not in answer.body
    assert "boom" in caplog.text


def test_the_docs_name_every_field() -> None:
    """docs/api.md explains each field of a status, a service, a limit and a reply."""
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    told = set(re.findall(r"[`\"](\w+)[`\"]", text))
    for shape in (
        Status, ServiceStatus, LimitStatus, ThrottleStatus, WaitingStatus, TimeToLimit,
        RestartStatus, Reply, DomainVictim, VictimStatus, SuspectStatus,
    ):  # fmt: skip
        assert {field.name for field in dataclasses.fields(shape)} - told == set()


def test_victims_are_served_by_domain() -> None:
    """What the daemon last saw; nothing where it never had to look."""
    assert json.loads(ask(FakeBack(), "GET", "/api/v1/victims").body)["domains"] == []
    who = SuspectStatus(pid=77, name="postgres")
    look = DomainVictim(
        kind="memcg", path="/shop", version=2, limit_bytes=512, kills=1, fresh=True,
        oom=VictimStatus(looked_at=AT, outcome="kill", victim=who, certain=True),
    )  # fmt: skip
    document = json.loads(ask(FakeBack(looks=(look,)), "GET", "/api/v1/victims").body)
    assert document["at"] == AT
    (domain,) = document["domains"]
    assert (domain["path"], domain["oom"]["victim"]["name"]) == ("/shop", "postgres")
    assert (domain["ends_early"], domain["oom"]["runner_up"]) == (None, None)


def test_the_docs_name_every_route() -> None:
    """docs/api.md has a line for each route."""
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    told = set(re.findall(r"^\| `((?:GET|POST) [^`]*)`", text, re.MULTILINE))
    assert told == {
        "GET /",
        "GET /healthz",
        "GET /api/v1/victims",
        "GET /readyz",
        "GET /metrics",
        "GET /api/v1/status",
        "GET /api/v1/services/{name}",
        "GET /api/v1/services/{name}/series",
        "GET /api/v1/events",
        "GET /api/v1/deliveries",
        *(f"POST /api/v1/services/{{name}}/{verb}" for verb in ORDERS),
    }
