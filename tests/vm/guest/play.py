"""Play one case: fill the memory, take the prediction, leak until the kernel acts, report."""

import functools
import select
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.guest import groups, kernel, worker
from tests.vm.guest.case import MIB, Case
from tests.vm.guest.lab import Lab
from tests.vm.guest.predict import predict

STEP_MIB = 16
APPROACH_S = 120.0
LEAK_S = 120.0
SETTLE_S = 0.7
RECOVER_S = 20.0
RECOVERED_SLACK = 48 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A case under way; `domain` is the group whose limit will be hit, None the host."""

    case: Case
    top: Path
    domain: Path | None
    leaker: worker.Leaker

    @property
    def growable(self) -> Callable[[], int]:
        """Give the estimate of what is left in the domain."""
        if self.domain is None:
            return kernel.growable_bytes
        return functools.partial(groups.growable_bytes, self.domain)


def play(lab: Lab, case: Case) -> None:
    """Play the case and report it, also how the machine recovers."""
    began, free = time.monotonic(), kernel.growable_bytes()
    for leftover in lab.shared.iterdir():
        leftover.unlink()
    with ExitStack() as stack:
        stack.enter_context(kernel.settings(case.settings))
        tree = groups.tree(lab.top, case.name, case.groups(), case.limits)
        top = stack.enter_context(tree)
        started: list[worker.Worker] = []
        stack.callback(_end, top, started)
        started.extend(worker.hold(holder, top, lab.shared) for holder in case.holders)
        leaker = worker.leak(case.leak, top, lab.shared)
        started.append(leaker)
        domain = None if case.limited is None else top / case.limited
        fields = _observe(lab, Stage(case=case, top=top, domain=domain, leaker=leaker))
    for leftover in lab.shared.iterdir():
        leftover.unlink()
    back = worker.wait_until_free(free - RECOVERED_SLACK, kernel.growable_bytes, RECOVER_S)
    lasted_s = round(time.monotonic() - began, 2)
    lab.channel.send("kill", case=case.name, recovered=back, lasted_s=lasted_s, **fields)


def _observe(lab: Lab, stage: Stage) -> dict[str, Any]:
    """Bring the domain near its end, ask for the prediction, go on and see what happens."""
    _approach(stage)
    early = kernel.kills_in(lab.log.lines())
    members = _members(stage.top)
    scores = {pid: _oom_score(pid) for pid in members}
    prediction = predict(stage.domain)
    grown, estimate = stage.leaker.grown_bytes(), stage.growable()
    before = _counters(stage)
    said = stage.leaker.leak(_kind(lab, stage.case), LEAK_S)
    taken = stage.leaker.grown_bytes() - grown
    select.select([], [], [], SETTLE_S)  # a second kill may follow within milliseconds
    lines = lab.log.lines()
    after = _counters(stage)
    return {
        "leaker": stage.leaker.pid,
        "kind_of_leak": stage.case.leak.kind,
        "allocating_task": bool(stage.case.settings.get("oom_kill_allocating_task")),
        "domain": groups.place(stage.domain) if stage.domain else None,
        "members": members,
        "oom_scores": scores,
        "survivors": sorted(_members(stage.top)),
        "expect": sorted(stage.case.expect) if stage.case.expect is not None else None,
        "prediction": prediction,
        "estimate_bytes": estimate,
        "said": said,
        "taken_bytes": taken,
        "early": early,
        "kills": kernel.kills_in(lines),
        "counted": {name: after[name] - before[name] for name in before},
        "log_lost": lab.log.lost,
        "log": lines,
    }


def _approach(stage: Stage) -> None:
    """Let the leaker take all but the gap that the case asks for."""
    kills = kernel.kernel_kills()
    kind = stage.case.leak.kind
    until = time.monotonic() + APPROACH_S
    while kernel.kernel_kills() == kills and time.monotonic() < until:
        more = stage.growable() - stage.case.gap_mib * MIB
        if more <= MIB // 4:
            return
        if kind.startswith("tmpfs"):
            kind = "anon"  # the file itself begins to grow when everybody looks
        stage.leaker.grow(kind, min(more, STEP_MIB * MIB), APPROACH_S)


def _kind(lab: Lab, case: Case) -> str:
    return f"tmpfs:{lab.shared}/leak" if case.leak.kind == "tmpfs" else case.leak.kind


def _counters(stage: Stage) -> dict[str, int]:
    """Read how often the kernel has killed: in all, and as the group's own files tell."""
    found = {"vmstat": kernel.kernel_kills()}
    if stage.domain is not None:
        events = kernel.numbers(stage.domain / "memory.events")
        found |= {name: events[name] for name in ("max", "oom", "oom_kill")}
        found["oom_group_kill"] = events.get("oom_group_kill", 0)
    return found


def _members(top: Path) -> dict[int, str]:
    """Name every living process of the case."""
    found = {}
    for procs in sorted(top.rglob("cgroup.procs")):
        for pid in map(int, procs.read_text("ascii").split()):
            try:
                found[pid] = Path(f"/proc/{pid}/comm").read_text("utf-8").strip()
            except OSError:  # it has ended meanwhile
                continue
    return found


def _oom_score(pid: int) -> int:
    """Read what other guards rank by."""
    return int(Path(f"/proc/{pid}/oom_score").read_text("ascii"))


def _end(top: Path, started: list[worker.Worker]) -> None:
    (top / "cgroup.kill").write_text("1", "ascii")
    for one in started:
        one.end()
