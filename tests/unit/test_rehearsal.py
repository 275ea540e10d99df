"""What cannot act is told once, when it changes; what cannot be located is not its business."""

from pathlib import Path

from leakguard.core.engine import Notice
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.bootstrap import Machine, Parts, build
from leakguard.runtime.rehearsal import Rehearsal
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import ProcFiles
from leakguard.testing.settings import load_text


def parts_of(folder: Path, *, seen: bool) -> tuple[Parts, ProcFiles]:
    """Build one service that the driver `signal` restarts, on a machine of files."""
    files, clock = ProcFiles(folder / "proc"), FakeClock()
    proc = ProcFs(str(folder / "proc"))
    machine = Machine(
        clock=clock,
        proc=proc,
        cgroups=CgroupFs(proc, str(folder / "cgroup")),
        children=Children(run_here, clock, proc),
    )
    text = "services: {w: {mode: act, target: {cmdline: my-worker}}}"
    plan = load_text(folder, text).plan
    return build(plan, machine, {}, lambda _service: seen), files


def told(parts: Parts, rehearsal: Rehearsal, notices: list[Notice]) -> list[str]:
    """Rehearse once more and give the kinds that were told."""
    notices.clear()
    rehearsal.run(parts)
    return [notice.kind for notice in notices]


def test_what_cannot_act_is_told_once(tmp_path: Path) -> None:
    """Nobody is known to start it again; the same finding is no news."""
    parts, files = parts_of(tmp_path, seen=False)
    files.add(10, "my-worker", argv=("my-worker",))
    notices: list[Notice] = []
    rehearsal = Rehearsal(notices.append)
    assert told(parts, rehearsal, notices) == ["ServiceCannotAct"]
    assert told(parts, rehearsal, notices) == []
    assert rehearsal.problems("w")[0].startswith("nobody is known to start w again")


def test_what_is_not_found_or_not_one_is_not_rehearsed(tmp_path: Path) -> None:
    """That it does not run, or is ambiguous, is told by the loop, with the target's sentence."""
    parts, files = parts_of(tmp_path, seen=False)
    notices: list[Notice] = []
    rehearsal = Rehearsal(notices.append)
    assert told(parts, rehearsal, notices) == []
    files.add(10, "my-worker", argv=("my-worker",))
    files.add(11, "my-worker", argv=("my-worker",))
    assert told(parts, rehearsal, notices) == []
    assert rehearsal.problems("w") == ()
