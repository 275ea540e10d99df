"""The two causes told apart, and the words for how a domain ends."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from leakguard.core.badness import Candidate, Outcome
from leakguard.core.findings import causes, ending, examine, need_of, title, trend_gap, worst
from leakguard.core.findings.causes import reached
from leakguard.core.findings.facts import (
    DomainFacts,
    Held,
    KillerFacts,
    Psi,
    ServiceFacts,
    SwapFacts,
    Tenant,
)
from leakguard.core.findings.finding import listed
from leakguard.core.headroom import Headroom
from leakguard.core.severity import Severity
from leakguard.core.trend import Verdict
from leakguard.core.units import GIB, MIB
from leakguard.core.victims import End
from leakguard.testing.facts import (
    case,
    domain,
    guard,
    host,
    leaking,
    machine,
    prediction,
    service,
    unit,
)

LEAK_PER_S = MIB / 100


def tenants(*sizes: int) -> tuple[Tenant, ...]:
    """Give guarded services a, b, c, … of so many MiB."""
    return tuple(
        Tenant(name="abcdef"[at], size_bytes=size * MIB, guarded=True)
        for at, size in enumerate(sizes)
    )


def test_a_calm_domain_has_no_cause() -> None:
    """Room, and nobody grows."""
    assert causes(domain(), (service(),)) == ()


def test_a_leak_is_named_with_slope_and_sizes() -> None:
    """Ten hours at 36 MiB/h added at most 360 of its 500 MiB."""
    (cause,) = causes(domain(used=600 * MIB), (leaking(),))
    assert cause.key == "leak"
    assert cause.what == "worker leaks 36.0 MiB/h"
    assert cause.severity is Severity.WARNING
    assert "It holds 500 MiB, of which its leak added 360 MiB at most" in cause.why
    assert "fills cgroup /jobs in 11h 46m" in cause.why
    assert cause.evidence["steady_bytes"] == 140 * MIB
    assert cause.evidence["slope_bytes_per_s"] == LEAK_PER_S


def test_the_daemons_forecast_is_taken_where_there_is_one() -> None:
    """Its range is better than headroom over slope; what it does not foresee is far away."""
    told = leaking(reached_s={"/jobs": (7200.0, 10800.0), "host": (None, None)})
    (cause,) = causes(domain(used=600 * MIB), (told,))
    (far,) = causes(host(), (told,))
    open_end = leaking(reached_s={"/jobs": (7200.0, None)})
    (late,) = causes(domain(used=600 * MIB), (open_end,))
    assert "in 2h to 3h" in cause.why
    assert "in more than 30 days" in far.why
    assert "in 2h or more" in late.why


def test_who_does_not_grow_never_fills_a_domain() -> None:
    """There is no time to be given."""
    assert reached(domain(), service()) == (None, None)


def test_a_unit_that_goes_on_needs_no_word() -> None:
    """OOMPolicy=continue: only the victim dies, and it may be the last candidate."""
    facts = domain(victim_unit=unit(), prediction=prediction(runner_up=None))
    assert ending(facts, case()).endswith("Then the kernel kills postgres (pid 812).")


def test_a_leak_takes_no_more_than_its_size() -> None:
    """Slope × age is a bound, and the size is another."""
    old = leaking(age_s=1e9)
    assert old.leaked_bytes == 500 * MIB
    assert leaking(age_s=None).leaked_bytes == 0
    assert service().leaked_bytes == 0


@pytest.mark.parametrize(
    ("held_by", "severity"), [("", Severity.WARNING), ("it is only observed", Severity.CRITICAL)]
)
def test_a_near_end_is_critical_where_nobody_acts(held_by: str, severity: Severity) -> None:
    """Where leakguard restarts it in time, it is only a leak."""
    near = leaking(held_by=held_by, reached_s={"/jobs": (600.0, 900.0)})
    (cause,) = causes(domain(used=600 * MIB), (near,))
    assert cause.severity is severity
    assert (held_by or "leakguard restarts it before that") in cause.fix


def test_leaks_come_fastest_first_and_only_where_they_live() -> None:
    """A service of another domain does not fill this one."""
    slow = leaking(name="slow", slope_bytes_per_s=LEAK_PER_S / 10)
    elsewhere = leaking(name="elsewhere", domains=("host",))
    found = causes(domain(), (slow, leaking(), elsewhere))
    assert [cause.about for cause in found] == ["worker", "slow"]


def test_growth_that_is_too_young_is_said_as_such() -> None:
    """A start-up grows too; only a near end makes it loud."""
    young = service(verdict=Verdict.WARMING_UP, slope_bytes_per_s=LEAK_PER_S)
    (calm,) = causes(domain(), (young,))
    (near,) = causes(domain(used=1000 * MIB), (replace(young, slope_bytes_per_s=MIB),))[1:]
    assert (calm.key, calm.severity) == ("may_leak", Severity.INFO)
    assert (near.key, near.severity) == ("may_leak", Severity.WARNING)


def test_too_many_services_give_the_numbers() -> None:
    """95 % needed without a leak: what is there, what is missing, who could go."""
    here = tuple(service(name=name, size_bytes=320 * MIB) for name in ("a", "b", "c"))
    full = domain(used=973 * MIB, tenants=tenants(400, 320, 240))
    (cause,) = causes(full, here)
    assert cause.key == "too_many_services"
    assert cause.severity is Severity.WARNING
    assert cause.what == (
        "too many services for cgroup /jobs: 973 MiB of 1.00 GiB needed steadily (95 %)"
    )
    assert "51.0 MiB are left even if nothing leaks" in cause.why
    assert "In it: a 400 MiB, b 320 MiB, c 240 MiB." in cause.why
    assert "Not certain" not in cause.why
    assert cause.fix == "raise its limit by 193 MiB, to 1.19 GiB, or move c (240 MiB) elsewhere"
    assert cause.evidence["add_bytes"] == 193 * MIB


def test_what_is_advised_leaves_a_fifth() -> None:
    """The larger limit has 20 % left beside the same steady sizes."""
    (cause,) = causes(domain(used=973 * MIB), (service(size_bytes=900 * MIB),))
    added = cause.evidence["add_bytes"]
    assert isinstance(added, int)
    assert (1024 * MIB + added - 973 * MIB) / (1024 * MIB + added) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(("used", "keys"), [(921, []), (922, ["too_many_services"])])
def test_a_tenth_left_is_the_border(used: int, keys: list[str]) -> None:
    """921.6 MiB are 90 % of 1 GiB."""
    assert [cause.key for cause in causes(domain(used=used * MIB), (service(),))] == keys


def test_almost_nothing_left_is_critical() -> None:
    """One per cent, and one beyond the limit, are worse than a warning."""
    near, over = domain(used=1014 * MIB), domain(used=1100 * MIB)
    (doubtful,) = causes(near, ())
    (others,) = causes(replace(near, tenants=tenants(9)), (service(domains=("host",)),))
    assert (doubtful.severity, others.severity) == (Severity.WARNING, Severity.INFO)
    assert others.what.startswith("cgroup /jobs is too small for a: ")
    (first,) = causes(near, (service(size_bytes=900 * MIB),))
    (second,) = causes(over, (service(size_bytes=900 * MIB),))
    assert {first.severity, second.severity} == {Severity.CRITICAL}
    assert "76.0 MiB are missing even if nothing leaks" in second.why


def test_a_leak_that_fills_a_domain_is_not_too_many_services() -> None:
    """Without what it added there is room enough."""
    found = causes(domain(used=980 * MIB), (leaking(),))
    assert [cause.key for cause in found] == ["leak"]
    need = need_of(domain(used=980 * MIB), (leaking(),))
    assert (need.steady, need.leaked, need.left) == (620 * MIB, 360 * MIB, 404 * MIB)


def test_both_causes_may_hold() -> None:
    """A slow leak in a domain that is full without it."""
    slow = leaking(slope_bytes_per_s=LEAK_PER_S / 100)
    found = causes(domain(used=980 * MIB), (slow,))
    assert [cause.key for cause in found] == ["leak", "too_many_services"]
    assert "without the 3.60 MiB that leaks added" in found[1].why


def test_the_host_is_offered_ram_and_swap() -> None:
    """RAM alone raises what may be left, so less of swap is needed."""
    (cause,) = causes(host(used=9 * GIB + GIB // 2, tenants=tenants(4000, 3000)), (service(),))
    assert cause.fix == ("add 1.88 GiB of RAM, or 1.50 GiB of swap, or move b (2.93 GiB) elsewhere")


def test_more_than_ram_lives_in_swap() -> None:
    """With swap left it still is too much: that part is always slow."""
    (cause,) = causes(host(used=8 * GIB + 512 * MIB), (service(),))
    assert cause.key == "too_many_services"
    assert "lives in swap" in cause.why


def test_under_overcommit_2_promises_count() -> None:
    """More swap, or a larger ratio: RAM that is used does not matter."""
    full = host(
        end=End.ENOMEM,
        held=Held(used_bytes=5 * GIB, capacity_bytes=5 * GIB, fast_bytes=5 * GIB),
    )
    (cause,) = causes(full, (service(),))
    assert cause.fix.startswith("raise vm.overcommit_ratio, or add 1.00 GiB of swap")
    assert "lives in swap" not in cause.why


def test_one_tenant_alone_is_not_told_to_move() -> None:
    """Then there is nobody to make room for."""
    (cause,) = causes(domain(used=980 * MIB, tenants=tenants(950)), (service(),))
    assert "move" not in cause.fix


def test_a_group_that_is_too_small_for_all_moves_its_largest() -> None:
    """Where nobody alone is enough, the largest helps most; several processes are counted."""
    many = Tenant(name="php", size_bytes=90 * MIB, processes=12)
    full = domain(used=1020 * MIB, tenants=(many, Tenant(name="sh", size_bytes=MIB)))
    (cause,) = causes(full, ())
    assert cause.fix.endswith("or move php (12 processes) (90.0 MiB) elsewhere")


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ((), "sizes are those of now, and no trend is known"),
        ((service(trend_known=False, verdict=Verdict.UNKNOWN),), "no trend is known"),
        ((service(verdict=Verdict.WARMING_UP),), "the trend of worker is not known yet"),
        ((service(size_bytes=MIB),), "most of it is not guarded"),
        ((service(),), ""),
    ],
)
def test_what_is_not_known_of_the_trends_is_said(
    services: tuple[ServiceFacts, ...], words: str
) -> None:
    """Without a daemon a leak cannot be told from a need."""
    gap = trend_gap(domain(used=400 * MIB), services)
    assert words in gap
    assert bool(gap) == bool(words)


def test_without_a_trend_too_many_is_not_certain() -> None:
    """It says so, and what it may be instead."""
    (cause,) = causes(domain(used=980 * MIB), ())
    assert "Not certain: sizes are those of now, and no trend is known, so a leak" in cause.why


def test_a_kill_is_told_with_the_service_and_what_follows() -> None:
    """Headroom, victim, what systemd does, and who would be next."""
    held = unit(name="postgresql.service", oom_policy="stop", restart="no")
    facts = domain(
        victim_service="db",
        victim_unit=held,
        headroom=Headroom(low_bytes=600 * MIB, high_bytes=624 * MIB),
    )
    assert ending(facts, case()) == (
        "600 to 624 MiB can still be taken. Then the kernel kills postgres (pid 812), which is db. "
        "systemd then stops all of postgresql.service (OOMPolicy=stop) and does not start it again "
        "(Restart=no). After that it would be java (pid 99)."
    )


def test_a_group_kill_is_told_with_all_names() -> None:
    """The unit's own policy needs no word then."""
    killed = tuple(Candidate(pid=pid, name=name) for pid, name in ((812, "postgres"), (9, "sh")))
    text = ending(domain(killed=killed, group_kill="/jobs", victim_unit=unit()), case())
    assert "The whole cgroup /jobs dies with sh (memory.oom.group)." in text


def test_who_shares_the_memory_dies_too() -> None:
    """Of two processes with one memory, only one is logged."""
    killed = (Candidate(pid=812, name="postgres"), Candidate(pid=9, name="helper"))
    assert "helper shares its memory and dies too." in ending(domain(killed=killed), case())


def test_doubt_is_told_with_its_reason() -> None:
    """An adjustment is shown, and "most likely" is not "certain"."""
    victim = Candidate(pid=5, name="a", oom_score_adj=300)
    unsure = prediction(victim=victim, certain=False, why_uncertain="a and b are 3 points apart")
    text = ending(domain(prediction=unsure), case())
    assert "the kernel most likely kills a (pid 5, oom_score_adj 300)." in text
    assert "Not certain: a and b are 3 points apart." in text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (domain(end=End.HANG), "3 processes in it stand still"),
        (host(end=End.PANIC), "the whole machine panics (vm.panic_on_oom) and stays down"),
        (host(end=End.ENOMEM), "can still be promised. Then nobody is killed: allocations fail"),
        (host(end=End.ALLOCATOR), "kills whoever asks for memory at that moment"),
        (host(end=End.ALLOCATOR), "; the usual victim where that one cannot be killed."),
        (domain(throttled_from=700 * MIB), "From 700 MiB on (memory.high) it is slowed down"),
        (
            domain(end=End.THROTTLED, throttled_from=1024 * MIB),
            "Then nobody is killed: 3 processes in it are slowed down as they ask for memory",
        ),
        (domain(used=1024 * MIB), "Nothing more can be taken: it is full."),
    ],
)
def test_other_ends_are_told_as_they_are(facts: DomainFacts, words: str) -> None:
    """Not every lack of memory ends in a kill."""
    assert words in ending(facts, case())


def test_a_panicked_machine_may_come_back() -> None:
    """kernel.panic says after how long."""
    text = ending(host(end=End.PANIC), case(machine=machine(panic_s=30)))
    assert "and boots again after 30 s" in text


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (domain, "allocations in it fail or wait"),
        (host, "and the machine panics"),
    ],
)
def test_nobody_to_kill(facts: Callable[..., DomainFacts], words: str) -> None:
    """A cgroup waits, the host panics; an empty cgroup has nobody in it."""
    nobody = prediction(outcome=Outcome.NOBODY, victim=None, runner_up=None, kills=())
    assert words in ending(facts(prediction=nobody, killed=()), case())
    empty = facts(prediction=nobody, killed=(), processes=0)
    assert "No process is in it now" in ending(empty, case())


def test_killers_beside_the_kernel_come_first_on_the_host() -> None:
    """They look at the host, not at a cgroup's limit."""
    beside = case(machine=machine(killers=(KillerFacts(name="earlyoom", pid=7, rule=""),)))
    assert ending(host(), beside).endswith("Before that, earlyoom may kill by a rule of its own.")
    assert "earlyoom" not in ending(domain(), beside)


def test_domains_have_titles() -> None:
    """With what they can hold."""
    assert title(host(), case()) == "host: 8.00 GiB RAM, 2.00 GiB swap"
    assert title(host(), case(machine=machine(swap=SwapFacts()))) == "host: 8.00 GiB RAM, no swap"
    assert title(domain(), case()) == "cgroup /jobs: 1.00 GiB limit"


def test_everything_is_examined_the_loudest_first() -> None:
    """Rules about machine, services, domains and guard all speak."""
    odd = case(
        machine=machine(panic_on_oom=1, psi=Psi.OFF),
        guard=guard(oom_score_adj=0, can_trace=False),
        services=(service(units=(unit(oom_policy="stop", restart="no"),)),),
        domains=(host(), domain(throttled_from=MIB)),
    )
    found = examine(odd)
    keys = [finding.key for finding in found]
    assert keys[0] == "panic_on_oom"
    assert set(keys[1:3]) == {"oom_policy_stop", "throttled"}
    assert set(keys[3:]) == {"disk_swap", "psi_off", "cannot_trace", "guard_unprotected"}
    assert worst(found) is Severity.CRITICAL
    assert worst(()) is None
    assert all(finding.what and finding.why and finding.fix for finding in found)


@pytest.mark.parametrize(
    ("names", "text"),
    [((), ""), (("a",), "a"), (("a", "b"), "a and b"), (("a", "b", "c"), "a, b and c"),
     (tuple("abcdefg"), "a, b, c, d and 3 more")],
)  # fmt: skip
def test_names_are_listed(names: tuple[str, ...], text: str) -> None:
    """The first few, and how many more."""
    assert listed(names) == text
