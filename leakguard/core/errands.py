"""What is told of drain and hooks: failures as events, the rest where the restart ends."""

from leakguard.core.decision import RunAfter
from leakguard.core.events import Detail, EventKind
from leakguard.core.inbox import Outcome, Told
from leakguard.core.severity import Severity
from leakguard.core.state import Flight
from leakguard.core.tick import Tick

AFTER_SUFFIX = "/after"


def tell_before(tick: Tick, name: str, action_id: str, told: tuple[Told, ...]) -> None:
    """Tell what failed before a restart, which went on all the same."""
    failed = [one for one in told if not one.ok]
    if failed:
        tick.event(
            EventKind.HOOK_FAILED, name, Severity.WARNING,
            f"before the restart of {name}: {_words(failed)}; the restart went on",
            action_id=action_id, hook_output=_output(told),
        )  # fmt: skip


def details(flight: Flight) -> dict[str, Detail]:
    """Give what the end of a restart says of drain and hooks."""
    return {"prepared": _words(flight.told) or None, "hook_output": _output(flight.told)}


def follow(tick: Tick, name: str, flight: Flight, outcome: str) -> None:
    """Have the hooks run that follow a restart, however it ended."""
    if flight.after:
        tick.actions.append(
            RunAfter(
                id=flight.action_id + AFTER_SUFFIX, service=name, trigger=flight.trigger,
                reason=flight.reason, outcome=outcome,
            )
        )  # fmt: skip


def take_outcome(tick: Tick, outcome: Outcome) -> bool:
    """Tell what came of the hooks after a restart; gives whether the outcome was theirs."""
    if not outcome.action_id.endswith(AFTER_SUFFIX):
        return False
    if outcome.service in tick.services and outcome.told:
        well = all(one.ok for one in outcome.told)
        tick.event(
            EventKind.HOOKS_RAN if well else EventKind.HOOK_FAILED,
            outcome.service,
            Severity.INFO if well else Severity.WARNING,
            f"after the restart of {outcome.service}: {_words(outcome.told)}",
            action_id=outcome.action_id.removesuffix(AFTER_SUFFIX),
            hook_output=_output(outcome.told),
        )
    return True


def _words(told: tuple[Told, ...] | list[Told]) -> str:
    return "; ".join(one.message for one in told)


def _output(told: tuple[Told, ...]) -> str | None:
    return next((one.output for one in told if one.output), None)
