"""Tell deaths: the kill that explains each best, or else what is known of its end."""

import signal
from dataclasses import replace

from leakguard.core.attribution import Weight, explains, home_of
from leakguard.core.events import Detail, EventKind
from leakguard.core.kill_book import NAME_WAIT_S, KillBook, SeenKill, is_within, path_of
from leakguard.core.kill_words import guess_words, killer_words
from leakguard.core.kills import DeathCause, KillCause, Killer
from leakguard.core.severity import Severity
from leakguard.core.state import Death, ServiceState
from leakguard.core.tick import Tick

EVIDENCE_S = 3.0
"""How long a death waits for what explains it; the counters' own names come within two."""
PENDING = 4
"""Deaths of one service that may wait at a time; of a faster loop the oldest is told at once."""
SIGNALLED = 128

_BY_KERNEL = {
    KillCause.OWN_LIMIT: DeathCause.OOM_OWN_LIMIT,
    KillCause.ANCESTOR_LIMIT: DeathCause.OOM_ANCESTOR_LIMIT,
    KillCause.HOST: DeathCause.OOM_HOST,
    KillCause.UNKNOWN: DeathCause.OOM,
}
_FIXES = {
    DeathCause.OOM_OWN_LIMIT: "raise that limit, or have it restarted earlier",
    DeathCause.OOM_ANCESTOR_LIMIT: "raise that limit, or limit what else is below it",
    DeathCause.OOM_HOST: "add memory or swap, or limit the largest services",
    DeathCause.USERSPACE_KILLER: "add memory or swap, or exempt it there",
}
_MAY_BE_KILLED = frozenset({SIGNALLED + signal.SIGKILL, SIGNALLED + signal.SIGTERM})
"""How what kills for memory ends a process; any other exit code needs no evidence."""


def tell_ripe(tick: Tick, book: KillBook, name: str, *, no_names: str, ending: bool) -> None:
    """Tell of a service's deaths that are explained, or that have waited long enough."""
    for death in tick.service(name).record.dying:
        evidence = _evidence(book.seen, name, death, tick)
        if _is_ripe(tick, book, name, death, evidence, ending=ending):
            left = tuple(d for d in tick.service(name).record.dying if d != death)
            tick.amend(name, dying=left)
            _tell(tick, name, death, evidence, no_names)


def _evidence(seen: tuple[SeenKill, ...], name: str, death: Death, tick: Tick) -> SeenKill | None:
    """Give the kill that explains a death best, and of equals the last one."""
    weighed = [(explains(kill, name, death, tick.now), kill) for kill in seen]
    weight, best = max(
        weighed, key=lambda pair: (pair[0], pair[1].boot_s), default=(Weight.NOTHING, None)
    )
    if best is None or weight is Weight.NOTHING:
        return None
    return replace(best, root=weight is Weight.ROOT)


def _is_ripe(
    tick: Tick,
    book: KillBook,
    name: str,
    death: Death,
    evidence: SeenKill | None,
    *,
    ending: bool,
) -> bool:
    if ending or len(tick.service(name).record.dying) > PENDING:
        return True
    if evidence is not None and (evidence.root or evidence.kill is None):
        return True  # for a kill without a name its name was waited for already
    waited = tick.now.since(death.noticed)
    if _counted_there(book, death):
        return waited >= EVIDENCE_S + NAME_WAIT_S
    certain = death.exit_code is not None and death.exit_code not in _MAY_BE_KILLED
    return certain or waited >= EVIDENCE_S


def _counted_there(book: KillBook, death: Death) -> bool:
    """Tell whether a kill in the service's own cgroup still waits for its name."""
    home = home_of(death.last) if death.last is not None else ""
    return home not in {"", "/"} and any(
        rise.key and is_within(path_of(rise.key), home) for rise in book.rises
    )


def _tell(tick: Tick, name: str, death: Death, evidence: SeenKill | None, no_names: str) -> None:
    service = tick.service(name)
    cause = _cause(death, evidence)
    deaths = dict(service.record.deaths)
    deaths[cause.value] = deaths.get(cause.value, 0) + 1
    tick.amend(name, deaths=deaths)
    missing = service.record.missing and service.record.flight is None
    why = _why(death, cause, evidence, no_names)
    tick.event(
        EventKind.SERVICE_DIED,
        name,
        _severity(cause, evidence, missing=missing),
        f"{name} ({death.incarnation}) {why}{_after(service, death)}",
        cause=cause.value,
        missing=missing or None,
        **_details(death, evidence),
    )


def _cause(death: Death, evidence: SeenKill | None) -> DeathCause:
    if evidence is None:
        return DeathCause.UNKNOWN if death.exit_code is None else DeathCause.CRASH
    if evidence.kill is not None and evidence.kill.killer is not Killer.KERNEL:
        return DeathCause.USERSPACE_KILLER
    return _BY_KERNEL[evidence.cause]


def _severity(cause: DeathCause, evidence: SeenKill | None, *, missing: bool) -> Severity:
    """Wake people once: by this, unless the kill of another of its processes did it already."""
    by_hand_or_fault = cause in {DeathCause.CRASH, DeathCause.UNKNOWN}
    if by_hand_or_fault or (evidence is not None and evidence.paged):
        return Severity.WARNING if missing else Severity.INFO
    return Severity.CRITICAL


def _why(death: Death, cause: DeathCause, evidence: SeenKill | None, no_names: str) -> str:
    if evidence is not None and evidence.kill is not None:
        words = killer_words(evidence.kill, root=evidence.root)
    elif evidence is not None:
        ran_out = guess_words(evidence.path, evidence.limit_bytes, evidence.cause)
        words = f"the kernel killed in its cgroup: {ran_out}"
    elif cause is DeathCause.CRASH:
        return _exit_words(death.exit_code or 0)
    else:
        reason = f"; {no_names}" if no_names else ""
        unseen = " while leakguard was not watching" if death.last is None else ""
        return f"ended{unseen}, and nothing says why: no kill for memory is known of it{reason}"
    fix = f"; {_FIXES[cause]}" if cause in _FIXES else ""
    return f"died: {words}{fix}"


def _exit_words(code: int) -> str:
    if code <= SIGNALLED:
        return f"ended by itself with code {code}"
    try:
        name = signal.Signals(code - SIGNALLED).name
    except ValueError:
        name = f"signal {code - SIGNALLED}"
    return f"was ended by {name}; no kill for memory is known of it"


def _after(service: ServiceState, death: Death) -> str:
    now = service.record.incarnation
    if service.record.missing or now is None or now == death.incarnation:
        return ""
    return f". It runs again as {now}"


def _details(death: Death, evidence: SeenKill | None) -> dict[str, Detail]:
    last = death.last
    details: dict[str, Detail] = {
        "pid": death.incarnation.pid,
        "exit_code": death.exit_code,
        "value_bytes": last.value_bytes if last is not None else None,
        "measure": last.measure.value if last is not None else None,
    }
    if evidence is None:
        return details
    details |= {"limit_cgroup": evidence.path or None, "limit_bytes": evidence.limit_bytes}
    kill = evidence.kill
    if kill is None:
        return details
    return details | {
        "killer": kill.killer.value,
        "victim_pid": kill.pid,
        "victim": kill.name,
        "anon_bytes": kill.anon_bytes,
        "oom_score_adj": kill.oom_score_adj,
    }
