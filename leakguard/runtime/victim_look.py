"""One look at a domain: its processes read, projected to its end, and the victim named."""

from collections.abc import Mapping

from leakguard.core.badness import Candidate
from leakguard.core.errors import ReadingError
from leakguard.core.foretold import Foretold, Suspect
from leakguard.core.instant import Instant
from leakguard.core.victims import Growth, Prediction
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.oom_machine import DomainReport, OomMachine
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.victim_watch import Question, Tree


class VictimLook:
    """Reads one machine; for one thread at a time."""

    def __init__(self, proc: ProcFs) -> None:
        """Probe the kernel.

        Raises:
            ReadingError: there is no proc to read.
        """
        self._proc = proc
        self._machine = OomMachine(proc, CgroupFs(proc))

    def at(self, question: Question, trees: Mapping[str, Tree], now: Instant) -> Foretold:
        """Tell whom the kernel would kill when the domain runs out.

        Raises:
            ReadingError: it cannot be read.
        """
        report = self._machine.look_at(
            question.cgroup,
            growth=self._growth(trees),
            within_s=(question.median_s, question.median_s),
        )
        owners = {pid: name for name, tree in trees.items() for pid in tree.pids}
        return _foretold(question.key, now, report, owners)

    def _growth(self, trees: Mapping[str, Tree]) -> dict[int, Growth]:
        """Give each growing service's slope to the largest of its processes."""
        growth = {}
        for tree in trees.values():
            if tree.slope > 0 and tree.pids:
                largest = max(tree.pids, key=self._resident)
                growth[largest] = Growth(slope_bytes_per_s=tree.slope, error_bytes_per_s=tree.error)
        return growth

    def _resident(self, pid: int) -> int:
        try:
            return int(self._proc.read(pid, "statm").split()[1])
        except (ReadingError, IndexError, ValueError):  # it ended meanwhile
            return 0


def _foretold(key: str, now: Instant, report: DomainReport, owners: Mapping[int, str]) -> Foretold:
    prediction: Prediction = report.prediction
    known = {candidate.pid: candidate for candidate in report.candidates}
    leaker = known.get(prediction.leaker) if prediction.leaker is not None else None
    return Foretold(
        domain=key,
        at=now,
        outcome=prediction.outcome.value,
        victim=_suspect(prediction.victim, owners),
        runner_up=_suspect(prediction.runner_up, owners),
        leaker=_suspect(leaker, owners),
        certain=prediction.certain,
        why_uncertain=prediction.why_uncertain,
        kills=len(prediction.kills),
    )


def _suspect(candidate: Candidate | None, owners: Mapping[int, str]) -> Suspect | None:
    if candidate is None:
        return None
    return Suspect(
        pid=candidate.pid,
        name=candidate.name or "process",
        service=owners.get(candidate.pid, ""),
        oom_score_adj=candidate.oom_score_adj,
    )
