"""What would happen in a domain when its memory runs out, told in a few sentences."""

from collections.abc import Iterator

from leakguard.core.badness import Candidate, Outcome
from leakguard.core.findings.facts import Case, DomainFacts, UnitFacts
from leakguard.core.findings.finding import listed, processes
from leakguard.core.units import format_bytes
from leakguard.core.victims import DomainKind, End


def ending(domain: DomainFacts, case: Case) -> str:
    """Tell how a domain ends: headroom, who is killed, what else dies, or what happens instead."""
    return " ".join(_sentences(domain, case))


def title(domain: DomainFacts, case: Case) -> str:
    """Name a domain with its size: `host: 24.0 GiB RAM, no swap`."""
    if domain.domain.kind is DomainKind.MEMCG:
        limit = "memory.high, no limit" if domain.domain.end is End.THROTTLED else "limit"
        return f"cgroup {domain.domain.path}: {format_bytes(domain.domain.limit_bytes)} {limit}"
    swap = case.machine.swap.total_bytes
    beside = f"{format_bytes(swap)} swap" if swap else "no swap"
    return f"host: {format_bytes(domain.domain.limit_bytes)} RAM, {beside}"


def _sentences(domain: DomainFacts, case: Case) -> Iterator[str]:
    yield _headroom(domain)
    if domain.domain.throttled_from_bytes is not None and domain.domain.end is not End.THROTTLED:
        high = format_bytes(domain.domain.throttled_from_bytes)
        yield f"From {high} on (memory.high) it is slowed down, and may never get to its limit."
    match domain.domain.end:
        case End.ENOMEM:
            yield (
                "Then nobody is killed: allocations fail with ENOMEM, in whatever program asks "
                "next (vm.overcommit_memory=2)."
            )
        case End.HANG:
            yield (
                f"Then nobody is killed: {processes(domain.processes)} in it stand still, one "
                "after the other as they ask for memory, without a line in any log "
                "(oom_kill_disable 1)."
            )
        case End.THROTTLED:
            yield (
                f"Then nobody is killed: {processes(domain.processes)} in it are slowed down as "
                "they ask for memory, for ever, since it has memory.high and no limit."
            )
        case End.PANIC:
            yield _panic(case)
        case End.ALLOCATOR:
            yield (
                "Then the kernel kills whoever asks for memory at that moment, large or small "
                f"(vm.oom_kill_allocating_task=1); {_usual(domain)} where that one cannot be "
                "killed."
            )
        case End.KILL:
            yield from _kill(domain)
    if domain.domain.kind is DomainKind.HOST and case.machine.killers:
        names = listed([killer.name for killer in case.machine.killers])
        yield f"Before that, {names} may kill by a rule of its own."


def _usual(domain: DomainFacts) -> str:
    """Name who dies for an allocator that cannot be killed: the choice is then the usual one."""
    ranked = domain.prediction.ranked
    return _candidate(ranked[0].candidate) if ranked else "the usual victim"


def _headroom(domain: DomainFacts) -> str:
    room = domain.domain.headroom
    what = "be promised" if domain.domain.end is End.ENOMEM else "be taken"
    if room.high_bytes == 0:
        return f"Nothing more can {what}: it is full."
    return f"{_span(room.low_bytes, room.high_bytes)} can still {what}."


def _span(low_bytes: int, high_bytes: int) -> str:
    low, high = format_bytes(low_bytes), format_bytes(high_bytes)
    if low == high:
        return high
    same_unit = low.split()[1] == high.split()[1]
    return f"{low.split()[0] if same_unit else low} to {high}"


def _panic(case: Case) -> str:
    seconds = case.machine.panic_s
    after = f"boots again after {seconds} s" if seconds else "stays down until somebody resets it"
    return f"Then the whole machine panics (vm.panic_on_oom) and {after}."


def _kill(domain: DomainFacts) -> Iterator[str]:
    prediction = domain.prediction
    if prediction.victim is None:
        yield _nobody(domain, prediction.outcome)
        return
    likely = "" if prediction.certain else "most likely "
    yield f"Then the kernel {likely}kills {_who(prediction.victim, domain)}."
    yield from _also(domain)
    if not prediction.certain and prediction.why_uncertain:
        yield f"Not certain: {prediction.why_uncertain}."
    if prediction.runner_up is not None:
        yield f"After that it would be {_candidate(prediction.runner_up)}."


def _nobody(domain: DomainFacts, outcome: Outcome) -> str:
    if domain.processes == 0:
        return "No process is in it now, so there is nobody to kill."
    if domain.domain.kind is DomainKind.HOST and outcome is Outcome.NOBODY:
        return "Then there is nobody that the kernel may kill, and the machine panics."
    return "Then there is nobody that the kernel may kill, and allocations in it fail or wait."


def _also(domain: DomainFacts) -> Iterator[str]:
    others = [one.name for one in domain.killed[1:]]
    if domain.group_kill:
        dead = f" with {listed(others)}" if others else ""
        yield f"The whole cgroup {domain.group_kill} dies{dead} (memory.oom.group)."
    elif others:
        yield f"{listed(others)} shares its memory and dies too."
    if domain.victim_unit is not None and not domain.group_kill:
        yield from _unit(domain.victim_unit)


def _unit(unit: UnitFacts) -> Iterator[str]:
    if unit.oom_policy != "stop":
        return
    after = "starts it again" if unit.comes_back else "does not start it again"
    yield (
        f"systemd then stops all of {unit.name} (OOMPolicy=stop) and {after} "
        f"(Restart={unit.restart or 'no'})."
    )


def _who(victim: Candidate, domain: DomainFacts) -> str:
    service = f", which is {domain.victim_service}" if domain.victim_service else ""
    return f"{_candidate(victim)}{service}"


def _candidate(one: Candidate) -> str:
    adj = f", oom_score_adj {one.oom_score_adj}" if one.oom_score_adj else ""
    return f"{one.name or 'a process'} (pid {one.pid}{adj})"
