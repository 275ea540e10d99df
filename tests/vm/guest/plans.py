"""What each boot plays."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from tests.vm.guest import (
    group_cases,
    host_cases,
    product,
    quiet,
    shipped,
    swap,
    swap_cases,
    units,
    watched,
)
from tests.vm.guest.case import Case
from tests.vm.guest.lab import Lab
from tests.vm.guest.play import play

HOST_DRAWN = 8
GROUP_DRAWN = 12
SWAP_DRAWN = 3
SWAP_HOLDERS_MIB = 350


def _play_all(lab: Lab, cases: Iterable[Case]) -> None:
    for case in cases:
        play(lab, case)


def _named(prefix: str, cases: Iterable[Case]) -> Iterator[Case]:
    return (replace(case, name=f"{prefix}-{case.name}") for case in cases)


def memory(lab: Lab) -> None:
    """No swap: the host runs out, again and again."""
    _play_all(lab, host_cases.written())
    _play_all(lab, host_cases.drawn(lab.rng, HOST_DRAWN))


def groups(lab: Lab) -> None:
    """Cgroups run out, and what stops a leak without a kill."""
    _play_all(lab, group_cases.written())
    _play_all(lab, group_cases.drawn(lab.rng, GROUP_DRAWN))
    quiet.memory_high(lab)
    quiet.overcommit(lab)


def swapping(lab: Lab) -> None:
    """A swap disk, then a swap file, then compressed memory."""
    with swap.disk():
        _play_all(lab, swap_cases.host())
        _play_all(lab, swap_cases.group())
        drawn = host_cases.drawn(lab.rng, SWAP_DRAWN, total_mib=SWAP_HOLDERS_MIB)
        _play_all(lab, _named("swap", drawn))
    with swap.file():
        _play_all(lab, _named("file", swap_cases.host()))
    with swap.zram():
        _play_all(lab, _named("zram", swap_cases.host()))


def panic(lab: Lab) -> None:
    """The machine is told to panic instead of killing."""
    quiet.panic(lab)


def guard(lab: Lab) -> None:
    """Leakguard itself at work on cgroup v2 and systemd."""
    product.play_all(lab)


def watching(lab: Lab) -> None:
    """A daemon foresees the ends that are no kill."""
    watched.memory_high(lab)
    watched.overcommit(lab)


def under_systemd(lab: Lab) -> None:
    """Systemd restarts units for leakguard."""
    for case in (units.together, units.limits, shipped.play):
        name = f"{case.__module__.rpartition('.')[2]}-{case.__name__}"
        began = time.monotonic()
        fields = case()
        lasted_s = round(time.monotonic() - began, 1)
        lab.channel.send("unit", case=name, lasted_s=lasted_s, log=lab.log.lines(), **fields)


PLANS: dict[str, Callable[[Lab], None]] = {
    "memory": memory,
    "groups": groups,
    "swapping": swapping,
    "panic": panic,
    "guard": guard,
    "watching": watching,
    "units": under_systemd,
}
