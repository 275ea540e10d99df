"""What is done round a restart: the drain and hooks before the driver acts, the hooks after it.

None of it stops a restart, since the leak does not wait: what fails or takes too long is told. What
would not be over before the deadline, or in half of the time until the memory may run out, is
skipped or cut short; the other half belongs to the stop.
"""

from collections.abc import Mapping
from pathlib import Path
from threading import Event

from leakguard.core.decision import AskLeave, RestartService, RunAfter
from leakguard.core.errors import DriverError
from leakguard.core.frozen import dataclass
from leakguard.core.inbox import Outcome, OutcomeKind, Told
from leakguard.core.instant import Clock
from leakguard.core.plan import ErrandPlan, HookSpec, Plan
from leakguard.core.units import format_duration
from leakguard.linux.children import Children
from leakguard.linux.run_command import Ended, run_command
from leakguard.linux.spawn import ChildSpec
from leakguard.runtime.hook_output import HookOutput
from leakguard.runtime.questions import Asker, Says, expand, variables

RESERVE_S = 10.0
"""Kept for the driver, of the time until the deadline (half of it at most)."""
LEAST_S = 0.5
AGAIN_S = 1.0
"""A drain that does not say when to ask again is asked after this."""
LEAST_AGAIN_S = 0.1
MOST_TAIL = 200

_NOTHING = ErrandPlan()


class Errands:
    """Runs drain and hooks, in the executor's threads."""

    def __init__(self, plan: Plan, clock: Clock, children: Children, output: HookOutput) -> None:
        """Do what `plan` says."""
        self._clock = clock
        self._children = children
        self._output = output
        self.replace(plan)

    def replace(self, plan: Plan) -> None:
        """Use another plan from the next restart on."""
        self._plans: Mapping[str, ErrandPlan] = {s.rules.name: s.errands for s in plan.services}

    def before(self, action: RestartService, cancelled: Event) -> tuple[Told, ...]:
        """Drain, then run the hooks before a restart; gives what came of each.

        The drain comes first: a heap dump halts a service that nobody waits for then.
        """
        plan = self._plan(action.service)
        if action.incarnation is None or not (plan.drain or plan.before):
            return ()
        about = _about(action, action.incarnation.pid)
        course = _Course(self._clock, action)
        told = []
        if plan.drain is not None:
            told.append(self._drain(plan, about, course, cancelled))
        return (*told, *self._hooks("before", plan.before, (about, course), cancelled))

    def run(self, action: RunAfter | AskLeave, pid: int | None, cancelled: Event) -> Outcome:
        """Carry out an errand that is an action of its own."""
        if isinstance(action, AskLeave):
            return self.ask(action, pid, cancelled)
        return self.after(action, pid, cancelled)

    def after(self, action: RunAfter, pid: int | None, cancelled: Event) -> Outcome:
        """Run the hooks that follow a restart."""
        about = {**_about(action, pid), "outcome": action.outcome}
        hooks = self._plan(action.service).after
        told = self._hooks("after", hooks, (about, None), cancelled)
        return Outcome(
            action_id=action.id, service=action.service, kind=OutcomeKind.DONE, told=told
        )

    def ask(self, action: AskLeave, pid: int | None, cancelled: Event) -> Outcome:
        """Ask a service whether it may be restarted; what cannot be understood is leave."""
        question = self._plan(action.service).ask
        if question is None:
            return _answer(action, OutcomeKind.GRANTED, "")
        asker = Asker(clock=self._clock, children=self._children, cancelled=cancelled)
        answer = asker.ask(question, _about(action, pid), action.within_s)
        match answer.says:
            case Says.YES:
                return _answer(action, OutcomeKind.GRANTED, "")
            case Says.LATER:
                return _answer(action, OutcomeKind.REFUSED, answer.message, answer.again_s)
            case Says.UNCLEAR:
                words = f"it was asked for leave in vain ({answer.message})"
                return _answer(action, OutcomeKind.GRANTED, words)

    def prune(self) -> None:
        """Delete kept output that is too old or too much."""
        self._output.prune(self._clock.now().wall_s)

    def _plan(self, service: str) -> ErrandPlan:
        return self._plans.get(service.partition(":")[0], _NOTHING)

    def _drain(
        self, plan: ErrandPlan, about: Mapping[str, str], course: "_Course", cancelled: Event
    ) -> Told:
        assert plan.drain is not None  # noqa: S101  the caller looked
        wait_s = min(plan.drain_wait_s, course.room_s())
        if wait_s < LEAST_S:
            return Told(message=f"not drained: {course.why()}")
        asker = Asker(clock=self._clock, children=self._children, cancelled=cancelled)
        left_s = asker.left(wait_s)
        while True:
            answer = asker.ask(plan.drain, about, left_s())
            took = format_duration(wait_s - left_s())
            if answer.says is Says.YES:
                return Told(message=f"drained after {took}")
            if answer.says is Says.UNCLEAR:
                return Told(message=f"the drain failed: {answer.message}", ok=False)
            again_s = AGAIN_S if answer.again_s is None else max(LEAST_AGAIN_S, answer.again_s)
            if cancelled.wait(max(0.0, min(again_s, left_s() - LEAST_AGAIN_S))):
                return Told(message="the drain was cut off: leakguard is ending", ok=False)
            if left_s() <= LEAST_AGAIN_S:
                return Told(message=f"not drained within {format_duration(wait_s)}", ok=False)

    def _hooks(
        self,
        moment: str,
        hooks: tuple[HookSpec, ...],
        circumstances: "tuple[Mapping[str, str], _Course | None]",
        cancelled: Event,
    ) -> tuple[Told, ...]:
        if not hooks:
            return ()
        about, course = circumstances
        told, (place, problem) = [], self._place(about["action_id"])
        if problem:
            told.append(Told(message=problem, ok=False))
        about = {**about, "output_dir": str(place or "")}
        for number, hook in enumerate(hooks, start=1):
            if cancelled.is_set():
                break
            name = Path(hook.command[0]).name
            if course is not None and course.room_s() < hook.within_s:
                may = format_duration(hook.within_s)
                told.append(Told(message=f"{name} skipped (it may take {may}): {course.why()}"))
                continue
            file = place / f"{moment}-{number}-{name[:60]}.txt" if place is not None else None
            told.append(self._hook(hook, about, file, cancelled))
        return self._bounded(tuple(told), place)

    def _place(self, action_id: str) -> tuple[Path | None, str]:
        try:
            return self._output.place(action_id), ""
        except OSError as error:
            return None, f"the output of hooks cannot be kept: {error.strerror or error}"

    def _hook(
        self, hook: HookSpec, about: Mapping[str, str], file: Path | None, cancelled: Event
    ) -> Told:
        name, began = Path(hook.command[0]).name, self._clock.now()
        try:
            ended = run_command(
                self._children,
                ChildSpec(argv=expand(hook.command, about), env=variables(about)),
                timeout_s=hook.within_s,
                clock=self._clock,
                cancelled=cancelled,
                keep_bytes=hook.keep_bytes,
            )
        except DriverError as error:
            return Told(message=str(error), ok=False)
        unkept = _write(file, ended.tail)
        problem = _problem(hook, ended) or unkept
        took = format_duration(self._clock.now().since(began))
        return Told(
            message=f"{name}: {problem}" if problem else f"{name} ran in {took}",
            ok=not problem,
            output=str(file.parent) if file is not None else "",
        )

    def _bounded(self, told: tuple[Told, ...], place: Path | None) -> tuple[Told, ...]:
        """Keep the bounds, and say what they cost; a directory without a file is not kept."""
        if place is None:
            return told
        dropped = self._output.prune(self._clock.now().wall_s, newest=place)
        if self._output.forget_if_empty(place):
            told = tuple(Told(message=one.message, ok=one.ok) for one in told)
        if not dropped:
            return told
        names = ", ".join(dropped)
        return (*told, Told(message=f"{names}: more than state.hook_output, not kept", ok=False))


@dataclass(frozen=True, slots=True)
class _Course:
    """How much time there is for what comes before a restart."""

    clock: Clock
    action: RestartService

    def room_s(self) -> float:
        """Give the seconds that may be used from now on."""
        return min(self._until_deadline_s(), self._until_end_s())

    def why(self) -> str:
        """Say what leaves so little room."""
        if self._until_deadline_s() < self._until_end_s():
            return "the deadline of the restart is too near"
        end_s = (self.action.end_s or 0.0) - self._elapsed_s()
        return f"the memory may run out in {format_duration(max(0.0, end_s))}"

    def _until_deadline_s(self) -> float:
        reserve_s = min(RESERVE_S, self.action.deadline_s / 2)
        return self.action.deadline_s - reserve_s - self._elapsed_s()

    def _until_end_s(self) -> float:
        if self.action.end_s is None:
            return float("inf")
        return (self.action.end_s - self._elapsed_s()) / 2

    def _elapsed_s(self) -> float:
        return self.clock.now().since(self.action.decided)


def _answer(
    action: AskLeave, kind: OutcomeKind, message: str, again_s: float | None = None
) -> Outcome:
    return Outcome(
        action_id=action.id, service=action.service, kind=kind, message=message, again_s=again_s
    )


def _about(action: RestartService | RunAfter | AskLeave, pid: int | None) -> dict[str, str]:
    return {
        "service": action.service,
        "pid": "" if pid is None else str(pid),
        "reason": action.reason,
        "trigger": action.trigger.value,
        "action_id": action.id.partition("/")[0],
    }


def _problem(hook: HookSpec, ended: Ended) -> str:
    if ended.cancelled:
        return "leakguard is ending: left running"
    if ended.code is None:
        return f"did not end within {format_duration(hook.within_s)} and was killed"
    if not ended.code:
        return ""
    said = " ".join(ended.tail.split())[-MOST_TAIL:]
    return f"exit code {ended.code}: {said}".rstrip(": ")


def _write(file: Path | None, text: str) -> str:
    """Keep what a hook printed; gives what went wrong."""
    if file is None or not text:
        return ""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        return f"its output cannot be kept: {error.strerror or error}"
    return ""
