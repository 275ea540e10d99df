"""What a domain can still take, with a low and a high bound."""

from typing import Any

from leakguard.core.headroom import (
    Headroom,
    HostFigures,
    MemcgFigures,
    Zram,
    commit_headroom,
    host_headroom,
    memcg_headroom,
)

PAGE = 4096


def memcg(**figures: int) -> Headroom:
    """Bound a group of 1000."""
    return memcg_headroom(MemcgFigures(limit_bytes=1000, **figures))


def host(**figures: Any) -> HostFigures:
    """Make a machine of 1000."""
    return HostFigures(
        **{"total_bytes": 1000, "free_bytes": 300, "available_bytes": 400, **figures}
    )


def test_files_are_dropped_first() -> None:
    """Five measured cases: limit - usage + file lists met the kill within 0.3 %."""
    measured = [
        (19_763, 21_816, 21_888),
        (5_615, 31_823, 31_808),
        (4_336, 32_001, 32_064),
        (16_658, 16_674, 16_704),
        (25_170, 25_186, 25_216),
    ]
    for free, with_files, real in measured:
        room = memcg_headroom(
            MemcgFigures(
                limit_bytes=40_960 * PAGE,
                usage_bytes=(40_960 - free) * PAGE,
                file_bytes=(with_files - free) * PAGE,
            )
        )
        assert room.low_bytes == room.high_bytes == with_files * PAGE
        assert abs(room.high_bytes / PAGE - real) / real < 0.004


def test_what_has_to_be_written_first_is_not_sure() -> None:
    """Dirty pages and those under writeback count in the high bound only."""
    assert memcg(usage_bytes=900, file_bytes=300, unwritten_bytes=120) == Headroom(
        low_bytes=280, high_bytes=400
    )
    assert memcg(usage_bytes=900, file_bytes=300, unwritten_bytes=500).low_bytes == 100


def test_slab_and_stocks_widen_the_high_bound() -> None:
    """They are given back before a kill, the stocks for certain no more than is used."""
    assert memcg(usage_bytes=900, slab_bytes=50, stock_bytes=30) == Headroom(
        low_bytes=100, high_bytes=180
    )
    assert memcg(usage_bytes=10, stock_bytes=30).high_bytes == 1000


def test_swap_adds_and_memsw_takes_away() -> None:
    """v1 may hit memory + swap below its memory limit."""
    assert memcg(usage_bytes=900, swap_room_bytes=500) == Headroom(low_bytes=600, high_bytes=600)
    assert memcg(usage_bytes=900, swap_room_bytes=-40) == Headroom(low_bytes=60, high_bytes=60)


def test_headroom_is_never_negative() -> None:
    """A limit that was set below the present use leaves nothing."""
    assert memcg(usage_bytes=1200) == Headroom(low_bytes=0, high_bytes=0)


def test_host_is_bounded_by_available_and_by_the_watermarks() -> None:
    """Low: MemAvailable less what is unwritten. High: all that is free or reclaimable."""
    figures = host(file_bytes=200, slab_bytes=50, min_watermark_bytes=20, unwritten_bytes=30)
    assert host_headroom(figures) == Headroom(low_bytes=370, high_bytes=530)


def test_disk_swap_counts_whole() -> None:
    """In both bounds."""
    assert host_headroom(host(swap_free_bytes=100)) == Headroom(low_bytes=500, high_bytes=500)


def test_the_zfs_cache_is_in_the_high_bound() -> None:
    """MemAvailable does not know it."""
    assert host_headroom(host(arc_bytes=250)) == Headroom(low_bytes=400, high_bytes=550)


def test_zram_is_worth_what_it_saves() -> None:
    """At a measured ratio of 4, three quarters of what is free."""
    used = Zram(free_bytes=80, stored_bytes=400, cost_bytes=100)
    assert host_headroom(host(zram=(used,))) == Headroom(low_bytes=460, high_bytes=460)


def test_zram_that_holds_nothing_is_a_guess() -> None:
    """Nothing in the low bound, a ratio of 3 in the high one."""
    assert host_headroom(host(zram=(Zram(free_bytes=90),))) == Headroom(
        low_bytes=400, high_bytes=460
    )


def test_zram_has_its_own_limit() -> None:
    """`mem_limit` bounds the RAM that it may take: 10 left at a ratio of 4 hold 40."""
    bounded = Zram(free_bytes=800, stored_bytes=400, cost_bytes=100, limit_bytes=110)
    assert host_headroom(host(zram=(bounded,))).low_bytes == 430


def test_zram_that_does_not_compress_is_worth_nothing() -> None:
    """Pages that became larger give no room."""
    bad = Zram(free_bytes=800, stored_bytes=100, cost_bytes=110)
    assert host_headroom(host(zram=(bad,))) == Headroom(low_bytes=400, high_bytes=400)


def test_promises_end_at_the_commit_limit() -> None:
    """Under overcommit 2; the low bound leaves out what is kept for root and for people."""
    figures = host(commit_limit_bytes=900, committed_bytes=500, commit_reserve_bytes=120)
    assert commit_headroom(figures) == Headroom(low_bytes=280, high_bytes=400)
