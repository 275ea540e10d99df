"""The parts of `leakguard demo` that need no process: counts, signatures, cages, pictures."""

import base64
import hashlib
import hmac
import io
import json
from pathlib import Path, PosixPath

import pytest

from leakguard.cli._demo.cage import RlimitCage, make_cage
from leakguard.cli._demo.receiver import SLACK_PATH, WEBHOOK_PATH, Receiver, is_signed, new_secret
from leakguard.cli._demo.result import ActResult, DemoResult
from leakguard.cli._demo.scope import parents
from leakguard.cli._demo.show import Picture, Show, colour
from leakguard.cli._demo.tally import Fate, Request, Stop, Tally, tally
from leakguard.core.instant import Instant
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.own_cgroup import CgroupRefused, OwnCgroup
from leakguard.linux.procfs import ProcFs

LIMIT = 96 * 1024**2
NOW_S = 1_795_000_000.0


class FrozenClock:
    """Always the same moment."""

    def now(self) -> Instant:
        """Give it."""
        return Instant(wall_s=NOW_S, boot_s=100.0, boot_id="boot")


class FakeV2(PosixPath):
    """A directory that behaves as cgroup v2 does: a new folder comes with its files."""

    def mkdir(self, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:  # noqa: FBT002  the signature of Path
        """Make the folder and the control files in it."""
        super().mkdir(mode, parents, exist_ok)
        for name in ("memory.max", "memory.swap.max", "memory.current", "cgroup.procs"):
            Path(self, name).write_text("0\n" if name != "cgroup.procs" else "")
        Path(self, "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\n")

    def rmdir(self) -> None:
        """Remove the folder with its files, as cgroupfs does."""
        for file in Path(self).iterdir():
            file.unlink()
        super().rmdir()


def good(sent_s: float, pid: int) -> Request:
    """A request that took 0.2 s."""
    return Request(sent_s=sent_s, done_s=sent_s + 0.2, fate=Fate.ANSWERED, pid=pid)


def lost(sent_s: float, fate: Fate = Fate.REFUSED, took_s: float = 0.0) -> Request:
    """A request without an answer."""
    return Request(sent_s=sent_s, done_s=sent_s + took_s, fate=fate)


def act(*, guarded: bool, oom_kills: int = 0, crashes: int = 0) -> ActResult:
    """An act with the given deaths."""
    counts = Tally(
        sent=10, lost=2, cut_off=1, refused=1, lost_outside_restart=0, longest_outage_s=0.5
    )
    return ActResult(
        guarded=guarded,
        oom_kills=oom_kills,
        crashes=crashes,
        restarts=2 if guarded else 0,
        respawns=oom_kills,
        tally=counts,
        limit_bytes=LIMIT,
        peak_bytes=LIMIT,
        history=(0, LIMIT),
        lasted_s=20.04,
    )


def test_losses_between_stop_and_first_new_answer_belong_to_the_restart() -> None:
    """A request sent after the stop began and before the new process answered is in the restart."""
    record = [good(1.0, 7), lost(2.1), lost(2.5), good(2.9, 8), good(3.2, 8)]
    found = tally(record, [Stop(pid=7, at_s=2.0)])
    assert (found.lost, found.lost_outside_restart) == (2, 0)


def test_answers_in_hand_of_the_old_process_do_not_end_the_restart() -> None:
    """The old process answering what it has in hand is not yet the service being back."""
    record = [good(2.05, 7), lost(2.5), good(3.0, 8)]
    assert tally(record, [Stop(pid=7, at_s=2.0)]).lost_outside_restart == 0


def test_request_sent_before_the_stop_is_lost_outside() -> None:
    """What was sent before the stop began must be answered; losing it counts outside."""
    record = [lost(1.9, Fate.CUT_OFF, 0.3), good(3.0, 8)]
    found = tally(record, [Stop(pid=7, at_s=2.0)])
    assert (found.cut_off, found.lost_outside_restart) == (1, 1)


def test_without_stops_every_loss_is_outside() -> None:
    """A kill by the kernel is no restart: nobody chose the moment."""
    record = [good(1.0, 7), lost(2.0, Fate.CUT_OFF), lost(2.2), good(2.6, 8)]
    assert tally(record).lost_outside_restart == 2


def test_restart_that_never_came_back_covers_all_later_losses() -> None:
    """With no new answer the restart is still under way."""
    record = [good(1.0, 7), lost(2.1), lost(60.0)]
    assert tally(record, [Stop(pid=7, at_s=2.0)]).lost_outside_restart == 0


def test_outage_runs_from_first_loss_to_next_good_answer() -> None:
    """The longest outage is measured from sending in vain to being answered again."""
    record = [lost(1.0), good(1.3, 7), lost(5.0), lost(5.5), good(6.0, 8)]
    assert tally(record).longest_outage_s == 1.2


def test_outage_at_the_end_counts() -> None:
    """An outage that nobody saw the end of is as long as it was seen."""
    assert tally([good(1.0, 7), lost(2.0), lost(4.0, Fate.TIMED_OUT, 3.0)]).longest_outage_s == 5.0


def test_nothing_sent_is_nothing_lost() -> None:
    """An empty record gives zeros."""
    expected = Tally(
        sent=0, lost=0, cut_off=0, refused=0, lost_outside_restart=0, longest_outage_s=0.0
    )
    assert tally([]) == expected


def signed(secret: str, body: bytes, stamp: float = NOW_S) -> dict[str, str]:
    """Headers of a Standard Webhooks message, made as the specification says."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    text = f"msg_1.{int(stamp)}.".encode() + body
    mark = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(stamp)),
        "webhook-signature": f"v1,{mark}",
    }


def test_good_signature_is_accepted_among_several() -> None:
    """While a secret is rotated there are several signatures, one of them right."""
    secret, body = new_secret(), b'{"a": 1}'
    headers = signed(secret, body)
    headers["webhook-signature"] = "v1,AAAA " + headers["webhook-signature"]
    assert is_signed(secret, headers, body, NOW_S) is True


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("webhook-id", "msg_2"),
        ("webhook-id", ""),
        ("webhook-timestamp", str(int(NOW_S) + 1)),
        ("webhook-timestamp", "now"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", ""),
    ],
)
def test_changed_header_breaks_the_signature(change: str, value: str) -> None:
    """Id, time and signature belong together."""
    secret, body = new_secret(), b"{}"
    assert is_signed(secret, signed(secret, body) | {change: value}, body, NOW_S) is False


def test_old_message_is_refused_although_its_signature_is_right() -> None:
    """A message played again later is not accepted."""
    secret, body = new_secret(), b"{}"
    assert is_signed(secret, signed(secret, body, NOW_S - 301), body, NOW_S) is False


def test_receiver_keeps_slack_and_signed_webhooks_and_refuses_the_rest() -> None:
    """Only what Slack and a strict receiver would take counts as arrived."""
    receiver = Receiver(clock=FrozenClock())
    event = json.dumps({"type": "leakguard.RestartDecided.v1"}).encode()
    answers = [
        receiver.accept(SLACK_PATH, {}, b'{"text": "hello"}'),
        receiver.accept(WEBHOOK_PATH, signed(receiver.secret, event), event),
        receiver.accept(WEBHOOK_PATH, {}, event),
        receiver.accept(SLACK_PATH, {}, b'{"blocks": []}'),
        receiver.accept(SLACK_PATH, {}, b"[]"),
        receiver.accept(SLACK_PATH, {}, b"not JSON"),
        receiver.accept("/elsewhere", {}, b"{}"),
    ]
    kept = [receiver.arrived.get().headline for _ in range(receiver.arrived.qsize())]
    assert answers == [200, 200, 401, 400, 400, 400, 404]
    assert (kept, receiver.refused) == (["hello", "leakguard.RestartDecided.v1"], 5)


def test_secret_is_not_in_the_repr() -> None:
    """The webhook secret is never printed."""
    receiver = Receiver(clock=FrozenClock())
    assert receiver.secret not in repr(receiver)


def test_v2_cage_limits_memory_and_swap(tmp_path: Path) -> None:
    """On cgroup v2 the cage sets memory.max, forbids swap and reads memory.events."""
    cage = OwnCgroup(FakeV2(tmp_path), "demo", LIMIT)
    files = [(tmp_path / "demo" / name).read_text() for name in ("memory.max", "memory.swap.max")]
    assert (cage.kind, files, cage.oom_kills()) == ("cgroup v2", [str(LIMIT), "0\n"], 1)


def test_removed_cage_is_gone(tmp_path: Path) -> None:
    """An empty cage leaves nothing behind."""
    cage = OwnCgroup(FakeV2(tmp_path), "demo", LIMIT)
    cage.remove()
    assert list(tmp_path.iterdir()) == []


def test_folder_without_a_memory_controller_is_no_cage(tmp_path: Path) -> None:
    """Where no limit can be set nothing is made, so nothing can leak without a cap."""
    with pytest.raises(CgroupRefused, match="cannot limit memory"):
        OwnCgroup(tmp_path, "demo", LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_no_usable_parent_falls_back_to_the_address_space(tmp_path: Path) -> None:
    """Without a cgroup the cap is RLIMIT_AS, and the kernel cannot have killed."""
    cage = make_cage((tmp_path, tmp_path / "missing"), "demo", LIMIT)
    assert (type(cage), cage.directory, cage.oom_kills()) == (RlimitCage, None, 0)


def machine(tmp_path: Path, *files: str, group: str) -> CgroupFs:
    """A fixture tree of a machine on which process 42 lives in `group`."""
    for name in files:
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "proc" / "42").mkdir(parents=True)
    (tmp_path / "proc" / "42" / "cgroup").write_text(group)
    return CgroupFs(ProcFs(str(tmp_path / "proc")), str(tmp_path / "cgroup"))


def test_v1_tries_the_own_group_before_the_top(tmp_path: Path) -> None:
    """Below the own group every limit above it goes on counting."""
    cgroups = machine(
        tmp_path,
        "memory/memory.usage_in_bytes",
        "memory/job/memory.usage_in_bytes",
        group="4:memory:/job\n",
    )
    top = tmp_path / "cgroup" / "memory"
    assert parents(cgroups, 42) == (top / "job", top)


def test_v2_uses_the_top_and_moves_nobody(tmp_path: Path) -> None:
    """A group that was not given to us is left alone."""
    cgroups = machine(
        tmp_path, "cgroup.controllers", "memory.stat", "session/memory.stat", group="0::/session\n"
    )
    assert parents(cgroups, 42) == (tmp_path / "cgroup",)


def test_v2_scope_makes_room_for_a_limited_group(tmp_path: Path) -> None:
    """In a delegated scope we move into a leaf and switch the memory controller on."""
    cgroups = machine(
        tmp_path, "cgroup.controllers", "memory.stat", "scope/memory.stat", group="0::/scope\n"
    )
    scope = tmp_path / "cgroup" / "scope"
    assert parents(cgroups, 42, scoped=True) == (scope,)
    assert (scope / "demo" / "cgroup.procs").read_text() == "42"
    assert (scope / "cgroup.subtree_control").read_text() == "+memory"


def test_unknown_group_gives_no_place(tmp_path: Path) -> None:
    """Where the own group cannot be seen, nothing is tried."""
    assert parents(machine(tmp_path, "other", group="0::/scope\n"), 42) == ()


def test_document_has_the_promised_keys() -> None:
    """The figures that scripts rely on stay where they are."""
    result = DemoResult(
        acts=[act(guarded=False, oom_kills=1), act(guarded=True)],
        alerts={"slack": 2, "webhook": 4},
        cgroup=True,
    )
    plain = result.to_plain()
    keys = ("guarded", "oom_kills", "restarts", "requests", "longest_outage_s")
    assert [{key: one[key] for key in keys} for one in plain.pop("acts")] == [
        {
            "guarded": False,
            "oom_kills": 1,
            "restarts": 0,
            "requests": {"sent": 10, "lost": 2},
            "longest_outage_s": 0.5,
        },
        {
            "guarded": True,
            "oom_kills": 0,
            "restarts": 2,
            "requests": {"sent": 10, "lost": 2},
            "longest_outage_s": 0.5,
        },
    ]
    assert plain == {"alerts": {"slack": 2, "webhook": 4}, "cgroup": True}


@pytest.mark.parametrize(
    ("unguarded", "guarded", "failed"),
    [
        (act(guarded=False, oom_kills=1), act(guarded=True), False),
        (act(guarded=False), act(guarded=True, oom_kills=1), True),
        (act(guarded=False), act(guarded=True, crashes=1), True),
    ],
)
def test_only_a_death_under_guard_is_a_failure(
    unguarded: ActResult, guarded: ActResult, failed: bool
) -> None:
    """Act 1 is meant to end badly; act 2 must not."""
    result = DemoResult(acts=[unguarded, guarded], alerts={}, cgroup=True)
    assert result.failed is failed


def test_without_a_cgroup_table_and_verdict_say_so() -> None:
    """Where the kernel was not involved, the viewer is told."""
    result = DemoResult(
        acts=[act(guarded=False, crashes=1), act(guarded=True)], alerts={}, cgroup=False
    )
    assert ("crashes", "1", "0") in result.rows()
    assert "the kernel was not involved" in result.verdict()


@pytest.mark.parametrize(("share", "expected"), [(0.5, "green"), (0.7, "yellow"), (0.8, "red")])
def test_colour_warns_before_the_threshold(share: float, expected: str) -> None:
    """Green, yellow from three quarters of the threshold, red at it."""
    assert colour(share, 0.8) == expected


def test_pipe_gets_plain_lines_every_few_seconds() -> None:
    """In a pipe there is no panel and no colour: a line now and then."""
    stream = io.StringIO()
    with Show(stream) as show:
        for second in (1.0, 5.0, 6.0, 10.0):
            show.tick(picture(second))
    assert stream.getvalue() == (
        "   5.0 s  memory 48.0 MiB of 96.0 MiB (50%), 20 requests sent, 1 lost\n"
        "  10.0 s  memory 48.0 MiB of 96.0 MiB (50%), 20 requests sent, 1 lost\n"
    )


def picture(elapsed_s: float) -> Picture:
    """A moment in an act."""
    return Picture(
        act="Act 1",
        elapsed_s=elapsed_s,
        used_bytes=LIMIT // 2,
        limit_bytes=LIMIT,
        threshold=0.8,
        history=(1, 2),
        sent=20,
        lost=1,
        kills=0,
        restarts=0,
        alerts=0,
    )
