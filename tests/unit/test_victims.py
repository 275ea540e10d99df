"""Who dies when a domain is used up, and how sure that is."""

from typing import Any

from leakguard.core.badness import Candidate, Era, Outcome
from leakguard.core.headroom import Headroom
from leakguard.core.victims import Domain, DomainKind, End, Growth, KillerRules, Prediction, predict

PAGE = 4096
RULES = KillerRules(counter_error_pages=186)


def one(pid: int, pages: int, **more: Any) -> Candidate:
    """Make a candidate."""
    return Candidate(pid=pid, name=f"p{pid}", rss_pages=pages, **more)


def domain(**more: Any) -> Domain:
    """Make a group of 128 MiB."""
    facts: dict[str, Any] = {
        "kind": DomainKind.MEMCG,
        "path": "/a",
        "limit_bytes": 128 << 20,
        "usage_bytes": 64 << 20,
        "headroom": Headroom(low_bytes=64 << 20, high_bytes=64 << 20),
        "total_pages": 32768,
    }
    return Domain(**facts | more)


def named(prediction: Prediction) -> tuple[int | None, int | None, bool]:
    """Give victim, runner-up and certainty."""
    victim, second = prediction.victim, prediction.runner_up
    pids = [candidate.pid if candidate else None for candidate in (victim, second)]
    return pids[0], pids[1], prediction.certain


def test_the_largest_dies() -> None:
    """With a gap beyond the error of the counters it is certain."""
    prediction = predict(domain(), [one(1, 10_000), one(2, 9_000)], RULES)
    assert named(prediction) == (1, 2, True)
    assert (prediction.gap_points, prediction.error_points, prediction.kills) == (1000, 186, (1,))


def test_near_equals_are_not_certain() -> None:
    """186 pages are what three counters of two CPUs may be off."""
    prediction = predict(domain(), [one(1, 10_000), one(2, 9_900)], RULES)
    assert named(prediction) == (1, 2, False)
    assert prediction.why_uncertain == (
        "p1 (1) and p2 (2) are 100 points apart, and that is known to ±186 only"
    )


def test_exact_counters_decide_by_a_page() -> None:
    """From 7.0 on; only equals are left to the order of the scan."""
    exact = KillerRules(counter_error_pages=0)
    assert named(predict(domain(), [one(1, 101), one(2, 100)], exact)) == (1, 2, True)
    assert named(predict(domain(), [one(1, 100), one(2, 100)], exact)) == (2, 1, False)


def test_one_alone_is_certain() -> None:
    """There is nobody else."""
    assert named(predict(domain(), [one(1, 5)], RULES)) == (1, None, True)


def test_mapped_files_melt() -> None:
    """A process of 29,092 mapped pages is not the victim that it seems to be."""
    mapper, other = one(1, 29_092, file_pages=27_300), one(2, 15_000)
    melting = domain(mapped_file_pages=27_400)
    prediction = predict(melting, [mapper, other], RULES)
    assert named(prediction) == (2, 1, True)
    assert prediction.runner_up == mapper
    assert [scored.points for scored in prediction.ranked] == [15_000, 1_792]


def test_files_charged_elsewhere_stay() -> None:
    """Only what the domain itself holds can melt: its libraries may be somebody else's."""
    prediction = predict(domain(mapped_file_pages=0), [one(1, 5_000, file_pages=1_600)], RULES)
    assert [scored.points for scored in prediction.ranked] == [5_000]


def test_hot_code_widens_the_error() -> None:
    """A process that runs keeps some of its pages under pressure."""
    candidates = [one(1, 10_000, file_pages=5_000), one(2, 4_700)]
    prediction = predict(domain(mapped_file_pages=9_000), candidates, RULES)
    assert (named(prediction), prediction.error_points) == ((1, 2, False), 442)


def test_growth_is_projected_to_the_end() -> None:
    """The small one that grows is the largest when the group is full."""
    growth = {2: Growth(slope_bytes_per_s=PAGE * 10.0)}
    candidates = [one(1, 10_000), one(2, 2_000)]
    assert named(predict(domain(), candidates, RULES)) == (1, 2, True)
    later = predict(domain(), candidates, RULES, growth=growth, within_s=(1600, 1700))
    assert (named(later), later.leaker) == ((2, 1, True), 2)
    assert later.victim == candidates[1]


def test_the_leaker_is_not_always_the_victim() -> None:
    """It is told apart."""
    growth = {2: Growth(slope_bytes_per_s=PAGE), 3: Growth(slope_bytes_per_s=-PAGE * 5)}
    prediction = predict(
        domain(), [one(1, 20_000), one(2, 10), one(3, 10)], RULES, growth=growth, within_s=(9, 9)
    )
    assert (named(prediction)[0], prediction.leaker) == (1, 2)


def test_nobody_grows() -> None:
    """A shrinking process is no leaker."""
    growth = {1: Growth(slope_bytes_per_s=-1.0)}
    assert predict(domain(), [one(1, 10)], RULES, growth=growth).leaker is None


def test_slope_error_is_error() -> None:
    """Two standard errors of both slopes over the time."""
    growth = {
        1: Growth(slope_bytes_per_s=0.0, error_bytes_per_s=3.0 * PAGE),
        2: Growth(slope_bytes_per_s=0.0, error_bytes_per_s=4.0 * PAGE),
    }
    candidates = [one(1, 10_000), one(2, 9_000)]
    soon = predict(domain(), candidates, RULES, growth=growth, within_s=(10, 10))
    late = predict(domain(), candidates, RULES, growth=growth, within_s=(100, 100))
    assert (soon.error_points, named(soon)) == (286, (1, 2, True))
    assert (late.error_points, named(late)) == (1186, (1, 2, False))


def test_both_ends_of_the_interval_must_agree() -> None:
    """Early it is the large one, late the growing one: not certain."""
    growth = {2: Growth(slope_bytes_per_s=PAGE * 10.0)}
    prediction = predict(
        domain(), [one(1, 10_000), one(2, 2_000)], RULES, growth=growth, within_s=(100, 1900)
    )
    assert named(prediction) == (2, 1, False)
    assert prediction.why_uncertain == "it would be p1 (1) if the domain is used up early"


def test_two_counters_that_disagree_are_not_certain() -> None:
    """Where the exact counter names another one, both are worth a look."""
    candidates = [one(1, 10_000), one(2, 9_700)]
    prediction = predict(domain(), candidates, RULES, other_rss={1: 9_600, 2: 9_700})
    assert named(prediction) == (1, 2, False)
    assert prediction.why_uncertain == "it would be p2 (2) by the exact counters"
    agreeing = predict(domain(), candidates, RULES, other_rss={1: 10_010})
    assert named(agreeing) == (1, 2, True)


def test_ends_without_a_kill_name_nobody() -> None:
    """The ranking stays for who wants to see it."""
    for end in (End.HANG, End.ENOMEM):
        prediction = predict(domain(end=end, end_reason="because"), [one(1, 10)], RULES)
        assert (prediction.outcome, named(prediction)) == (Outcome.NOBODY, (None, None, False))
        assert (prediction.why_uncertain, len(prediction.ranked)) == ("because", 1)


def test_panic_and_the_allocating_task() -> None:
    """No process can be named."""
    panic = predict(domain(end=End.PANIC), [one(1, 10)], RULES)
    allocator = predict(domain(end=End.ALLOCATOR), [one(1, 10)], RULES)
    assert (panic.outcome, panic.why_uncertain) == (Outcome.PANIC, "the machine stops instead")
    assert (allocator.outcome, named(allocator)) == (Outcome.ALLOCATOR, (None, None, False))


def test_an_empty_domain() -> None:
    """There is nobody to kill."""
    prediction = predict(domain(), [], RULES)
    assert (prediction.outcome, prediction.why_uncertain) == (
        Outcome.NOBODY,
        "there is nobody to kill",
    )


def test_thousandths_are_coarse() -> None:
    """In 2.6.36 to 3.4 the error is at least a point."""
    rules = KillerRules(era=Era.PER_MILLE, counter_error_pages=192)
    prediction = predict(domain(), [one(1, 10_000), one(2, 9_900)], rules)
    assert (prediction.gap_points, prediction.error_points, prediction.certain) == (3, 6, False)


def test_a_child_that_dies_for_its_parent() -> None:
    """Both orders must be sure: parent against strangers, child against its siblings."""
    rules = KillerRules(era=Era.PLAIN_CHILDREN, counter_error_pages=192)
    family = [one(1, 9_000), one(2, 5_000, parent=1), one(3, 4_900, parent=1)]
    assert named(predict(domain(), [*family, one(4, 6_000)], rules)) == (2, 3, False)
    apart = [*family[:2], one(3, 2_000, parent=1)]
    assert named(predict(domain(), [*apart, one(4, 8_900)], rules)) == (2, 3, False)
    assert named(predict(domain(), [*apart, one(4, 6_000)], rules)) == (2, 3, True)


def test_legacy_counts_address_space_exactly() -> None:
    """There are no counters to be off."""
    rules = KillerRules(era=Era.LEGACY, counter_error_pages=192)
    candidates = [one(1, 1, total_vm_pages=9_001), one(2, 1, total_vm_pages=9_000)]
    assert named(predict(domain(), candidates, rules)) == (1, 2, True)
