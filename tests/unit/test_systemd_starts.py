"""How many starts systemd still allows, by those that were seen."""

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from leakguard.linux.systemd_starts import StartBook
from leakguard.linux.systemd_unit import Unit

W = Unit(name="w.service", burst=3, interval_s=100.0, started_us=1)


def at(boot_s: float, restarts: int = 0) -> Unit:
    """Give the unit as it was started last at a moment."""
    return replace(W, started_us=int(boot_s * 1e6), restarts=restarts)


def book(*seen: Unit) -> StartBook:
    """Look at a unit again and again."""
    made = StartBook()
    for unit in seen:
        made.seen(unit)
    return made


def test_what_was_never_seen_may_be_started() -> None:
    """There is nothing to refuse for."""
    made = StartBook()
    assert (made.wait_s("w.service", 5.0), made.left("w.service", 5.0)) == (0.0, None)
    assert (made.last("w.service"), made.started_s("w.service")) == (None, 0.0)


def test_starts_are_counted_once() -> None:
    """A second look at the same run adds nothing."""
    made = book(at(10), at(10), at(20), at(20))
    assert (made.left("w.service", 30.0), made.wait_s("w.service", 30.0)) == (1, 0.0)


def test_the_interval_begins_with_its_first_start() -> None:
    """The next start is possible when it has passed."""
    made = book(at(10), at(20), at(30))
    assert (made.left("w.service", 50.0), made.wait_s("w.service", 50.0)) == (0, 60.0)
    assert (made.left("w.service", 110.5), made.wait_s("w.service", 110.5)) == (3, 0.0)


def test_a_new_interval_begins_with_the_next_start() -> None:
    """It is no sliding one."""
    made = book(at(10), at(90), at(111))
    assert made.left("w.service", 120.0) == 2


def test_starts_by_systemd_itself_are_told_by_their_number() -> None:
    """They lie between two looks, and count as the last of them."""
    made = book(at(10), at(60, restarts=2))
    assert made.wait_s("w.service", 61.0) == 49.0


def test_a_start_by_hand_sets_the_number_back() -> None:
    """Those after it count anew."""
    made = book(at(1, restarts=9), at(200), at(210, restarts=1))
    assert made.left("w.service", 220.0) == 1


def test_starts_before_the_first_look_count_as_late_as_they_can() -> None:
    """Rather wait too long than leave the service down."""
    assert book(at(10, restarts=7)).wait_s("w.service", 50.0) == 60.0


@pytest.mark.parametrize(
    ("unit", "left"),
    [
        (replace(at(10), burst=0), None),
        (replace(at(10), interval_s=0.0), None),
        (replace(at(10), interval_s=None), 2),
    ],
)
def test_no_limit_and_one_for_ever(unit: Unit, left: int | None) -> None:
    """An interval of nothing or a burst of nothing switch it off."""
    assert book(unit).left("w.service", 1e9) == left


def test_the_start_of_the_process_is_better_than_the_stamp() -> None:
    """systemd's clock stands still while the machine sleeps."""
    made = StartBook()
    made.seen(at(10), 5010.0)
    assert made.started_s("w.service") == 5010.0


@given(st.lists(st.floats(0.1, 60), min_size=1, max_size=30), st.floats(0, 200))
def test_as_systemd_itself_counts(gaps: list[float], later: float) -> None:
    """Beside its own rule, every start seen: the same answer."""
    made, moment, began, count = StartBook(), 0.0, None, 0
    for gap in gaps:
        moment = round(moment + gap, 3)
        if made.wait_s("w.service", moment) > 0:
            break
        made.seen(at(moment))
        if began is None or moment - began > 100.0:
            began, count = moment, 1
        else:
            count += 1
        assert count <= 3
    now = moment + later
    assert began is not None
    allowed = now - began > 100.0 or count < 3
    assert (made.left("w.service", now) != 0) is allowed
