"""The real services that leak: how each is started, how fast it leaks, who drives it.

Every number is drawn from the seed, and the lives are spread evenly over 3.5 to 23 minutes on a
logarithmic scale, so that another seed makes other rates, limits and lives of the same bugs.
"""

import random
from collections.abc import Callable

from tests.bench.real_load import (
    Load,
    fresh_paths,
    popular_paths,
    redis_queue,
    redis_sets,
)
from tests.bench.real_recorder import MIB, Service
from tests.bench.real_starting import gunicorn, java, node, python, redis

SHORTEST_S, LONGEST_S = 210.0, 1380.0
THREAD_KIB = 34
"""What a waiting thread takes, half of it in the kernel."""
Numbers = random.Random
Make = Callable[[Numbers, float], Service]
"""Makes a service that lives about so many seconds."""


def leaks(seed: int) -> tuple[Service, ...]:
    """Give all of them."""
    numbers = random.Random(f"{seed}/lives")
    steps = [index / (len(LEAKS) - 1) for index in range(len(LEAKS))]
    lives = [SHORTEST_S * (LONGEST_S / SHORTEST_S) ** step for step in steps]
    numbers.shuffle(lives)
    return tuple(
        make(random.Random(f"{seed}/{make.__name__}"), life_s)
        for make, life_s in zip(LEAKS, lives, strict=True)
    )


def per_request(room_mib: float, life_s: float, per_s: float) -> int:
    """Give the bytes that each request has to leave for the room to be used up in that life."""
    return max(1, round(room_mib * MIB / (life_s * per_s)))


def limit(numbers: Numbers, low: int, high: int) -> int:
    """Draw a limit in whole 16 MiB."""
    return numbers.randrange(low, high + 1, 16)


def steady(numbers: Numbers, low: float = 6, high: float = 14) -> Load:
    """Draw a load that knows no hours."""
    return Load(client=fresh_paths, per_s=numbers.uniform(low, high))


def sessions(numbers: Numbers, life_s: float) -> Service:
    """Make a growing dict in Python."""
    mib, load = limit(numbers, 128, 256), steady(numbers)
    leak = per_request(mib - 12, life_s, load.per_s)
    command = python("py_sessions", leak)
    return Service(
        name="sessions", shape="Python dict, linear", limit_mib=mib, command=command, load=load
    )


def cycles(numbers: Numbers, life_s: float) -> Service:
    """Make reference cycles in Python."""
    mib, load = limit(numbers, 128, 256), steady(numbers)
    leak = per_request(mib - 12, life_s, load.per_s)
    command = python("py_cycles", leak)
    return Service(
        name="cycles", shape="Python cycles, gc off, linear", limit_mib=mib, command=command,
        load=load,
    )  # fmt: skip


def history(numbers: Numbers, life_s: float) -> Service:
    """Make a leak whose rate grows with what it has leaked."""
    mib, load = limit(numbers, 128, 256), steady(numbers)
    edits = life_s * load.per_s
    command = python("py_history", max(1, round(2 * (mib - 12) * MIB / edits**2)))
    return Service(
        name="history", shape="Python undo history, accelerating", limit_mib=mib,
        command=command, load=load,
    )  # fmt: skip


def imports(numbers: Numbers, life_s: float) -> Service:
    """Make steps."""
    mib, load = limit(numbers, 192, 320), steady(numbers)
    steps = numbers.randrange(12, 22)
    every = max(1, round(life_s * load.per_s / steps))
    command = python("py_imports", every, (mib - 12) * MIB // steps)
    return Service(
        name="imports", shape=f"Python tables, {steps} steps", limit_mib=mib, command=command,
        load=load,
    )  # fmt: skip


def daily_leak(numbers: Numbers, life_s: float) -> Service:
    """Make a leak below a cycle of the day, compressed to minutes."""
    mib, lasts_s = limit(numbers, 160, 256), numbers.randrange(15, 30)
    load = Load(
        client=fresh_paths, per_s=numbers.uniform(8, 14), period_s=life_s / numbers.uniform(3, 6),
        depth=numbers.uniform(0.5, 0.8),
    )  # fmt: skip
    held_mib = 0.2 * mib
    command = python(
        "py_daily",
        round(held_mib * MIB / (load.per_s * lasts_s)),
        lasts_s,
        per_request(mib - 12 - 1.2 * held_mib, life_s, load.per_s),
    )
    return Service(
        name="daily_leak", shape="Python, with the load of the day", limit_mib=mib,
        command=command, load=load,
    )  # fmt: skip


def cache_beside(numbers: Numbers, life_s: float) -> Service:
    """Make a leak beside an LRU cache that fills first."""
    mib, size, keys = limit(numbers, 192, 320), 48 * 1024, 6000
    load = Load(client=popular_paths(keys, numbers.uniform(0.5, 0.9)), per_s=numbers.uniform(8, 14))
    cache_mib = mib * numbers.uniform(0.25, 0.4)
    leak = per_request(mib - 14 - cache_mib, life_s, load.per_s)
    command = python("py_cache", int(cache_mib * MIB / size), size, leak)
    return Service(
        name="cache_beside", shape="Python LRU cache fills, leak beside it", limit_mib=mib,
        command=command, load=load,
    )  # fmt: skip


def gunicorn_worker(numbers: Numbers, life_s: float) -> Service:
    """Make workers of gunicorn that leak."""
    mib, load = limit(numbers, 192, 320), steady(numbers, 6, 12)
    leak = per_request(mib - 45, life_s, load.per_s)
    return Service(
        name="gunicorn_worker", shape="gunicorn, 2 workers, linear", limit_mib=mib,
        command=gunicorn(leak), needs=("gunicorn",), load=load,
    )  # fmt: skip


def redis_filling(numbers: Numbers, life_s: float) -> Service:
    """Fill Redis by new keys."""
    mib, per_s = limit(numbers, 128, 256), numbers.uniform(10, 20)
    load = Load(client=redis_sets(per_request(mib - 8, life_s, per_s)), per_s=per_s)
    return Service(
        name="redis_filling", shape="Redis, SET of new keys, linear", limit_mib=mib,
        command=redis(), needs=("redis-server",), load=load,
    )  # fmt: skip


def redis_backlog(numbers: Numbers, life_s: float) -> Service:
    """Let a queue in Redis grow."""
    mib, per_s, done = limit(numbers, 128, 256), numbers.uniform(10, 20), numbers.uniform(0.5, 0.8)
    size = per_request(mib - 8, life_s, per_s * (1 - done))
    load = Load(client=redis_queue(size, done), per_s=per_s, period_s=life_s / 4, depth=0.4)
    return Service(
        name="redis_backlog", shape="Redis list, consumer too slow, load of the day",
        limit_mib=mib, command=redis(), needs=("redis-server",), load=load,
    )  # fmt: skip


def java_serial(numbers: Numbers, life_s: float) -> Service:
    """Make a map grow on a Java heap with the serial collector."""
    return _java(numbers, life_s, "Serial")


def java_g1(numbers: Numbers, life_s: float) -> Service:
    """Make a map grow on a Java heap with G1."""
    return _java(numbers, life_s, "G1")


def _java(numbers: Numbers, life_s: float, collector: str) -> Service:
    mib, load = limit(numbers, 288, 448), steady(numbers)
    # The heap is half as large again as what lives in it.
    leak = per_request((mib - 70) / 1.5, life_s, load.per_s)
    garbage = numbers.randrange(100, 400) * 1024
    command = java("Sessions", leak, garbage, heap_mib=2 * mib, collector=collector)
    return Service(
        name=f"java_{collector.lower()}", shape=f"Java map, {collector} GC, -Xmx above the limit",
        limit_mib=mib, command=command, needs=("java", "javac"), load=load,
    )  # fmt: skip


def node_listeners(numbers: Numbers, life_s: float) -> Service:
    """Make closures in Node that nobody removes."""
    mib, load = limit(numbers, 256, 384), steady(numbers)
    objects = per_request(mib - 60, life_s, load.per_s) // 110
    command = node("node_listeners.js", objects, numbers.randrange(1000, 4000), heap_mib=4 * mib)
    return Service(
        name="node_listeners", shape="Node listeners, GC sawtooth on top", limit_mib=mib,
        command=command, needs=("node",), load=load,
    )  # fmt: skip


def node_buffers(numbers: Numbers, life_s: float) -> Service:
    """Make buffers in Node outside of its heap."""
    mib, load = limit(numbers, 192, 320), steady(numbers)
    leak = per_request(mib - 45, life_s, load.per_s)
    command = node("node_buffers.js", leak, heap_mib=4 * mib)
    return Service(
        name="node_buffers", shape="Node buffers off the heap, linear", limit_mib=mib,
        command=command, needs=("node",), load=load,
    )  # fmt: skip


def c_forgets(numbers: Numbers, life_s: float) -> Service:
    """Forget to free in C."""
    mib, load = limit(numbers, 96, 192), steady(numbers)
    leak = per_request(mib - 1, life_s, load.per_s)
    return Service(
        name="c_forgets", shape="C malloc without free, linear", limit_mib=mib,
        command=("{built}/c_forgets", "{port}", str(leak)), needs=("gcc",), load=load,
    )  # fmt: skip


def c_fragments(numbers: Numbers, life_s: float) -> Service:
    """Fragment the heap of glibc."""
    mib, load, records = limit(numbers, 96, 192), steady(numbers), numbers.randrange(4, 10)
    # One half of the room goes by the first length of the records, the other by their growth.
    size = per_request(mib - 1, life_s, load.per_s) / records / 2
    growth = 2 * size / (life_s * load.per_s)
    return Service(
        name="c_fragments", shape="glibc fragmentation, accelerating", limit_mib=mib,
        needs=("gcc",), load=load,
        command=("{built}/c_fragments", "{port}", str(records), f"{size:.0f}", f"{growth:.4f}"),
    )  # fmt: skip


def memfd(numbers: Numbers, life_s: float) -> Service:
    """Leave shared memory open."""
    mib, load = limit(numbers, 128, 256), steady(numbers, 4, 8)
    leak = per_request(mib - 12, life_s, load.per_s)
    return Service(
        name="memfd", shape="Python memfds, shmem, linear", limit_mib=mib,
        command=python("py_memfd", leak), load=load,
    )  # fmt: skip


def threads(numbers: Numbers, life_s: float) -> Service:
    """Leave threads waiting; half of what they take is the kernel's."""
    mib, load = limit(numbers, 48, 80), steady(numbers, 8, 14)
    percent = round(100 * (mib - 12) * 1024 / THREAD_KIB / (life_s * load.per_s))
    return Service(
        name="threads", shape="Python threads that wait for ever", limit_mib=mib,
        command=python("py_threads", min(100, percent)), load=load,
    )  # fmt: skip


def noisy(numbers: Numbers, life_s: float) -> Service:
    """Leak below uploads that come and go."""
    mib, load = limit(numbers, 192, 320), steady(numbers)
    leak = per_request(0.8 * mib - 12, life_s, load.per_s)
    upload = round(mib * MIB * numbers.uniform(0.03, 0.05))
    return Service(
        name="noisy", shape="Python, below uploads of seconds", limit_mib=mib, load=load,
        command=python("py_noisy", leak, upload, numbers.randrange(4, 9)),
    )  # fmt: skip


def late(numbers: Numbers, life_s: float) -> Service:
    """Begin to leak after minutes."""
    mib, load, onset_s = limit(numbers, 128, 256), steady(numbers), numbers.randrange(240, 420)
    life_s = min(life_s, 900.0)
    leak = per_request(mib - 30, life_s, load.per_s)
    return Service(
        name="late", shape="Python, begins late", limit_mib=mib, onset_s=float(onset_s),
        load=load, command=python("py_late", onset_s, leak),
    )  # fmt: skip


LEAKS: tuple[Make, ...] = (
    sessions, cycles, history, imports, daily_leak, cache_beside, gunicorn_worker, redis_filling,
    redis_backlog, java_serial, java_g1, node_listeners, node_buffers, c_forgets, c_fragments,
    memfd, threads, noisy, late,
)  # fmt: skip
