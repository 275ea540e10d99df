"""Drain and hooks against real HTTP servers on loopback and real commands."""

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from threading import Event, Thread

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from leakguard.core.decision import AskLeave, RestartService, RunAfter
from leakguard.core.inbox import Outcome, OutcomeKind, Told
from leakguard.core.plan import (
    ErrandPlan,
    HookSpec,
    Plan,
    PluginSpec,
    Question,
    ServicePlan,
    StatePlan,
)
from leakguard.core.policy import ServiceRules, Trigger
from leakguard.core.sample import Incarnation
from leakguard.core.units import MIB
from leakguard.linux.children import Children, run_here
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.errands import Errands
from leakguard.runtime.hook_output import HookOutput

RUN = Incarnation(boot_id="b", pid=4711, start_ticks=1)
CLOCK = SystemClock()


def plan_of(errands: ErrandPlan, state: Path | None = None) -> Plan:
    """Make a plan of one service."""
    service = ServicePlan(
        rules=ServiceRules(name="worker"), target=PluginSpec(key="pid"), errands=errands
    )
    path = "" if state is None else str(state / "state.db")
    return Plan(host="h", services=(service,), state=StatePlan(path=path, hook_output_bytes=MIB))


def errands_of(plan: ErrandPlan, state: Path | None = None) -> Errands:
    """Make the errands of one service."""
    whole = plan_of(plan, state)
    return Errands(whole, CLOCK, Children(run_here, CLOCK), HookOutput(whole.state))


def action(end_s: float | None = None, deadline_s: float = 60.0) -> RestartService:
    """Make a restart decided now."""
    return RestartService(
        id="a-1",
        service="worker",
        incarnation=RUN,
        trigger=Trigger.FORECAST,
        reason="it leaks",
        decided=CLOCK.now(),
        deadline_s=deadline_s,
        end_s=end_s,
    )


def before(
    plan: ErrandPlan, state: Path | None = None, *, end_s: float | None = None
) -> tuple[Told, ...]:
    """Do what comes before a restart."""
    return errands_of(plan, state).before(action(end_s), Event())


def drained(url: str, wait_s: float = 20.0) -> ErrandPlan:
    """Make a plan of a drain by HTTP."""
    return ErrandPlan(drain=Question(http=url), drain_wait_s=wait_s)


def hook(code: str, *words: str, within_s: float = 20.0, keep_bytes: int = MIB) -> HookSpec:
    """Make a hook that is a Python program."""
    return HookSpec(
        command=(sys.executable, "-c", code, *words), within_s=within_s, keep_bytes=keep_bytes
    )


def answers(server: HTTPServer, *given: Response | Callable[[Request], Response]) -> list[object]:
    """Have a server answer so, one after the other; gives what it was told."""
    left, told = list(given), list[object]()

    def handle(request: Request) -> Response:
        told.append((request.method, request.get_json(silent=True)))
        one = left.pop(0)
        return one if isinstance(one, Response) else one(request)

    server.expect_request("/drain").respond_with_handler(handle)
    return told


def test_a_drain_is_asked_once_when_it_is_done(httpserver: HTTPServer) -> None:
    """One POST that says what is to come; 2xx is drained."""
    told = answers(httpserver, Response(status=200))
    (one,) = before(drained(httpserver.url_for("/drain")))
    assert (one.ok, one.message.startswith("drained after ")) == (True, True)
    about = {"service": "worker", "pid": "4711", "reason": "it leaks", "trigger": "forecast"}
    assert told == [("POST", {**about, "action_id": "a-1"})]


def test_a_drain_is_asked_again_until_it_is_done(httpserver: HTTPServer) -> None:
    """202 and 503 with Retry-After are not yet."""
    later = {"Retry-After": "0"}
    told = answers(
        httpserver,
        Response(status=202, headers=later),
        Response(status=503, headers=later),
        Response(status=204),
    )
    (one,) = before(drained(httpserver.url_for("/drain")))
    assert (one.ok, len(told)) == (True, 3)


def test_a_drain_that_takes_too_long_is_told_and_stops_nothing(httpserver: HTTPServer) -> None:
    """The leak does not wait: after `wait` the restart goes on."""
    httpserver.expect_request("/drain").respond_with_data(
        status=503, headers={"Retry-After": "3600"}
    )
    assert before(drained(httpserver.url_for("/drain"), 0.6)) == (
        Told(message="not drained within 600ms", ok=False),
    )


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_drain_that_fails_is_told(httpserver: HTTPServer, status: int) -> None:
    """A 503 without Retry-After is a failure: nobody would know when to ask again."""
    httpserver.expect_request("/drain").respond_with_data(status=status)
    (one,) = before(drained(httpserver.url_for("/drain")))
    assert (one.ok, f"the drain failed: answered {status}" in one.message) == (False, True)


def test_a_drain_that_cannot_be_reached_is_told() -> None:
    """Nobody listens there."""
    (one,) = before(drained("http://127.0.0.1:1/drain"))
    assert (one.ok, "refused" in one.message) == (False, True)


@pytest.mark.parametrize(("code", "well"), [("0", True), ("3", False)], ids=["drained", "failed"])
def test_a_drain_by_command(code: str, well: bool) -> None:
    """Exit code 0 is drained, any other but 75 a failure."""
    command = (sys.executable, "-c", f"raise SystemExit({code})")
    (one,) = before(ErrandPlan(drain=Question(command=command), drain_wait_s=20.0))
    assert one.ok is well


def test_a_drain_command_may_ask_for_more_time(tmp_path: Path) -> None:
    """75 with a duration on the first line: not yet, ask again then."""
    seen = tmp_path / "seen"
    code = (
        "import pathlib, sys; p = pathlib.Path(sys.argv[1])\n"
        "if p.exists(): raise SystemExit(0)\n"
        "p.touch(); print('50ms'); raise SystemExit(75)"
    )
    command = (sys.executable, "-c", code, str(seen))
    (one,) = before(ErrandPlan(drain=Question(command=command), drain_wait_s=20.0))
    assert one.ok is True


@pytest.mark.parametrize("end_s", [0.0, 0.5])
def test_no_drain_when_the_end_is_near(end_s: float) -> None:
    """A service that is about to be killed is restarted at once."""
    (one,) = before(drained("http://127.0.0.1:1/drain"), end_s=end_s)
    assert one.ok is True
    assert one.message.startswith("not drained: the memory may run out in ")


def test_a_drain_takes_half_of_the_time_at_most(httpserver: HTTPServer) -> None:
    """The other half of the time until the early edge belongs to the stop."""
    httpserver.expect_request("/drain").respond_with_data(status=503, headers={"Retry-After": "9"})
    (one,) = before(drained(httpserver.url_for("/drain")), end_s=2.0)
    shown = one.message.removeprefix("not drained within ")
    assert shown in {"1s", "1.0s"} or shown.startswith("99")


def test_a_hook_gets_what_it_needs_by_variable_and_by_word(tmp_path: Path) -> None:
    """`{pid}` in its arguments, LEAKGUARD_… in its environment; what it prints is kept."""
    code = (
        "import os, sys; names = 'SERVICE PID REASON TRIGGER ACTION_ID OUTPUT_DIR'\n"
        "print(sys.argv[1:], [os.environ['LEAKGUARD_' + n] for n in names.split()])"
    )
    (one,) = before(ErrandPlan(before=(hook(code, "{pid}", "x{service}x"),)), tmp_path)
    place = tmp_path / "state.db.hooks" / "a-1"
    said = ["worker", "4711", "it leaks", "forecast", "a-1", str(place)]
    (kept,) = place.iterdir()
    assert (one.ok, one.output) == (True, str(place))
    assert kept.read_text() == f"{['4711', 'xworkerx']} {said}"
    assert place.stat().st_mode & 0o777 == 0o700


def test_a_hook_never_meets_a_shell(tmp_path: Path) -> None:
    """What a service is called is a word, whatever letters it has."""
    code = "import sys; print(sys.argv[1])"
    before(ErrandPlan(before=(hook(code, "$(touch {service}); `id`"),)), tmp_path)
    (kept,) = (tmp_path / "state.db.hooks" / "a-1").iterdir()
    assert kept.read_text() == "$(touch worker); `id`"


def test_what_a_hook_prints_is_bounded(tmp_path: Path) -> None:
    """The end of it is kept."""
    code = "print('x' * 100_000 + 'end')"
    before(ErrandPlan(before=(hook(code, keep_bytes=64),)), tmp_path)
    (kept,) = (tmp_path / "state.db.hooks" / "a-1").iterdir()
    assert (len(kept.read_text()) <= 64, kept.read_text().endswith("end")) == (True, True)


def test_what_a_hook_writes_is_bounded(tmp_path: Path) -> None:
    """A heap dump beyond `state.hook_output` is not kept, and that is told."""
    code = "open(r'{output_dir}/heap', 'wb').write(b'x' * 2**21); print('done')"
    told = before(ErrandPlan(before=(hook(code),)), tmp_path)
    kept = sorted(p.suffix for p in (tmp_path / "state.db.hooks" / "a-1").iterdir())
    assert ([one.ok for one in told], kept) == ([True, False], [".txt"])
    assert told[1].message == "heap: more than state.hook_output, not kept"


def test_a_failing_hook_is_told_with_its_words(tmp_path: Path) -> None:
    """And the ones after it are still run."""
    bad = hook("print('no heap'); raise SystemExit(3)")
    told = before(ErrandPlan(before=(bad, hook("pass"))), tmp_path)
    name = Path(sys.executable).name
    assert told[0].message == f"{name}: exit code 3: no heap"
    assert [one.ok for one in told] == [False, True]


def test_a_hook_that_hangs_is_killed() -> None:
    """It gets its time and no more."""
    (one,) = before(ErrandPlan(before=(hook("import time; time.sleep(60)", within_s=0.3),)))
    assert (one.ok, "did not end within 300ms and was killed" in one.message) == (False, True)


def test_a_hook_that_cannot_be_started_is_told() -> None:
    """With what to do."""
    (one,) = before(ErrandPlan(before=(HookSpec(command=("/nonexistent/dump",)),)))
    assert (one.ok, "check that argv names an executable" in one.message) == (False, True)


def test_a_hook_is_skipped_when_the_end_is_nearer_than_its_time() -> None:
    """With a word; that is as it should be, and no failure."""
    (one,) = before(ErrandPlan(before=(hook("pass", within_s=30.0),)), end_s=40.0)
    name = Path(sys.executable).name
    expected = f"{name} skipped (it may take 30s): the memory may run out in "
    assert (one.ok, one.message.startswith(expected)) == (True, True)


def test_hooks_and_drain_leave_the_driver_some_of_the_deadline() -> None:
    """A restart decided long ago is not held up any more."""
    errands = errands_of(ErrandPlan(before=(hook("pass", within_s=30.0),)))
    (one,) = errands.before(action(deadline_s=35.0), Event())
    assert "the deadline of the restart is too near" in one.message


def test_without_a_state_file_nothing_is_kept() -> None:
    """The hooks run all the same."""
    (one,) = before(ErrandPlan(before=(hook("print('x')"),)))
    assert one.output == ""


def test_hooks_after_a_restart_know_how_it_ended(tmp_path: Path) -> None:
    """LEAKGUARD_OUTCOME, and the pid of the new run."""
    code = "import os; print(os.environ['LEAKGUARD_OUTCOME'], os.environ['LEAKGUARD_PID'])"
    errands = errands_of(ErrandPlan(after=(hook(code),)), tmp_path)
    after = RunAfter(
        id="a-1/after", service="worker", trigger=Trigger.MANUAL, reason="x", outcome="failed"
    )
    outcome = errands.after(after, 12, Event())
    (kept,) = (tmp_path / "state.db.hooks" / "a-1").iterdir()
    assert (kept.name[:8], kept.read_text()) == ("after-1-", "failed 12")
    assert [one.ok for one in outcome.told] == [True]


def test_nothing_is_left_where_nothing_was_kept(tmp_path: Path) -> None:
    """No empty directories."""
    (one,) = before(ErrandPlan(before=(hook("pass"),)), tmp_path)
    assert (one.output, list((tmp_path / "state.db.hooks").iterdir())) == ("", [])


def test_a_reload_changes_the_hooks() -> None:
    """From the next restart on."""
    errands = errands_of(ErrandPlan())
    assert errands.before(action(), Event()) == ()
    errands.replace(plan_of(ErrandPlan(before=(hook("pass"),))))
    assert len(errands.before(action(), Event())) == 1
    each = replace(action(), service="worker:2")
    assert len(errands.before(each, Event())) == 1


def test_the_answer_may_be_json_in_pieces(httpserver: HTTPServer) -> None:
    """A chunked document is read whole: `busy` with `again_in` is not yet, too."""

    def chunks(_: Request) -> Response:
        text = json.dumps({"busy": True, "again_in": "20ms"})
        return Response(iter([text[:5], text[5:]]), status=200)

    told = answers(httpserver, chunks, Response(status=200))
    (one,) = before(drained(httpserver.url_for("/drain")))
    assert (one.ok, len(told)) == (True, 2)


def asked(question: Question) -> Outcome:
    """Ask a service for leave."""
    ask = AskLeave(
        id="a-1/leave", service="worker", trigger=Trigger.MANUAL, reason="x", within_s=1.0
    )
    return errands_of(ErrandPlan(ask=question)).ask(ask, 4711, Event())


@pytest.mark.parametrize(
    ("response", "kind", "again_s"),
    [
        (Response(status=200), OutcomeKind.GRANTED, None),
        (Response(status=503, headers={"Retry-After": "300"}), OutcomeKind.REFUSED, 300.0),
        (Response(status=409, headers={"Retry-After": "7"}), OutcomeKind.REFUSED, 7.0),
        (Response(status=429, headers={"Retry-After": "0"}), OutcomeKind.REFUSED, 0.0),
        (Response('{"busy": true, "again_in": "5m"}'), OutcomeKind.REFUSED, 300.0),
        (Response('{"busy": true}', status=503), OutcomeKind.REFUSED, None),
        (Response('{"busy": false}'), OutcomeKind.GRANTED, None),
        (Response(status=503), OutcomeKind.GRANTED, None),
        (Response("[]", status=404), OutcomeKind.GRANTED, None),
    ],
)
def test_leave_by_http(
    httpserver: HTTPServer, response: Response, kind: OutcomeKind, again_s: float | None
) -> None:
    """Only what is clearly busy is; a fault of the service is leave."""
    httpserver.expect_request("/ask", method="POST").respond_with_response(response)
    outcome = asked(Question(http=httpserver.url_for("/ask")))
    assert (outcome.kind, outcome.again_s) == (kind, again_s)
    in_vain = kind is OutcomeKind.GRANTED and response.status_code != 200
    assert outcome.message.startswith("it was asked for leave in vain (answered ") is in_vain


def test_an_http_date_says_when_to_ask_again(httpserver: HTTPServer) -> None:
    """Retry-After has two forms."""
    when = formatdate(CLOCK.now().wall_s + 100, usegmt=True)
    answer = Response(status=503, headers={"Retry-After": when})
    httpserver.expect_request("/ask").respond_with_response(answer)
    again_s = asked(Question(http=httpserver.url_for("/ask"))).again_s
    assert again_s is not None
    assert 90 <= again_s <= 101


def test_a_service_that_says_why_is_quoted(httpserver: HTTPServer) -> None:
    """In one line, however it wrote it."""
    answer = Response('{"busy": true, "again_in": "1m", "reason": "batch 7\\nruns"}')
    httpserver.expect_request("/ask").respond_with_response(answer)
    assert asked(Question(http=httpserver.url_for("/ask"))).message == "batch 7 runs"


def test_a_service_that_sends_its_answer_letter_by_letter_is_not_waited_for() -> None:
    """The time holds for the whole answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        over = Event()

        def drip() -> None:
            connection, _ = server.accept()
            with connection:
                for letter in b"HTTP/1.1 503 no" + b" " * 1000:
                    if over.wait(0.2):
                        return
                    connection.send(bytes([letter]))

        thread = Thread(target=drip)
        thread.start()
        port = server.getsockname()[1]
        outcome = asked(Question(http=f"http://127.0.0.1:{port}/ask"))
        over.set()
        thread.join(20)
    assert (outcome.kind, outcome.message) == (
        OutcomeKind.GRANTED,
        "it was asked for leave in vain (no answer in time)",
    )


@pytest.mark.parametrize(
    ("code", "kind", "again_s", "words"),
    [
        ("0", OutcomeKind.GRANTED, None, ""),
        ("print('5m\\nbatch 7'); raise SystemExit(75)", OutcomeKind.REFUSED, 300.0, "batch 7"),
        ("raise SystemExit(75)", OutcomeKind.REFUSED, None, ""),
    ],
)
def test_leave_by_command(code: str, kind: OutcomeKind, again_s: float | None, words: str) -> None:
    """75 is EX_TEMPFAIL of sysexits.h."""
    outcome = asked(Question(command=(sys.executable, "-S", "-c", code)))
    assert (outcome.kind, outcome.again_s, outcome.message) == (kind, again_s, words)


@pytest.mark.parametrize("code", ["raise SystemExit(1)", "import time; time.sleep(60)"])
def test_a_command_that_fails_or_hangs_is_leave(code: str) -> None:
    """And it is told."""
    outcome = asked(Question(command=(sys.executable, "-S", "-c", code)))
    assert (outcome.kind, "asked for leave in vain" in outcome.message) == (
        OutcomeKind.GRANTED,
        True,
    )
