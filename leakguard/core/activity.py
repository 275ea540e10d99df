"""How busy a service is at each time of day, learned from its own CPU time and memory churn.

A day has 48 slots of half an hour (of UTC: a clock change moves a habit by one hour, and is
learned within days). Each slot keeps one level of CPU use and one of memory churn on a
logarithmic scale, as a printable letter, so that a service's habits are two short texts.
"""

import math
from dataclasses import replace

from leakguard.core.frozen import dataclass
from leakguard.core.sample import Sample

SLOTS = 48
SLOT_S = 86400.0 / SLOTS
UNKNOWN = " "
_BASE = ord("!")
_LEVELS = ord("~") - _BASE
_CPU_UNIT, _CHURN_UNIT = 0.0005, 1024.0
"""CPU seconds per second, and bytes per second, below which differences mean nothing."""
_STEPS = 4.0
"""Levels per doubling."""
_NEW = 0.4
"""Weight of the newest day in a slot."""
STEP_S = 20.0
"""Time between two looks: churn is what moves between them."""
_LONGEST_S = 300.0
"""A gap longer than this says nothing of the slots it spans."""
_LEAST_S = SLOT_S / 4
"""A slot that was watched for less than this is left as it was."""
KNOWN = 40
"""So many slots must be known before there is a quietest one."""
QUIET_SHARE = 0.5
"""A quiet slot is at most this busy, against the day's mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Levels of each slot; durable."""

    cpu: str = UNKNOWN * SLOTS
    churn: str = UNKNOWN * SLOTS

    def business(self) -> tuple[float, ...] | None:
        """Give how busy each slot is, 1 being the day's mean; None while too little is known."""
        parts = [
            _relative([_decode(letter, unit) for letter in levels])
            for levels, unit in ((self.cpu, _CPU_UNIT), (self.churn, _CHURN_UNIT))
        ]
        found = [part for part in parts if part is not None]
        if not found or sum(letter != UNKNOWN for letter in self.churn) < KNOWN:
            return None
        return tuple(sum(values) / len(found) for values in zip(*found, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """What the slot that is under way has shown so far; lost when the daemon ends."""

    slot: int
    last: Sample
    watched_s: float = 0.0
    cpu_s: float = 0.0
    cpu_watched_s: float = 0.0
    churn_bytes: float = 0.0


def slot_of(wall_s: float) -> int:
    """Give the number of the slot that a moment lies in."""
    return int(wall_s % 86400.0 // SLOT_S)


def follow(activity: Activity, pulse: Pulse | None, sample: Sample) -> tuple[Activity, Pulse]:
    """Take a sample in; a slot that is over goes into `activity`."""
    slot = slot_of(sample.at.wall_s)
    if pulse is None or pulse.last.incarnation != sample.incarnation:
        kept = pulse if pulse is not None and pulse.slot == slot else Pulse(slot=slot, last=sample)
        return activity, replace(kept, last=sample)
    gap = sample.at.boot_s - pulse.last.at.boot_s
    if gap < STEP_S:
        return activity, pulse
    if gap <= _LONGEST_S:
        pulse = _add(pulse, sample, gap)
    if slot != pulse.slot:
        activity, pulse = _close(activity, pulse), Pulse(slot=slot, last=sample)
    return activity, replace(pulse, last=sample)


def _add(pulse: Pulse, sample: Sample, gap: float) -> Pulse:
    before = pulse.last
    pulse = replace(
        pulse,
        watched_s=pulse.watched_s + gap,
        churn_bytes=pulse.churn_bytes + abs(sample.value_bytes - before.value_bytes),
    )
    if sample.cpu_s is None or before.cpu_s is None:
        return pulse
    used = max(0.0, sample.cpu_s - before.cpu_s)  # a worker that ended takes its time with it
    return replace(pulse, cpu_s=pulse.cpu_s + used, cpu_watched_s=pulse.cpu_watched_s + gap)


def _close(activity: Activity, pulse: Pulse) -> Activity:
    if pulse.watched_s < _LEAST_S:
        return activity
    churn = _mix(activity.churn, pulse.slot, pulse.churn_bytes / pulse.watched_s, _CHURN_UNIT)
    if pulse.cpu_watched_s < _LEAST_S:
        return replace(activity, churn=churn)
    cpu = _mix(activity.cpu, pulse.slot, pulse.cpu_s / pulse.cpu_watched_s, _CPU_UNIT)
    return Activity(cpu=cpu, churn=churn)


def _mix(levels: str, slot: int, value: float, unit: float) -> str:
    before = _decode(levels[slot], unit)
    mixed = value if before is None else _NEW * value + (1 - _NEW) * before
    return levels[:slot] + _encode(mixed, unit) + levels[slot + 1 :]


def _encode(value: float, unit: float) -> str:
    return chr(_BASE + min(_LEVELS, round(_STEPS * math.log2(1 + value / unit))))


def _decode(letter: str, unit: float) -> float | None:
    if letter == UNKNOWN:
        return None
    return unit * (2 ** ((ord(letter) - _BASE) / _STEPS) - 1)


def _relative(values: list[float | None]) -> list[float] | None:
    """Divide by the mean; slots that are not known count as usual."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    if mean <= 0:
        return None
    return [1.0 if value is None else value / mean for value in values]
