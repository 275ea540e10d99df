"""What is done round a restart, in words, and what of it could not be done."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from leakguard.core.plan import ErrandPlan, HookSpec, Question
from leakguard.core.units import format_duration
from leakguard.linux.spawn import ChildSpec, missing_program
from leakguard.runtime.http_exchange import shown


def before_in_words(plan: ErrandPlan) -> Iterator[str]:
    """Say what is done before the driver acts."""
    if plan.ask is not None:
        yield f"asks whether it suits: {question_in_words(plan.ask)}"
    if plan.drain is not None:
        wait = format_duration(plan.drain_wait_s)
        yield f"drains it: {question_in_words(plan.drain)}, for {wait} at most"
    yield from _hooks(plan.before)


def after_in_words(plan: ErrandPlan) -> Iterator[str]:
    """Say what follows the restart."""
    yield from _hooks(plan.after)


def errand_problems(plan: ErrandPlan) -> tuple[str, ...]:
    """Find the programs that could not be run, each `what is wrong: what to do`."""
    commands = [hook.command for hook in (*plan.before, *plan.after)]
    questions = (plan.ask, plan.drain)
    commands += [asked.command for asked in questions if asked is not None and asked.command]
    found = (missing_program(ChildSpec(argv=argv)) for argv in commands)
    return tuple(dict.fromkeys(problem for problem in found if problem))


def question_in_words(question: Question) -> str:
    """Say how something is asked."""
    if question.http:
        return f"{question.method} {shown(urlsplit(question.http))}"
    return f"runs {Path(question.command[0]).name}"


def _hooks(hooks: tuple[HookSpec, ...]) -> Iterator[str]:
    for hook in hooks:
        within = format_duration(hook.within_s)
        yield f"runs {' '.join(hook.command)[:120]!r}, at most {within}"
