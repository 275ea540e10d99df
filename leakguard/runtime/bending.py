"""Carries out what buys time: asks for limits and changes them, by the driver or in the cgroup."""

from collections.abc import Callable

from leakguard.core.decision import BendLimits, LookUpLimits
from leakguard.core.errors import DriverError, LeakguardError
from leakguard.core.inbox import Outcome, OutcomeKind
from leakguard.core.sample import Location
from leakguard.drivers.base import Driver
from leakguard.linux import bending
from leakguard.linux.cgroupfs import CgroupFs

Locate = Callable[[str], Location | None]


class Bender:
    """Knows the limits of services: by a driver that bends, else in a cgroup of their own."""

    def __init__(self, cgroups: CgroupFs, locate: Locate) -> None:
        """`locate` looks where a service is now."""
        self._cgroups = cgroups
        self._locate = locate

    def look_up(self, action: LookUpLimits, driver: Driver | None) -> Outcome:
        """Give the limits that are in force, and where.

        Raises:
            LeakguardError: they cannot be known, or are not the service's own.
        """
        here = self._locate(action.service)
        if here is None:
            raise DriverError(f"{action.service} does not run")
        if driver is not None and driver.bends:
            limits, place = driver.limits(), ""
        else:
            place = bending.own_cgroup(self._cgroups, here).directory
            limits = bending.limits_of(place)
        return Outcome(
            action_id=action.id, service=action.service, kind=OutcomeKind.DONE,
            limits=limits, place=place,
        )  # fmt: skip

    def problem(self, service: str, driver: Driver | None) -> str:
        """Say why no time could be bought for a service now; empty when its limit can be asked."""
        try:
            found = self.look_up(LookUpLimits(id="", service=service), driver).limits
        except LeakguardError as error:
            return f"no time can be bought for {service}: {error}"
        if found is None or found.max_bytes is None:
            return f"no time can be bought for {service}: it has no limit of its own"
        return ""

    def bend(self, action: BendLimits, driver: Driver | None) -> Outcome:
        """Put limits into force.

        Raises:
            LeakguardError: that could not be done.
        """
        message = ""
        if action.place:
            if bending.is_gone(action.place):
                message = "its cgroup is gone, and with it the limit"
            else:
                bending.bend(action.place, action.limits)
        elif driver is not None and driver.bends:
            driver.bend(action.limits)
        else:
            raise DriverError(f"nobody can change the limits of {action.service}", permanent=True)
        return Outcome(
            action_id=action.id, service=action.service, kind=OutcomeKind.DONE, message=message
        )
