"""What an earlier boot wrote, read under a clock that was or is wrong."""

from dataclasses import replace

from leakguard.core.earlier_boot import in_this_boot
from leakguard.core.instant import Instant
from leakguard.core.policy import Trigger
from leakguard.core.state import Flight, RestartRecord, ServiceRecord
from leakguard.testing.clock import FakeClock


def record_of(at: Instant) -> ServiceRecord:
    """Make a record of one restart that was begun and is not over."""
    flight = Flight(
        action_id="i-1", trigger=Trigger.MANUAL, reason="asked for", began=at,
        deadline_s=60.0, old=None,
    )  # fmt: skip
    restarts = (RestartRecord(at=at, reason="manual"),)
    return ServiceRecord(name="worker", flight=flight, restarts=restarts)


def began(record: ServiceRecord) -> Instant:
    """Give when the restart began, which all of the record agrees on."""
    assert record.flight is not None
    assert [restart.at for restart in record.restarts] == [record.flight.began]
    return record.flight.began


def test_what_this_boot_wrote_stays() -> None:
    """It is the very same record, also when the wall clock was set."""
    clock = FakeClock()
    record = record_of(clock.now())
    clock.set_wall(0.0)
    assert in_this_boot(record, clock.now()) is record


def test_after_a_reboot_the_wall_clock_tells_once_how_long_ago_it_was() -> None:
    """Whatever it is set to afterwards: a restart in flight comes to its end."""
    clock = FakeClock()
    record = record_of(clock.now())
    clock.reboot(120.0)
    read = began(in_this_boot(record, clock.now()))
    assert clock.now().since(read) == 120.0
    clock.set_wall(clock.wall_s - 7200.0)
    assert clock.advance(60.0).since(read) == 180.0


def test_what_would_be_in_the_future_is_now() -> None:
    """The clock was hours ahead then, or is hours behind: it does not hold for hours."""
    clock = FakeClock()
    record = record_of(replace(clock.now(), wall_s=clock.wall_s + 1e8))
    clock.reboot(120.0)
    read = began(in_this_boot(record, clock.now()))
    assert (clock.now().since(read), clock.advance(61.0).since(read)) == (0.0, 61.0)
