"""The real services that do not leak: how each is started and who drives it.

Every number is drawn from the seed. Each is watched for 15 to 20 minutes, far longer than it needs
to settle.
"""

import random
from collections.abc import Callable

from tests.bench.real_leaks import Numbers, limit, steady
from tests.bench.real_load import Load, fresh_paths, popular_paths, redis_cache, redis_sets
from tests.bench.real_recorder import MIB, Service
from tests.bench.real_starting import gunicorn, java, node, python, redis

LEAST_S, MOST_S = 900.0, 1200.0


def benign(seed: int) -> tuple[Service, ...]:
    """Give all of them."""
    return tuple(make(random.Random(f"{seed}/{make.__name__}")) for make in BENIGN)


def _benign(
    numbers: Numbers, name: str, shape: str, limit_mib: int, command: tuple[str, ...],
    load: Load | None, needs: tuple[str, ...] = (),
) -> Service:  # fmt: skip
    return Service(
        name=name, shape=shape, limit_mib=limit_mib, command=command, needs=needs, load=load,
        leak=False, most_s=round(numbers.uniform(LEAST_S, MOST_S), 1),
    )  # fmt: skip


def warm_up(numbers: Numbers) -> Service:
    """Remember results of a finite number of keys."""
    mib, per_s = limit(numbers, 128, 256), numbers.uniform(8, 14)
    keys = round(per_s * numbers.uniform(60, 180))
    load = Load(client=popular_paths(keys, 0.0), per_s=per_s)
    command = python("py_warm_up", round(mib * MIB * numbers.uniform(0.35, 0.55) / keys))
    return _benign(numbers, "warm_up", "Python, exponential warm-up", mib, command, load)


def lru_python(numbers: Numbers) -> Service:
    """Fill an LRU cache in Python."""
    mib, size = limit(numbers, 128, 256), 96 * 1024
    entries = int(mib * MIB * numbers.uniform(0.4, 0.6) / size)
    keys = round(entries * numbers.uniform(2, 4))
    load = Load(client=popular_paths(keys, numbers.uniform(0.7, 1.1)), per_s=numbers.uniform(8, 14))
    command = python("py_cache", entries, size, 0)
    return _benign(numbers, "lru_python", "Python LRU cache", mib, command, load)


def lru_node(numbers: Numbers) -> Service:
    """Fill an LRU cache in Node."""
    mib, size = limit(numbers, 256, 384), 96 * 1024
    entries = int((mib * numbers.uniform(0.4, 0.55) - 45) * MIB / size)
    keys = round(entries * numbers.uniform(1.5, 3))
    load = Load(client=popular_paths(keys, numbers.uniform(0.6, 1.0)), per_s=numbers.uniform(8, 14))
    command = node("node_cache.js", entries, size, heap_mib=4 * mib)
    return _benign(numbers, "lru_node", "Node LRU cache", mib, command, load, ("node",))


def plateau_serial(numbers: Numbers) -> Service:
    """Fill a Java heap to its plateau with the serial collector."""
    return _plateau(numbers, "Serial")


def plateau_g1(numbers: Numbers) -> Service:
    """Fill a Java heap to its plateau with G1."""
    return _plateau(numbers, "G1")


def _plateau(numbers: Numbers, collector: str) -> Service:
    mib, size = limit(numbers, 320, 448), 96 * 1024
    heap_mib = int(0.6 * mib)
    entries = int(heap_mib * MIB * numbers.uniform(0.3, 0.45) / size)
    keys = round(entries * numbers.uniform(1.2, 2))
    load = Load(client=popular_paths(keys, numbers.uniform(0.6, 0.9)), per_s=numbers.uniform(8, 14))
    garbage = numbers.randrange(200, 500) * 1024
    command = java("Cache", entries, size, garbage, heap_mib=heap_mib, collector=collector)
    name = f"plateau_{collector.lower()}"
    return _benign(
        numbers, name, f"Java heap plateau, {collector} GC", mib, command, load, ("java", "javac")
    )


def redis_maxmemory(numbers: Numbers) -> Service:
    """Use Redis as a cache with a bound."""
    mib, size, share = limit(numbers, 128, 256), 64 * 1024, numbers.uniform(0.45, 0.65)
    keys = round(mib * MIB * share / size * numbers.uniform(2, 4))
    load = Load(
        client=redis_cache(keys, numbers.uniform(0.6, 1.0), size), per_s=numbers.uniform(10, 20)
    )
    command = redis("--maxmemory", str(int(mib * MIB * share)), "--maxmemory-policy", "allkeys-lru")
    return _benign(
        numbers, "redis_maxmemory", "Redis cache, evicts", mib, command, load, ("redis-server",)
    )


def redis_expiring(numbers: Numbers) -> Service:
    """Let every key of Redis expire."""
    mib, per_s = limit(numbers, 128, 256), numbers.uniform(10, 20)
    lasts_s = numbers.randrange(40, 120)
    size = round(mib * MIB * numbers.uniform(0.3, 0.5) / (per_s * lasts_s))
    load = Load(client=redis_sets(size, lasts_s), per_s=per_s)
    return _benign(
        numbers, "redis_expiring", f"Redis, keys expire after {lasts_s} s", mib, redis(), load,
        ("redis-server",),
    )  # fmt: skip


def batch(numbers: Numbers) -> Service:
    """Run the nightly batch every few minutes."""
    mib, every_s = limit(numbers, 192, 320), numbers.randrange(150, 240)
    command = python(
        "py_batch",
        every_s,
        numbers.randrange(6, 14),
        numbers.randrange(12, 30),
        round(mib * MIB * numbers.uniform(0.35, 0.6)),
    )
    return _benign(
        numbers, "batch", f"batch every {every_s} s", mib, command, steady(numbers, 2, 5)
    )


def node_garbage(numbers: Numbers) -> Service:
    """Make garbage in Node."""
    mib = limit(numbers, 192, 320)
    command = node(
        "node_garbage.js", numbers.randrange(2000, 6000), numbers.randrange(10, 40), heap_mib=mib
    )
    return _benign(numbers, "node_garbage", "Node GC sawtooth", mib, command, steady(numbers),
                   ("node",))  # fmt: skip


def pool(numbers: Numbers) -> Service:
    """Let a pool of connections grow once."""
    mib, size = limit(numbers, 128, 256), 512 * 1024
    connections = int(mib * MIB * numbers.uniform(0.3, 0.5) / size)
    command = python("py_pool", numbers.randrange(200, 500), connections, size)
    return _benign(numbers, "pool", "Python, one step", mib, command, steady(numbers))


def retention(numbers: Numbers) -> Service:
    """Have glibc keep what a peak took."""
    mib, peak_s = limit(numbers, 96, 192), numbers.randrange(120, 500)
    peak = round(mib * MIB * numbers.uniform(0.4, 0.6))
    command = ("{built}/c_retention", "{port}", str(peak_s), str(peak))
    return _benign(numbers, "retention", "glibc keeps a peak", mib, command, steady(numbers),
                   ("gcc",))  # fmt: skip


def files(numbers: Numbers) -> Service:
    """Read and write more files than fit."""
    mib, size = limit(numbers, 96, 160), 128 * 1024
    count = round(mib * MIB * numbers.uniform(1.5, 2.5) / size)
    command = python("py_files", "{folder}", count, size)
    return _benign(numbers, "files", "page cache to the limit", mib, command, steady(numbers))


def idle(numbers: Numbers) -> Service:
    """Do next to nothing."""
    load = Load(client=fresh_paths, per_s=0.2)
    return _benign(numbers, "idle", "idle", limit(numbers, 64, 128), python("py_idle"), load)


def daily(numbers: Numbers) -> Service:
    """Follow the load of a day that is minutes long."""
    mib, lasts_s = limit(numbers, 128, 256), numbers.randrange(20, 45)
    load = Load(
        client=fresh_paths, per_s=numbers.uniform(8, 14), period_s=numbers.uniform(150, 260),
        depth=numbers.uniform(0.5, 0.8),
    )  # fmt: skip
    size = round(mib * MIB * numbers.uniform(0.3, 0.45) / (load.per_s * lasts_s))
    command = python("py_daily", size, lasts_s, 0)
    return _benign(numbers, "daily", "Python, load of the day", mib, command, load)


def recycling(numbers: Numbers) -> Service:
    """Replace the workers of gunicorn before their leak matters."""
    mib, most = limit(numbers, 192, 320), numbers.randrange(100, 220)
    load = steady(numbers, 6, 12)
    leak = round((mib - 45) * MIB * numbers.uniform(0.15, 0.25) / (2 * most))
    options = ("--max-requests", str(most), "--max-requests-jitter", str(most // 3))
    return _benign(numbers, "recycling", "gunicorn, workers are recycled", mib,
                   gunicorn(leak, *options), load, ("gunicorn",))  # fmt: skip


def queue(numbers: Numbers) -> Service:
    """Let the length of a queue wander."""
    mib, size = limit(numbers, 160, 256), 256 * 1024
    mean = round(mib * MIB * numbers.uniform(0.2, 0.32) / size)
    command = python("py_queue", mean, size)
    return _benign(numbers, "queue", "Python, queue wanders", mib, command, steady(numbers))


BENIGN: tuple[Callable[[Numbers], Service], ...] = (
    warm_up, lru_python, lru_node, plateau_serial, plateau_g1, redis_maxmemory, redis_expiring,
    batch, node_garbage, pool, retention, files, idle, daily, recycling, queue,
)  # fmt: skip
