"""`dry_run` in the body of a restart asks the engine another question; the answer says it all."""

import json

import pytest

from leakguard.core.dry_run import DryRun, HeldBy
from leakguard.core.inbox import DryRunRequest, RestartRequest
from leakguard.testing.web import Answer, FakeBack, ask_wsgi
from leakguard.web.access import Access
from leakguard.web.app import WebApp

PATH = "/api/v1/services/worker/restart"


def post(back: FakeBack, body: object) -> Answer:
    """Ask for a restart over the control socket."""
    return ask_wsgi(
        WebApp(back, Access(trusted=True)),
        "POST",
        PATH,
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )


def test_a_dry_run_is_no_restart() -> None:
    """The engine gets another kind of request, with the same fields."""
    back = FakeBack()
    answer = post(back, {"dry_run": True, "force": True, "reason": "new release", "by": "alice"})
    request = back.asked[0]
    assert request == DryRunRequest(
        id=getattr(request, "id", ""),
        service="worker",
        by="alice",
        reason="new release",
        force=True,
    )
    assert answer.status == 200


def test_the_answer_is_that_of_a_restart_and_the_dry_run() -> None:
    """A client that reads `accepted` and `message` reads them here too; no action has an id."""
    back = FakeBack(message="would be restarted: asked for by alice")
    document = json.loads(post(back, {"dry_run": True}).body)
    dry_run = document.pop("dry_run")
    assert document == {
        "request_id": getattr(back.asked[0], "id", ""),
        "accepted": True,
        "message": "would be restarted: asked for by alice",
        "action_id": "",
    }
    assert (dry_run["service"], dry_run["running"], dry_run["held_by"]) == ("worker", True, [])


def test_what_would_be_refused_is_409_with_the_guards() -> None:
    """As a restart that is refused; each guard says whether force helps."""
    held = HeldBy(guard="paused", reason="paused by bob", yields_to_force=True)
    back = FakeBack(accepts=False, dry_run=DryRun(service="worker", running=True, held_by=(held,)))
    answer = post(back, {"dry_run": True})
    assert answer.status == 409
    assert json.loads(answer.body)["dry_run"]["held_by"] == [
        {"guard": "paused", "reason": "paused by bob", "yields_to_force": True}
    ]


@pytest.mark.parametrize("value", ["true", 1, None, "no"])
def test_what_is_neither_true_nor_false_restarts_nothing(value: object) -> None:
    """A slip in the body of a dry run must not become a restart."""
    back = FakeBack()
    answer = post(back, {"dry_run": value})
    assert (answer.status, back.asked) == (400, [])
    assert json.loads(answer.body)["error"] == "`dry_run` must be true or false"


def test_false_is_a_restart() -> None:
    """The field may be written out."""
    back = FakeBack()
    post(back, {"dry_run": False})
    assert isinstance(back.asked[0], RestartRequest)
