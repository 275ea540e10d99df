"""What is done round a restart: the settings become a plan, and must fit the deadline."""

from collections.abc import Iterator

from leakguard.config.lines import Loc
from leakguard.config.restarting import Ask, Drain, Hook, Restart
from leakguard.core.plan import ErrandPlan, HookSpec, Question
from leakguard.core.policy import LeaveRules
from leakguard.core.units import MIB, format_bytes, format_duration

MOST_KEPT_BYTES = 16 * MIB
MOST_WITHIN_S = 8.0
"""The answer to `leakguard restart` waits for the service's, and comes within 10 s."""
RESERVE_S = 10.0
"""The driver needs some of the deadline as well."""


def errand_plan(restart: Restart) -> ErrandPlan:
    """Give what is done round a restart."""
    drain = restart.drain
    return ErrandPlan(
        drain=_question(drain) if drain is not None else None,
        drain_wait_s=drain.wait if drain is not None else 0.0,
        before=tuple(_hook(hook) for hook in restart.before),
        after=tuple(_hook(hook) for hook in restart.after),
        ask=_question(restart.ask) if restart.ask is not None else None,
    )


def prelude_s(restart: Restart) -> float:
    """Give the longest that drain and hooks may take before the driver acts."""
    drain_s = restart.drain.wait if restart.drain is not None else 0.0
    return float(drain_s + sum(hook.within for hook in restart.before))


def deadline_s(restart: Restart, usual_s: float) -> float:
    """Give the deadline as written; left out, the driver's usual one beyond drain and hooks."""
    if restart.deadline is not None:
        return float(restart.deadline)
    return usual_s + prelude_s(restart)


def leave_rules(restart: Restart) -> LeaveRules | None:
    """Give how long the service may put a restart off."""
    if restart.ask is None:
        return None
    return LeaveRules(within_s=restart.ask.within, at_most_s=restart.ask.at_most)


def wrong_errands(restart: Restart) -> Iterator[tuple[Loc, str]]:
    """Find what cannot work."""
    if restart.drain is not None:
        yield from wrong_question(restart.drain, "drain")
    if restart.ask is not None:
        yield from wrong_question(restart.ask, "ask")
        if restart.ask.within > MOST_WITHIN_S:
            most = format_duration(MOST_WITHIN_S)
            yield ("restart", "ask", "within"), f"is more than {most} - a person waits for it"
    for key, hooks in (("before", restart.before), ("after", restart.after)):
        for i, hook in enumerate(hooks):
            if hook.keep > MOST_KEPT_BYTES:
                at: Loc = ("restart", key, *((i,) if len(hooks) > 1 else ()), "keep")
                most = format_bytes(MOST_KEPT_BYTES)
                yield at, f"is more than {most} - let the hook write a file into {{output_dir}}"
    taken_s = prelude_s(restart)
    if taken_s and restart.deadline is not None and restart.deadline < taken_s + RESERVE_S:
        together = format_duration(taken_s)
        least = format_duration(taken_s + RESERVE_S)
        text = f"drain and hooks before the restart may take {together} - make it at least {least}"
        yield ("restart", "deadline"), f"{text}, or leave it out"


def wrong_question(asked: Drain | Ask, key: str) -> Iterator[tuple[Loc, str]]:
    """Find what cannot be asked."""
    at: Loc = ("restart", key)
    named = [gate for gate in asked.GATES if getattr(asked, gate) is not None]
    if len(named) != 1:
        yield at, f"must have exactly one of http and command, found {', '.join(named) or 'none'}"
    if asked.command == ():
        yield (*at, "command"), "must not be empty - write [/path/to/program, argument]"


def _question(asked: Drain | Ask) -> Question:
    return Question(http=asked.http or "", method=asked.method, command=asked.command or ())


def _hook(hook: Hook) -> HookSpec:
    return HookSpec(command=hook.command, within_s=hook.within, keep_bytes=hook.keep)
