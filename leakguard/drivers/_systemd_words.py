"""What the settings and the state of a unit mean for a restart, in words."""

from collections.abc import Iterator

from leakguard.core.units import counted, format_duration
from leakguard.linux.systemd_unit import Unit

_NO_START_AFTER_KILL = frozenset({"no", "on-success", "on-abort", "on-abnormal", "on-watchdog"})
_HIT = "start-limit-hit"


def hindrance(unit: Unit, wait_s: float, *, running: bool) -> str:
    """Say why systemd would not restart a unit now, with the fix; empty when it would."""
    name = unit.name
    if unit.load_state == "not-found" and unit.active_state not in {"active", "deactivating"}:
        return f"systemd knows no {name}: correct the name of the unit"
    if unit.load_state == "not-found":
        return (
            f"the file of {name} is gone, so that systemd could stop but not start it: "
            f"put it back, and systemctl daemon-reload"
        )
    if unit.load_state == "masked":
        return f"{name} is masked, so that systemd would not start it: systemctl unmask {name}"
    if unit.load_state not in {"loaded", ""}:
        return f"systemd cannot read {name} ({unit.load_state}): see systemctl status {name}"
    if unit.refuses_stop and running:
        return f"{name} may not be stopped by hand (RefuseManualStop=yes): take that away"
    if unit.refuses_start:
        return f"{name} may not be started by hand (RefuseManualStart=yes): take that away"
    if wait_s > 0:
        return _start_limit(unit, wait_s)
    return ""


def _start_limit(unit: Unit, wait_s: float) -> str:
    interval = "for ever" if unit.interval_s is None else format_duration(unit.interval_s)
    return (
        f"systemd would not start {unit.name} again, {counted(unit.burst, 'start')} within "
        f"{interval} were made and no more are allowed (StartLimitBurst): possible in "
        f"{format_duration(wait_s)}, or at once after systemctl reset-failed {unit.name}"
    )


def spent(unit: Unit, left: int | None) -> str:
    """Warn that this start is the last that is allowed; empty when more are left."""
    if left != 1 or unit.interval_s is None:
        return ""
    return (
        f"this was the last start that systemd allows within {format_duration(unit.interval_s)} "
        "(StartLimitBurst)"
    )


def slowest_s(unit: Unit) -> float | None:
    """Give the longest that a stop and a start may take; None: systemd sets no end."""
    starting_s = 0.0 if unit.kind in {"simple", "exec", "idle"} else unit.start_s
    if unit.stop_s is None or starting_s is None:
        return None
    return unit.stop_s + starting_s


def cautions(unit: Unit) -> Iterator[str]:
    """Name the settings that surprise when a unit is killed or restarted."""
    name = unit.name
    if unit.restart in _NO_START_AFTER_KILL:
        yield (
            f"{name} has Restart={unit.restart}: after an OOM kill systemd does not start it; "
            "a restart by leakguard does"
        )
    if unit.oom_policy == "stop":
        yield (
            f"{name} has OOMPolicy=stop: when the kernel kills any one of its processes, systemd "
            "stops all of them"
        )
    if unit.stop_s is None:
        yield f"{name} has TimeoutStopSec=infinity: a stop that hangs is never ended by systemd"
    if unit.burst and unit.interval_s != 0:
        interval = "for ever" if unit.interval_s is None else format_duration(unit.interval_s)
        yield (
            f"{name} may be started {counted(unit.burst, 'time')} within {interval} "
            "(StartLimitBurst), and restarts by leakguard count"
        )
    if unit.transient:
        yield f"{name} is transient: once it has ended, nobody can start it again by its name"
    if unit.held_by:
        names = ", ".join(unit.held_by[:5])
        yield f"{names} will be restarted too, bound to {name} (Requires=, BindsTo= or PartOf=)"
