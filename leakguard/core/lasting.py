"""How much of a rise is in files of tmpfs, which stay when the service goes: no restart cures it.

A few marks of the last hours are kept, not a series: what is wanted is one share, and of most
services there is nothing to tell. Marks lie closer together the younger the growth is.
"""

from dataclasses import replace

from leakguard.core.frozen import dataclass
from leakguard.core.sample import Sample
from leakguard.core.units import MIB

MOSTLY = 0.75
"""From this share on a restart gives back too little to be worth it."""
RISE_LEAST_BYTES = 4 * MIB
"""Of a smaller rise no share is told."""
KEEP_S = 6 * 3600.0
"""As far back as a series goes."""
MARKS = 16
GAPS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a service held at one moment, and how much of it in files that outlive it."""

    boot_s: float
    value_bytes: int
    tmpfs_bytes: int
    mounts_bytes: int = 0


def remember(marks: tuple[Mark, ...], sample: Sample) -> tuple[Mark, ...]:
    """Give the marks to keep with a new sample; without such files the last one is enough."""
    if sample.tmpfs_bytes is None:
        return ()
    at = sample.at.boot_s
    new = Mark(
        boot_s=at,
        value_bytes=sample.value_bytes,
        tmpfs_bytes=sample.tmpfs_bytes,
        mounts_bytes=sample.mounts_bytes,
    )
    if not marks or (len(marks) == 1 and not marks[0].tmpfs_bytes and not new.tmpfs_bytes):
        return (new,)
    if len(marks) == 1 and not marks[0].tmpfs_bytes:  # the mounts are read from now on
        marks = (replace(marks[0], mounts_bytes=new.mounts_bytes - new.tmpfs_bytes),)
    if at - marks[-1].boot_s < (at - marks[0].boot_s) / GAPS:
        return marks
    kept = [*marks, new]
    if len(kept) > MARKS:
        kept = kept[::2]
    while len(kept) > 2 and kept[1].boot_s <= at - KEEP_S:
        del kept[0]
    return tuple(kept)


def share_of_rise(marks: tuple[Mark, ...], sample: Sample, window_s: float) -> float | None:
    """Give which share of the rise in the window is in such files; None where that says nothing.

    It must show on the mounts as well: what others keep there is no proof, its growth is.
    """
    if not marks or sample.tmpfs_bytes is None:
        return None
    begin = sample.at.boot_s - window_s
    base = next((mark for mark in reversed(marks) if mark.boot_s <= begin), marks[0])
    rise = sample.value_bytes - base.value_bytes
    if rise < RISE_LEAST_BYTES:
        return None
    gained = sample.tmpfs_bytes - base.tmpfs_bytes, sample.mounts_bytes - base.mounts_bytes
    return min(1.0, max(0.0, min(gained) / rise))
