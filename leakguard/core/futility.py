"""Futility: restarts that gain nothing are found out, held back, and people told what would help.

Two findings, both of runs that a restart for their memory began, and that wanted the next one:
- two in a row started full: what they held once they had settled was 90 % of the threshold or of
  the limit already, and they were back there sooner than restarts may be apart for ever (`per` /
  `max_restarts`). A run that lives there for longer is no loop, however near it starts; and one
  that still rises has not started with what it rose: a fast leak is full within seconds too;
- three in a row came back sooner and sooner, the last within minutes: the cause is not in the
  process, but in what it finds again when it starts (a queue, a backlog, files).
What is measured is what a restart would give back: the limit's use now, less the run's own growth.

What a finding holds. A forecast: the next restart would be as short a cure as the last. Threshold
and schedule too where runs start full, although these are a person's own rules: it was tried twice,
the rule was meant to give memory back, and it gives none. Coming back sooner holds no threshold:
every restart does give something back, and the breaker bounds them. `max_age` has other reasons
than memory, and a person's restart is a new trial: neither is held. An exhaustion passes: the
kernel would kill it otherwise, and then a stop in good order is better than none, also in vain.
That does loop, up to `max_restarts`, and ends in the breaker. Growth in files of tmpfs is another
case of futility, known before anything was tried: `core/guards.py`.

A finding ends when nothing wanted a restart for as long as restarts may be apart for ever, when the
threshold or the limit was changed, and when a person restarts or resumes the service.
"""

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise

from leakguard.core.calm import calm_for_s, is_back
from leakguard.core.events import EventKind
from leakguard.core.facts import evidence, limit_words, threshold_bytes
from leakguard.core.forecast import Room
from leakguard.core.frozen import dataclass
from leakguard.core.guards import OURS, probation_s, restarts_left
from leakguard.core.policy import Proposal, ServiceRules, Trigger
from leakguard.core.sample import Sample
from leakguard.core.series import Ring
from leakguard.core.severity import Severity
from leakguard.core.state import Futile, Futility, Round, ServiceState
from leakguard.core.tick import Tick
from leakguard.core.units import MIB, format_bytes, format_duration

FULL = 0.9
"""A run that starts at this share of the threshold or limit gains nothing worth a restart."""
TWICE = 2
"""Runs in a row that must have started full, the present one among them."""
SETTLED_AFTER_S = 5.0
"""A new incarnation this old shows what it started with, and what a restart gave back."""
AT_ONCE_S = 1.0
"""What a run holds at this age it started with: no leak is worth a restart every second."""
SEEN_TO_START_S = 60.0
"""A run whose first sample is older than this shows no longer what it started with."""
SHRINK = 0.7
"""Each of three runs lasts at most this share of the one before it."""
SHORT_S = 900.0
"""The last of them lasts no longer than this."""
COMING_BACK = 3
ROOMY = 0.75
"""With a limit that it fills to this share at its start, a leak would have time to show."""
STEP_BYTES = 16 * MIB
CHANGED = 0.01
"""A threshold or limit that differs by more than this share is another one."""

FOR_MEMORY = frozenset({Trigger.THRESHOLD, Trigger.EXHAUSTION, Trigger.FORECAST})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    """What a restart is wanted for: the size that was reached, and where the run had started."""

    name: str
    size_bytes: int
    start_bytes: float | None
    threshold: bool = False

    @property
    def full(self) -> bool:
        return self.start_bytes is not None and self.start_bytes >= FULL * self.size_bytes


def shows_start(known: int | None, before: Sample | None, sample: Sample) -> bool:
    """Whether a sample tells what its run started with, or tells it better than those before.

    `known`: what they told, in bytes. `before`: the last of them.
    """
    if sample.age_s >= SEEN_TO_START_S:
        return False
    if before is None or known is None or before.age_s < SETTLED_AFTER_S:
        return True
    return known < FULL * before.value_bytes  # it was rising still


def start_bytes(recent: Ring, sample: Sample) -> int | None:
    """Give what a young run started with: what it holds, less what it rises at its newest pace.

    The pace is that of the second half of its life; None where one look is all there is, unless
    that was at its very start.
    """
    since = sample.at.boot_s - sample.age_s / 2
    earlier = max(0, bisect_right(recent.times, since) - 1)
    span = sample.at.boot_s - recent.times[earlier]
    if span <= 0:
        return sample.value_bytes if sample.age_s <= AT_ONCE_S else None
    pace = max(0.0, (sample.value_bytes - recent.values[earlier]) / span)
    return max(0, int(sample.value_bytes - pace * sample.age_s))


def judge(tick: Tick, name: str, proposals: Iterable[Proposal], rules: ServiceRules) -> None:
    """Find out whether the restart that is wanted would gain nothing, and say so once."""
    service = tick.service(name)
    wanted = _for_memory(proposals, service, rules)
    record = service.record
    known = record.futility is not None or record.breaker_open  # then people have heard of it
    if wanted is None or service.sample is None or record.flight or known:
        return
    found = find(service, rules, wanted.trigger)
    if found is None or restarts_left(record, rules, tick.now) == 0:  # the breaker says it
        return
    tick.amend(name, futility=found)
    tick.event(
        EventKind.FUTILITY_FOUND,
        name,
        Severity.CRITICAL,
        f"{name}: {found.words}",
        futile=found.cause.value,
        start_bytes=service.record.settled_bytes,
        trigger=wanted.trigger.value,
        **evidence(service),
    )


def find(service: ServiceState, rules: ServiceRules, trigger: Trigger) -> Futility | None:
    """Give what the runs so far tell of the restart that is wanted; None where it may help."""
    bar = _bar(service, rules, trigger)
    if bar is None:
        return None
    return _starts_full(service, bar, rules) or _comes_back_sooner(service, bar)


def restarting(tick: Tick, name: str, trigger: Trigger, rules: ServiceRules) -> None:
    """Take note of the run that is about to end by a restart of ours, before that is counted."""
    service = tick.service(name)
    if trigger in FOR_MEMORY and is_back(service, rules, trigger):
        bar, sample = _bar(service, rules, trigger), service.sample
        if sample is not None:
            full = bar is not None and bar.full and _in_vain(service, rules)
            renewed = service.record.renewed
            ended = Round(run=sample.incarnation, renewed=renewed, lasted_s=sample.age_s, full=full)
            tick.amend(name, rounds=(*_earlier(service), ended)[-COMING_BACK:])
    elif trigger is Trigger.MANUAL:
        clear(tick, name, "a person restarts it")
    elif trigger is not Trigger.RESPAWN and service.record.rounds:
        tick.amend(name, rounds=())


def follow(tick: Tick, name: str, rules: ServiceRules) -> None:
    """See whether a finding is over, at the end of a tick."""
    service = tick.service(name)
    found = service.record.futility
    if found is None:
        return
    size = _size_now(service, found, rules)
    if size is not None and abs(size - found.bar_bytes) > CHANGED * found.bar_bytes:
        clear(tick, name, f"the {found.bar} is {format_bytes(size)} now")
    elif calm_for_s(tick, name) >= probation_s(rules):
        clear(tick, name, f"nothing wanted a restart for {format_duration(probation_s(rules))}")


def clear(tick: Tick, name: str, why: str) -> None:
    """Forget what was found, and how earlier runs went."""
    record = tick.service(name).record
    if record.rounds or record.futility:
        tick.amend(name, rounds=(), futility=None)
    if record.futility is not None:
        tick.event(
            EventKind.FUTILITY_CLEARED,
            name,
            Severity.INFO,
            f"restarts of {name} may help again: {why}",
        )


def _earlier(service: ServiceState) -> tuple[Round, ...]:
    """Give the rounds before the present run; a restart that failed may have left it alone."""
    record = service.record
    here = record.incarnation, record.renewed
    return tuple(known for known in record.rounds if (known.run, known.renewed) != here)


def _in_vain(service: ServiceState, rules: ServiceRules) -> bool:
    """Whether a restart of ours began the present run, and sooner than they may be apart."""
    sample, known = service.sample, service.record.restarts
    ours = bool(known) and known[-1].reason in OURS
    return ours and sample is not None and sample.age_s <= probation_s(rules)


def _for_memory(
    proposals: Iterable[Proposal], service: ServiceState, rules: ServiceRules
) -> Proposal | None:
    wanted = [
        p for p in proposals if p.trigger in FOR_MEMORY and is_back(service, rules, p.trigger)
    ]
    return min(wanted, key=lambda p: list(Trigger).index(p.trigger), default=None)


def _bar(service: ServiceState, rules: ServiceRules, trigger: Trigger) -> _Bar | None:
    settled, sample, facts = service.record.settled_bytes, service.sample, service.assessment
    if trigger is Trigger.THRESHOLD:
        above = threshold_bytes(service, rules)
        if above is None:
            return None
        return _Bar(name="threshold", size_bytes=above, start_bytes=settled, threshold=True)
    if facts is None or facts.nearest is None or sample is None:
        return None
    room, start = facts.nearest.room, None
    if settled is not None:
        start = room.limit_bytes - room.headroom_bytes - (sample.value_bytes - settled)
    return _Bar(name=_bar_name(room), size_bytes=room.limit_bytes, start_bytes=start)


def _bar_name(room: Room) -> str:
    words = limit_words(room)
    return words if words.endswith(" limit") else f"limit of {words}"


def _size_now(service: ServiceState, found: Futility, rules: ServiceRules) -> int | None:
    """Give the same threshold or limit as it is now; None when that cannot be known."""
    if found.threshold:
        return threshold_bytes(service, rules)
    if service.assessment is None:
        return None
    rooms = [f.room for f in service.assessment.forecasts if _bar_name(f.room) == found.bar]
    return rooms[0].limit_bytes if rooms else None


def _starts_full(service: ServiceState, bar: _Bar, rules: ServiceRules) -> Futility | None:
    earlier = _earlier(service)[-(TWICE - 1) :]
    tried = len(earlier) == TWICE - 1 and all(known.full for known in earlier)
    if not (bar.full and tried and _in_vain(service, rules)) or bar.start_bytes is None:
        return None
    words = (
        f"restarts do not help: at its start {format_bytes(bar.start_bytes)} are in use, and the "
        f"{bar.name} is {format_bytes(bar.size_bytes)}: {_more_room(service, bar)}, or fix what it "
        "loads at its start"
    )
    return _futility(Futile.STARTS_FULL, bar, words)


def _more_room(service: ServiceState, bar: _Bar) -> str:
    """Say how much would do; a threshold above the limit would be none."""
    least = -(-(bar.start_bytes or 0.0) / ROOMY // STEP_BYTES) * STEP_BYTES
    limit = service.assessment.effective_limit_bytes if service.assessment is not None else None
    if bar.threshold and limit is not None and least >= limit:
        return f"raise it and the limit ({format_bytes(limit)}) to at least {format_bytes(least)}"
    return f"raise that to at least {format_bytes(least)}"


def _comes_back_sooner(service: ServiceState, bar: _Bar) -> Futility | None:
    earlier = _earlier(service)
    if service.sample is None or len(earlier) < COMING_BACK:
        return None
    lasted = [*(known.lasted_s for known in earlier[1:]), service.sample.age_s]
    shrinks = all(later <= SHRINK * earlier for earlier, later in pairwise(lasted))
    if not shrinks or lasted[-1] > SHORT_S:
        return None
    words = (
        f"restarts do not help: it was back at the {bar.name} after "
        f"{', '.join(format_duration(one) for one in lasted)}: look for what it finds again when "
        "it starts (a queue, a backlog, files), which grows meanwhile"
    )
    return _futility(Futile.COMES_BACK_SOONER, bar, words)


def _futility(cause: Futile, bar: _Bar, words: str) -> Futility:
    return Futility(
        cause=cause, words=words, bar=bar.name, bar_bytes=bar.size_bytes, threshold=bar.threshold
    )
