"""How much a memory domain can still take before it ends, as a low and a high bound in bytes.

`usage == limit` says nothing: what is on the file lists is dropped before anybody is killed. So the
headroom of a cgroup is limit - usage + file lists, which met real kills within 0.3 %. The lists
hold neither shmem nor locked pages, so nothing is taken off for these. Low and high differ by what
*may* be dropped: dirty pages first have to be written, slab is given back only in part.
"""

from collections.abc import Iterable
from typing import Final

from leakguard.core.frozen import dataclass

USUAL_ZRAM_RATIO: Final = 3.0
"""Compression of a zram device that holds nothing yet: at best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headroom:
    """What can still be taken. Never below zero."""

    low_bytes: int
    high_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemcgFigures:
    """What the files of one memory cgroup say, in bytes."""

    limit_bytes: int
    usage_bytes: int
    file_bytes: int = 0
    """Active and inactive file pages."""
    unwritten_bytes: int = 0
    """Dirty file pages and those under writeback."""
    slab_bytes: int = 0
    """Reclaimable slab; v2 only."""
    swap_room_bytes: int = 0
    """What may still go to swap; negative on v1 where memory + swap is hit first."""
    stock_bytes: int = 0
    """What the CPUs hold in advance: charged already, given back before a kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zram:
    """One zram device that is used as swap, in bytes."""

    free_bytes: int
    stored_bytes: int = 0
    """What was swapped to it, before compression."""
    cost_bytes: int = 0
    """The RAM that this takes."""
    limit_bytes: int = 0
    """The most RAM that it may take, 0 for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFigures:
    """What /proc says of the whole machine, in bytes."""

    total_bytes: int
    free_bytes: int
    available_bytes: int
    file_bytes: int = 0
    """Active and inactive file pages."""
    mapped_bytes: int = 0
    unwritten_bytes: int = 0
    slab_bytes: int = 0
    min_watermark_bytes: int = 0
    """Sum of the MIN watermarks of all zones: never given to programs."""
    arc_bytes: int = 0
    """What the ZFS cache can give back; MemAvailable does not know it."""
    swap_total_bytes: int = 0
    swap_free_bytes: int = 0
    """Free swap on disks and in files, zram left out."""
    zram: tuple[Zram, ...] = ()
    commit_limit_bytes: int = 0
    committed_bytes: int = 0
    commit_reserve_bytes: int = 0
    """Kept back from CommitLimit for root and for people: admin_ and user_reserve_kbytes."""


def memcg_headroom(figures: MemcgFigures) -> Headroom:
    """Bound what a cgroup can still take."""
    sure = figures.limit_bytes - figures.usage_bytes + figures.swap_room_bytes
    file = figures.file_bytes
    return _bounds(
        sure + file - min(file, figures.unwritten_bytes),
        sure + file + figures.slab_bytes + min(figures.stock_bytes, figures.usage_bytes),
    )


def host_headroom(figures: HostFigures) -> Headroom:
    """Bound what the machine can still give to programs."""
    low = figures.available_bytes - min(figures.unwritten_bytes, figures.file_bytes)
    high = figures.free_bytes + figures.file_bytes + figures.slab_bytes + figures.arc_bytes
    high = max(low, high - figures.min_watermark_bytes)
    low_zram, high_zram = _zram_worth(figures.zram)
    return _bounds(
        low + figures.swap_free_bytes + low_zram, high + figures.swap_free_bytes + high_zram
    )


def commit_headroom(figures: HostFigures) -> Headroom:
    """Bound what can still be promised under `vm.overcommit_memory=2`."""
    left = figures.commit_limit_bytes - figures.committed_bytes
    return _bounds(left - figures.commit_reserve_bytes, left)


def _zram_worth(devices: Iterable[Zram]) -> tuple[int, int]:
    """Give what free zram adds: each page that goes there costs RAM / compression ratio."""
    low = high = 0.0
    for device in devices:
        if device.stored_bytes and device.cost_bytes:
            ratio = device.stored_bytes / device.cost_bytes
            worth = _worth(device, ratio)
            low, high = low + worth, high + worth
        else:
            high += _worth(device, USUAL_ZRAM_RATIO)
    return int(low), int(high)


def _worth(device: Zram, ratio: float) -> float:
    room = float(device.free_bytes)
    if device.limit_bytes:
        room = min(room, max(0, device.limit_bytes - device.cost_bytes) * ratio)
    return room * max(0.0, 1 - 1 / ratio)


def _bounds(low: int, high: int) -> Headroom:
    return Headroom(low_bytes=max(0, min(low, high)), high_bytes=max(0, high))
