"""How the lab judges a kill, without a machine."""

from typing import Any

import pytest

from tests.vm.guest.kernel import kills_in
from tests.vm.judge import Kill, kills
from tests.vm.machine import Boot
from tests.vm.table import table

BIG, LEAKER = 10, 20
PAGE = 4096
LIMIT_PAGES = 20_000


def candidate(pid: int, pages: int, *, eligible: bool = True) -> dict[str, Any]:
    """Give a candidate as `leakguard victims --json` prints it."""
    return {"pid": pid, "projected_badness_pages": pages, "eligible": eligible}


def judged(**changes: Any) -> Kill:
    """Judge a kill: 4,000 to 4,100 pages left for the leaker with 5,000, the other has 8,000."""
    prediction = {
        "outcome": "kill",
        "next_victim": BIG,
        "runner_up": LEAKER,
        "dies_with_it": [],
        "certain": True,
        "headroom_bytes": {"low": 4000 * PAGE, "high": 4100 * PAGE},
        "limit_bytes": LIMIT_PAGES * PAGE,
        "candidates": [candidate(BIG, 8000), candidate(LEAKER, 5000)],
        "kernel": {"counter_error_pages": 100},
    }
    record = {
        "record": "kill",
        "case": "example",
        "domain": "/example",
        "members": {str(BIG): "big", str(LEAKER): "leaker"},
        "leaker": LEAKER,
        "kind_of_leak": "anon",
        "allocating_task": False,
        "kills": [{"pid": LEAKER}],
        "taken_bytes": 4050 * PAGE,
        "estimate_bytes": 4050 * PAGE,
        "counted": {"vmstat": 1},
        "prediction": prediction | changes.pop("prediction", {}),
    }
    boot = Boot(plan="groups", records=(record | changes,), console="", lasted_s=1.0)
    (kill,) = kills([boot])
    return kill


def test_leaker_overtakes_on_the_way() -> None:
    """Who is next now is not who is foretold when the leaker takes what is left."""
    kill = judged()
    assert kill.forecast is not None
    assert (kill.forecast.next_victim, kill.forecast.victim) == (BIG, LEAKER)
    assert (kill.forecast.sure, kill.right, kill.inside) == (True, True, True)


def test_leak_outside_every_process_moves_nobody() -> None:
    """A file that grows on tmpfs makes nobody worse."""
    kill = judged(kind_of_leak="tmpfs")
    assert kill.forecast is not None
    assert (kill.forecast.victim, kill.right) == (BIG, False)


@pytest.mark.parametrize(
    ("pages", "sure"), [(8700, True), (8800, False), (9050, False), (9500, True)]
)
def test_near_tie_is_not_sure(pages: int, sure: bool) -> None:
    """Sure is only who stays ahead over the whole interval, and by more than a trifle."""
    kill = judged(prediction={"candidates": [candidate(BIG, pages), candidate(LEAKER, 5000)]})
    assert kill.forecast is not None
    assert kill.forecast.sure == sure


def test_who_cannot_be_chosen_does_not_count() -> None:
    """Points of an ineligible process are no points."""
    others = [candidate(BIG, 99_000, eligible=False), candidate(LEAKER, 1)]
    kill = judged(prediction={"candidates": others})
    assert kill.forecast is not None
    assert kill.forecast.victim == LEAKER


@pytest.mark.parametrize(
    ("pages", "inside"), [(3700, False), (3801, True), (4299, True), (4400, False)]
)
def test_headroom_may_be_off_by_a_hundredth_of_the_limit(pages: int, inside: bool) -> None:
    """Outside of the interval and a hundredth of the limit the headroom was wrong."""
    assert judged(taken_bytes=pages * PAGE).inside == inside


def test_missing_answer_is_never_right() -> None:
    """Where leakguard gave no answer, the kill counts as not foretold, and the reason is kept."""
    boot = judged().record | {"prediction": {"error": "exit code 1: no"}}
    (kill,) = kills([Boot(plan="groups", records=(boot,), console="", lasted_s=1.0)])
    assert (kill.forecast, kill.right, kill.inside) == (None, False, False)
    assert kill.why_none == "exit code 1: no"
    assert "?" in table([kill])


def test_table_has_a_line_for_each_kill() -> None:
    """The table names people, not pids."""
    lines = table([judged(), judged()]).splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:4] == ["example", "memcg", "leaker", "big"]


def test_kills_are_found_in_the_log() -> None:
    """Scope, group, invoker and odd names come from the lines round the kill."""
    lines = [
        "[    1.000000] a (b) invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0",
        "[    1.000001] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/g/h,task_memcg=/g/h,pid=7",
        "[    1.000002] Memory cgroup out of memory: Killed process 7 (a (b)) total-vm:1kB",
        "[    2.000000] c invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0",
        "[    2.000001] oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/,task=d,pid=8",
        "[    2.000002] Out of memory: Killed process 8 (d) total-vm:1kB",
    ]
    assert kills_in(lines) == [
        {"pid": 7, "name": "a (b)", "kind": "memcg", "group": "/g/h", "invoker": "a (b)"},
        {"pid": 8, "name": "d", "kind": "host", "group": None, "invoker": "c"},
    ]
