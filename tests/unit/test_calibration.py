"""The band learns: forecasts are kept, held to what came, and move the edges."""

import json
import math
import random
from dataclasses import replace

import pytest

from leakguard.core.calibration import (
    FURTHEST,
    KEPT,
    LEAST,
    MOST_SCORE,
    NEAREST_EARLY,
    NEAREST_LATE,
    OPEN,
    SHARE,
    SURE,
    UNPROMISED,
    UNTRIED,
    Came,
    Outcomes,
    Promise,
    Promises,
    learned,
)
from leakguard.core.codec import from_plain, to_plain
from leakguard.core.forecast import EARLY, LATE, PRIOR, Z95, forecast
from leakguard.core.trend import Growth, Trend, Verdict
from leakguard.core.units import MIB
from leakguard.testing.bench import room_of

PATH = Growth(
    at_boot_s=0.0, window_s=2820.0, bucket_s=60.0, points=48, level_bytes=100.0 * MIB,
    slope_bytes_per_s=0.1 * MIB, z=100.0, noise_bytes=0.1 * MIB, rise_bytes=282.0 * MIB,
    peaks_bytes=(0.0, 0.0, 0.0, 0.0, 0.0),
)  # fmt: skip
LEAK = Trend(
    verdict=Verdict.LEAKING, reason="", slope_bytes_per_s=0.1 * MIB, value_bytes=100.0 * MIB,
    growths=(PATH,),
)  # fmt: skip
ROOM = 300.0 * MIB
ONE = Promise(
    made_boot_s=0.0, from_bytes=100.0, level_bytes=200.0, median_s=1000.0, sigma=0.2,
    early_s=700.0, late_s=1320.0,
)  # fmt: skip


def outcomes(*scores: float) -> Outcomes:
    """Make outcomes with these scores."""
    return Outcomes().add(Outcomes(scores=scores, came=(Came.INSIDE,) * len(scores)))


# ---- the edges


@pytest.mark.parametrize("count", [0, LEAST - 1])
def test_few_outcomes_say_nothing(count: int) -> None:
    """The edges stay those that hold everywhere."""
    few = outcomes(*[-5.0] * count)
    assert learned(few, few) == PRIOR


@pytest.mark.parametrize("mine", [True, False], ids=["own", "all services"])
def test_what_came_early_moves_p05_outwards_at_once(mine: bool) -> None:
    """Four scores are enough; by those of others less than by its own."""
    early = outcomes(*[-4.0] * LEAST)
    found = learned(early if mine else UNTRIED, UNTRIED if mine else early)
    assert found.early > EARLY
    assert found.early <= learned(early).early


def test_others_never_bring_p05_nearer() -> None:
    """However well theirs came out."""
    assert learned(UNTRIED, outcomes(*[0.0] * KEPT)).early == EARLY


@pytest.mark.parametrize(("count", "nearer"), [(SURE - 1, False), (SURE, True)])
def test_p05_comes_nearer_only_after_many_of_its_own(count: int, nearer: bool) -> None:
    """And by a quarter at most: nobody may die inside a safe time."""
    found = learned(outcomes(*[0.0] * count)).early
    assert (found < EARLY) == nearer
    assert found >= NEAREST_EARLY * EARLY


def test_p95_moves_both_ways() -> None:
    """With what came late outwards, with what came in time inwards."""
    assert learned(outcomes(*[5.0] * 9)).late > LATE > learned(outcomes(*[0.0] * 9)).late


@pytest.mark.parametrize("score", [-MOST_SCORE, 0.0, MOST_SCORE])
def test_edges_are_bounded(score: float) -> None:
    """Whatever came."""
    found = learned(outcomes(*[score] * KEPT), outcomes(*[score] * KEPT))
    assert NEAREST_EARLY * EARLY <= found.early <= FURTHEST * EARLY
    assert NEAREST_LATE * LATE <= found.late <= FURTHEST * LATE


@pytest.mark.parametrize("spread", [1.3, 1.6], ids=["too narrow", "much too narrow"])
def test_a_band_that_is_off_comes_to_hold_nine_in_ten(spread: float) -> None:
    """Its edges hold two thirds to three quarters before it learned, and 88 to 94 % after."""
    rng, before, after, trials = random.Random(4), 0, 0, 2000
    for _ in range(trials):
        found = learned(outcomes(*(rng.gauss(0, spread) for _ in range(KEPT))))
        truth = rng.gauss(0, spread)
        before += -EARLY <= truth <= LATE
        after += -found.early <= truth <= found.late
    assert before / trials < 0.79
    assert 0.88 <= after / trials <= 0.94


def test_the_edges_are_those_of_the_forecast() -> None:
    """p05 and p95 move, p50 stays."""
    wide = replace(PRIOR, early=2 * EARLY, late=2 * LATE)
    plain, wider = forecast(room_of(300), LEAK), forecast(room_of(300), LEAK, wide)
    assert wider.median_s == plain.median_s
    assert wider.early_sigma == pytest.approx(2 * plain.early_sigma)
    assert wider.late_sigma == pytest.approx(2 * plain.late_sigma)


# ---- what is kept of a forecast


def test_half_of_the_room_is_foreseen() -> None:
    """With the band that is told at that moment."""
    (kept,) = UNPROMISED.made(LEAK, ROOM, PRIOR).open
    told = forecast(room_of(SHARE * 300), LEAK)
    assert (kept.from_bytes, kept.level_bytes) == (100.0 * MIB, 250.0 * MIB)
    assert kept.median_s == told.median_s
    assert kept.early_s == pytest.approx(kept.median_s * math.exp(-Z95 * told.early_sigma))
    assert kept.late_s == pytest.approx(kept.median_s * math.exp(Z95 * told.late_sigma))


@pytest.mark.parametrize(
    ("trend", "room"),
    [
        (replace(LEAK, verdict=Verdict.UNKNOWN), ROOM),
        (replace(LEAK, verdict=Verdict.WARMING_UP), ROOM),
        (replace(LEAK, growths=()), ROOM),
        (LEAK, None),
        (LEAK, 0.0),
        (LEAK, 1.0 * MIB),
    ],
    ids=["no leak yet", "warming up", "no path", "no limit", "no room", "too soon"],
)
def test_what_teaches_nothing_is_not_kept(trend: Trend, room: float | None) -> None:
    """Growth that was never called a leak may end by itself."""
    assert UNPROMISED.made(trend, room, PRIOR).open == ()


def test_a_leak_that_is_doubted_for_a_while_is_followed() -> None:
    """Once it was called a leak; a service that is stable again is not."""
    leaked = Promises(leaked=True)
    doubted, calm = (replace(LEAK, verdict=v) for v in (Verdict.UNKNOWN, Verdict.STABLE))
    assert (len(leaked.made(doubted, ROOM, PRIOR).open), leaked.made(calm, ROOM, PRIOR).open) == (
        1,
        (),
    )


def test_the_next_is_kept_half_way_to_the_level() -> None:
    """And no more than a few wait at a time."""
    promises, counts = UNPROMISED, []
    for mib in (100, 174, 175, 231, 232, 350, 399):
        promises = promises.made(replace(LEAK, value_bytes=mib * MIB), (400 - mib) * MIB, PRIOR)
        counts.append(len(promises.open))
    assert counts == [1, 1, 2, 2, 3, 4, 4]
    assert max(counts) == OPEN


# ---- what came of it


@pytest.mark.parametrize(
    ("took_s", "came"),
    [(699.0, Came.EARLY), (700.0, Came.INSIDE), (1320.0, Came.INSIDE), (1321.0, Came.LATE)],
)
def test_a_level_that_is_reached_is_held_to_the_band(took_s: float, came: Came) -> None:
    """By the first sample that is as high."""
    waiting = Promises(open=(ONE,), leaked=True)
    assert waiting.held_to(took_s, 199.0) == (waiting, UNTRIED)
    left, found = waiting.held_to(took_s, 200.0)
    assert (left, found.came, len(found.scores)) == (Promises(leaked=True), (came,), 1)


def test_a_score_counts_in_deviations_of_the_forecast() -> None:
    """Twice as soon is as far off as half as soon; in time is nothing."""
    early, in_time, late = ONE.score(500.0), ONE.score(1000.0), ONE.score(2000.0)
    assert in_time == 0.0
    assert early == pytest.approx(-late, rel=0.01)
    assert late == pytest.approx(math.log(2) / 0.2, rel=0.01)


def test_what_does_not_come_is_not_waited_for() -> None:
    """Six deviations late is late."""
    _, found = Promises(open=(ONE,), leaked=True).held_to(5000.0, 150.0)
    assert (found.scores, found.came) == ((MOST_SCORE,), (Came.LATE,))


@pytest.mark.parametrize(
    ("at_s", "killed", "came"),
    [
        (1000.0, False, ()),
        (2000.0, False, (Came.LATE,)),
        (600.0, True, (Came.EARLY,)),
        (1000.0, True, (Came.INSIDE,)),
    ],
    ids=["restarted in time", "restarted when late", "killed early", "killed in time"],
)
def test_the_end_of_a_life_tells(at_s: float, killed: bool, came: tuple[Came, ...]) -> None:
    """A kill reached every level; a restart says only of what is late already that it is."""
    assert Promises(open=(ONE,)).ended(at_s, killed=killed).came == came


def test_only_the_newest_are_kept() -> None:
    """Scores and how they came, side by side."""
    many = outcomes(*range(KEPT + 8))
    assert (len(many), len(many.came), many.scores[-1]) == (KEPT, KEPT, KEPT + 7)


def test_outcomes_survive_as_plain_data() -> None:
    """They are part of a record in the store."""
    known = Outcomes(scores=(-1.5, 0.25), came=(Came.EARLY, Came.INSIDE))
    assert from_plain(Outcomes, json.loads(json.dumps(to_plain(known)))) == known
