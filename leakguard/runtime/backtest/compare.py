"""Many series under many policies, and left alone: what each would have come to."""

from collections.abc import Callable, Iterable
from dataclasses import field, replace

from leakguard.core.frozen import dataclass
from leakguard.runtime.backtest.lives import Recorded, cut
from leakguard.runtime.backtest.memory import ServiceMemory
from leakguard.runtime.backtest.outcome import Kill, PolicyOutcome, SeriesOutcome
from leakguard.runtime.backtest.play import Play, Terms
from leakguard.runtime.backtest.policies import Candidate, Rule, limit_of
from leakguard.runtime.backtest.recording import Recording

Progress = Callable[[int], None]
"""Told how many more samples were played."""


def _silent(_samples: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was asked: recordings, candidates and the terms that hold for all."""

    recordings: tuple[Recording, ...]
    candidates: tuple[Candidate, ...]
    terms: Terms = field(default_factory=Terms)
    recorded: Recorded = Recorded.KEEP

    def run(self, progress: Progress = _silent) -> tuple[PolicyOutcome, ...]:
        """Play every series under every candidate."""
        return tuple(
            PolicyOutcome(
                config=candidate.config,
                series=tuple(
                    self._play(one, candidate.rule_of(one.name), progress)
                    for one in self.recordings
                ),
            )
            for candidate in self.candidates
        )

    def left_alone(self) -> tuple[Kill, ...]:
        """Give the kills without any restart of ours, by the limits the first candidate knows."""
        return tuple(kill for one in self.limited() for kill in _alone(one, self.recorded))

    def limited(self) -> Iterable[Recording]:
        """Give the recordings with the limit that kills there under the first candidate."""
        for one in self.recordings:
            rule = self.candidates[0].rule_of(one.name)
            yield replace(one, limit_bytes=limit_of(one, rule.rules))

    def _play(self, recording: Recording, rule: Rule, progress: Progress) -> SeriesOutcome:
        known = replace(recording, limit_bytes=limit_of(recording, rule.rules))
        play = Play(known, cut(known, self.recorded), rule.rules, rule.make_detector(), self.terms)
        return play.run(progress)


def _alone(recording: Recording, recorded: Recorded) -> Iterable[Kill]:
    """Walk a series without any policy; a new run begins at once after each kill."""
    limit = recording.limit_bytes
    if limit is None:
        return
    memory = ServiceMemory(recording, cut(recording, recorded))
    for i, t in enumerate(recording.times):
        value = memory.step(i)
        died = memory.died_s
        if died is None and value >= limit:
            died = t
            memory.start(t)
        if died is not None:
            yield Kill(series=recording.name, t=died, wall_s=died + recording.wall_offset_s)
