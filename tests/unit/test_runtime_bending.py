"""Limits are looked up and bent by a driver that can, else in the service's own cgroup."""

from collections.abc import Callable
from pathlib import Path

import pytest

from leakguard.core.decision import BendLimits, LookUpLimits
from leakguard.core.errors import DriverError
from leakguard.core.limits import MemoryLimits
from leakguard.core.sample import Incarnation, Location
from leakguard.core.units import MIB
from leakguard.drivers.base import Driver
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.bending import Bender
from leakguard.testing.drivers import ScriptedDriver

HERE = Location(root=Incarnation(boot_id="b", pid=10, start_ticks=1))
LIMITS = MemoryLimits(max_bytes=64 * MIB)


class Bending(ScriptedDriver):
    """A driver that changes limits."""

    bends = True

    def __init__(self) -> None:
        super().__init__()
        self.now = LIMITS

    def limits(self) -> MemoryLimits:
        """Give what was set last."""
        return self.now

    def bend(self, limits: MemoryLimits) -> None:
        """Take it."""
        self.now = limits


def bender(tmp_path: Path, here: Location | None = HERE) -> Bender:
    """Make a bender over an empty machine."""
    cgroups = CgroupFs(ProcFs(str(tmp_path)), str(tmp_path))
    return Bender(cgroups, lambda _service: here)


def test_a_driver_that_bends_is_asked_and_told(tmp_path: Path) -> None:
    """It knows its manager; there is no directory."""
    driver, own = Bending(), bender(tmp_path)
    found = own.look_up(LookUpLimits(id="a", service="worker"), driver)
    assert (found.action_id, found.limits, found.place) == ("a", LIMITS, "")
    wanted = MemoryLimits(max_bytes=96 * MIB)
    own.bend(BendLimits(id="b", service="worker", limits=wanted), driver)
    assert driver.now == wanted


def test_a_cgroup_that_is_gone_has_nothing_to_put_back(tmp_path: Path) -> None:
    """That is no failure."""
    action = BendLimits(id="b", service="worker", limits=LIMITS, place=str(tmp_path / "gone"))
    done = bender(tmp_path).bend(action, None)
    assert (done.kind.value, done.message) == (
        "done",
        "its cgroup is gone, and with it the limit",
    )


def test_the_files_of_its_cgroup_are_written(tmp_path: Path) -> None:
    """Without a driver that bends, and also when the service does not run any more."""
    (tmp_path / "memory.limit_in_bytes").write_text("1")
    action = BendLimits(id="b", service="worker", limits=LIMITS, place=str(tmp_path))
    bender(tmp_path, None).bend(action, ScriptedDriver())
    assert (tmp_path / "memory.limit_in_bytes").read_text() == str(64 * MIB)


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (
            lambda own: own.look_up(LookUpLimits(id="a", service="x"), None),
            "cannot be known|no mem",
        ),
        (
            lambda own: own.bend(BendLimits(id="a", service="x", limits=LIMITS), ScriptedDriver()),
            "nobody can change the limits of x",
        ),
    ],
    ids=["no cgroup", "nobody"],
)
def test_what_cannot_be_done_is_an_error(
    tmp_path: Path, act: Callable[[Bender], object], said: str
) -> None:
    """With the reason."""
    with pytest.raises(DriverError, match=said):
        act(bender(tmp_path))


def test_check_says_what_would_hinder(tmp_path: Path) -> None:
    """Before it is needed."""
    assert bender(tmp_path).problem("worker", Bending()) == ""
    driver = Bending()
    driver.now = MemoryLimits()
    assert bender(tmp_path).problem("worker", driver) == (
        "no time can be bought for worker: it has no limit of its own"
    )
    assert bender(tmp_path).problem("worker", None).startswith("no time can be bought for worker: ")


def test_a_service_that_does_not_run_has_no_limits(tmp_path: Path) -> None:
    """Nothing is bought for it."""
    driver: Driver = Bending()
    with pytest.raises(DriverError, match="worker does not run"):
        bender(tmp_path, None).look_up(LookUpLimits(id="a", service="worker"), driver)
