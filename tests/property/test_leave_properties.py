"""Whatever a service answers and whenever leakguard crashes: busy is respected, and bounded."""

from hypothesis import example, given, settings, strategies as st

from leakguard.core.decision import AskLeave, RestartService
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.policy import GuardRules, LeaveRules, RestartRules, Trigger
from leakguard.runtime.restore import restore
from leakguard.store.base import Saved
from leakguard.store.loading import LEAP
from leakguard.testing.bench import NAME, Bench, guarded, threshold

AT_MOST_S = 600.0
WITHIN_S = 5.0
RULES = RestartRules(
    driver="fake", deadline_s=30.0, leave=LeaveRules(within_s=WITHIN_S, at_most_s=AT_MOST_S)
)
ANSWERS = st.sampled_from(["granted", "busy", "lost", "failed"])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["look", "look", "answer", "answer", "crash", "restarted"]),
        ANSWERS,
        st.floats(0.5, 400.0),
        st.sampled_from([None, 0.0, 1.0, 60.0, 300.0, 1e6]),
    ),
    max_size=25,
)


class World:
    """One service over its threshold all the time, and what is known of what it said."""

    def __init__(self) -> None:
        rules = guarded(
            threshold(100), restart=RULES, guards=GuardRules(max_restarts=1000, per_s=60.0)
        )
        self.bench = Bench(rules=rules)
        self.questions: list[AskLeave] = []
        self.mail: list[Outcome] = []
        self.pid = 100
        self.busy_until = 0.0
        self.wanted_since: float | None = None
        self.restarts = 0

    def look(self, after_s: float) -> None:
        """Let time pass, look, and check what was decided."""
        mail, self.mail = tuple(self.mail), []
        made = self.bench.see(200, after_s=after_s, pid=self.pid, age_s=500.0, outcomes=mail)
        for outcome in mail:
            if outcome.kind is OutcomeKind.REFUSED:
                again_s = 60.0 if outcome.again_s is None else max(1.0, outcome.again_s)
                self.busy_until = self.bench.clock.boot_s + again_s
        now = self.bench.clock.boot_s
        flight = self.bench.service.record.flight
        if self.wanted_since is None and (flight is None or made.actions):
            self.wanted_since = now
        for action in made.actions:
            if isinstance(action, AskLeave):
                assert now >= self.busy_until or self.bound_reached(now)
                self.questions.append(action)
            elif isinstance(action, RestartService):
                self.check_restart(action, now)

    def check_restart(self, action: RestartService, now: float) -> None:
        """A restart while it was busy is one whose bound was reached."""
        assert action.trigger is Trigger.THRESHOLD
        assert now >= self.busy_until or self.bound_reached(now)
        self.restarts += 1
        self.questions.clear()
        self.busy_until, self.wanted_since = 0.0, None

    def bound_reached(self, now: float) -> bool:
        """Tell whether the service was put off for all that it gets."""
        return self.wanted_since is not None and now - self.wanted_since >= AT_MOST_S

    def answer(self, how: str, again_s: float | None) -> None:
        """Answer the oldest question."""
        if not self.questions or how == "lost":
            return
        question = self.questions.pop(0)
        kind = {
            "granted": OutcomeKind.GRANTED,
            "busy": OutcomeKind.REFUSED,
            "failed": OutcomeKind.FAILED,
        }[how]
        self.mail = [Outcome(action_id=question.id, service=NAME, kind=kind, again_s=again_s)]
        leave = self.bench.service.record.leave
        if leave is None or leave.action_id != question.id or leave.asked is None:
            self.mail = []  # it came too late, and is dropped: busy from it binds nobody

    def crash(self) -> None:
        """End the daemon: answers on their way are lost."""
        self.mail.clear()
        self.questions.clear()
        self.bench.state = restore(
            Saved(
                instance="prop",
                serial=self.bench.state.serial + LEAP,
                records={NAME: self.bench.service.record},
            )
        )

    def come_back(self) -> None:
        """Let the restart in flight succeed."""
        if self.bench.service.record.flight is not None:
            self.pid += 1

    def settle(self) -> None:
        """Let a restart in flight come to its end, and the back-off of those that failed pass."""
        self.come_back()
        while self.bench.service.record.flight is not None or self.backs_off():
            self.look(10.0)
            self.come_back()

    def backs_off(self) -> bool:
        """Tell whether restarts that failed hold back the next one, which nobody is asked for."""
        retry_at = self.bench.service.record.retry_at
        return retry_at is not None and self.bench.clock.boot_s < retry_at.boot_s


FAILED_ONE_AFTER_THE_OTHER = [
    ("look", "granted", after_s, None)
    for after_s in (11.0, 31.0, 5.0, 11.0, 31.0, 15.0, 11.0, 31.0, 60.0, 11.0)
]


@settings(max_examples=80, deadline=None)
@given(steps=STEPS)
@example(steps=FAILED_ONE_AFTER_THE_OTHER)
def test_busy_is_respected_and_bounded(
    steps: list[tuple[str, str, float, float | None]],
) -> None:
    """Never a restart before the promised time unless its bound is reached, and always one after.

    However often it is busy, answers are lost or the daemon crashes: once nothing else holds the
    restart and it is looked at every few seconds for as long as it may be put off, it has come.
    """
    world = World()
    world.look(1.0)
    for what, how, after_s, again_s in steps:
        match what:
            case "answer":
                world.answer(how, again_s)
                world.look(0.5)
            case "crash":
                world.crash()
                world.look(0.5)
            case "restarted":
                world.come_back()
                world.look(0.5)
            case _:
                world.look(after_s)
    world.settle()
    before = world.restarts
    for _ in range(int((AT_MOST_S + 100.0) / 10.0)):
        world.look(10.0)
        if world.restarts > before:
            return
        world.answer("busy", 1e6)
        world.come_back()
    raise AssertionError("it was put off for ever")
