"""Who is down because of another one's restart when leakguard ends or reloads."""

import pytest

from leakguard.core.engine import Rules
from leakguard.core.policy import Trigger
from leakguard.core.sample import Sample
from leakguard.core.series import Series
from leakguard.core.state import Flight, FlightStage, ServiceRecord, ServiceState, State
from leakguard.runtime.held_down import held_down
from leakguard.testing.bench import sample_of
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import run_of

NOW = FakeClock().now()
RUNS = sample_of(NOW, 100, run=run_of(), age_s=1.0, service="web")


def held(stage: FlightStage, sample: Sample | None, for_service: str = "db") -> tuple[str, ...]:
    """Give who is held down where `web` is in a restart of `db`."""
    flight = Flight(
        action_id="i-1", trigger=Trigger.DEPENDENCY, reason="db is restarted", began=NOW,
        deadline_s=60.0, old=None, stage=stage, for_service=for_service,
    )  # fmt: skip
    record = ServiceRecord(name="web", flight=flight)
    web = ServiceState(record=record, series=Series(), sample=sample)
    return held_down(State(instance="i", services={"web": web}), Rules(services={}, detectors={}))


@pytest.mark.parametrize("stage", [FlightStage.STOPPING, FlightStage.DOWN])
def test_what_was_told_to_stop_is_down(stage: FlightStage) -> None:
    """Also while it was last seen running: it may end at any moment."""
    assert held(stage, RUNS) == ("web",)


def test_what_was_told_to_start_is_down_until_it_is_seen() -> None:
    """The order may be lost: leakguard was killed, or has no turn for it any more."""
    assert held(FlightStage.ACTING, None) == ("web",)
    assert held(FlightStage.ACTING, RUNS) == ()


def test_what_was_not_stopped_yet_or_is_restarted_itself_is_not_held_down() -> None:
    """The one runs, the other one has a driver at work."""
    assert held(FlightStage.QUEUED, RUNS) == ()
    assert held(FlightStage.ACTING, None, for_service="") == ()
