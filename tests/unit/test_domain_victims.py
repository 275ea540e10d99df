"""Whom the kernel would kill, as the API shows it by domain."""

from dataclasses import replace

from leakguard.core import facts
from leakguard.core.domain_victims import victims_by_domain
from leakguard.core.foretold import STALE_S, Foretold, Suspect
from leakguard.core.sample import HostSample
from leakguard.core.series import Series
from leakguard.core.state import DomainState, Expected, State
from leakguard.core.units import GIB, MIB
from leakguard.core.victim_status import SuspectStatus
from leakguard.testing.clock import FakeClock

NOW = FakeClock().now()
HOST = HostSample(total_bytes=4 * GIB, available_bytes=GIB)
TOLD = Foretold(
    domain="v1:/shop", at=NOW, outcome="kill", victim=Suspect(pid=77, name="postgres"),
    leaker=Suspect(pid=88, name="python3", service="worker"), certain=True, kills=1,
)  # fmt: skip


def state(**domains: DomainState) -> State:
    """Make a state with the host, a cgroup that was looked at, and one that was not."""
    known = DomainState(series=Series(), path="/shop", limit_bytes=512 * MIB, foretold=TOLD)
    quiet = DomainState(series=Series(), path="/calm", limit_bytes=MIB)
    return State(instance="x", domains={"v1:/shop": known, "v2:/calm": quiet, **domains})


def test_only_what_was_looked_at_is_shown() -> None:
    """With the place, the limit, and who it is."""
    (shop,) = victims_by_domain(state(), HOST, NOW)
    assert (shop.kind, shop.path, shop.version) == ("memcg", "/shop", 1)
    assert (shop.limit_bytes, shop.kills, shop.fresh) == (512 * MIB, 1, True)
    assert shop.oom.victim == SuspectStatus(pid=77, name="postgres")
    assert shop.oom.leaker == SuspectStatus(pid=88, name="python3", service="worker")
    assert (shop.ends_early, shop.ends_late) == (None, None)


def test_the_host_comes_first() -> None:
    """Its limit is its memory, as far as that was read."""
    told = replace(TOLD, domain=facts.HOST)
    both = state(**{facts.HOST: DomainState(series=Series(), foretold=told)})
    host, shop = victims_by_domain(both, HOST, NOW)
    assert (host.kind, host.path, host.version, host.limit_bytes) == ("host", "/", None, 4 * GIB)
    assert shop.path == "/shop"
    assert victims_by_domain(both, None, NOW)[0].limit_bytes is None


def test_when_it_ends_is_told_by_the_wall_clock() -> None:
    """The late edge may lie beyond the horizon."""
    known = state().domains["v1:/shop"]
    for late_s, late in ((7200.0, NOW.plus(7200.0).rfc3339()), (None, None)):
        expected = Expected(
            early_boot_s=NOW.boot_s + 60.0,
            late_boot_s=None if late_s is None else NOW.boot_s + late_s,
        )
        ending = state(**{"v1:/shop": replace(known, expected=expected)})
        (shop,) = victims_by_domain(ending, HOST, NOW)
        assert (shop.ends_early, shop.ends_late) == (NOW.plus(60.0).rfc3339(), late)


def test_an_old_look_is_said_to_be_old() -> None:
    """Processes come and go."""
    (shop,) = victims_by_domain(state(), HOST, NOW.plus(STALE_S))
    assert not shop.fresh
