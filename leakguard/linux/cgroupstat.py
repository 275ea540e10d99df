"""Read the files of one memory cgroup: limit, usage, split, swap room, kills. Bytes throughout."""

import errno
import os
from collections.abc import Iterable, Mapping

from leakguard.core.errors import ReadingError
from leakguard.core.frozen import dataclass
from leakguard.core.sample import DomainSample, ThrottleSample
from leakguard.linux.keptfiles import KeptFiles
from leakguard.linux.proctext import text

_UNLIMITED_V1 = 1 << 62
"""What v1 prints for "no limit" is the largest number of whole pages, just below 2**63."""
_GONE = frozenset((errno.ENOENT, errno.ENODEV, errno.ENOTDIR))
_PARTS = {
    1: (b"total_", (b"rss", b"cache", b"shmem")),
    2: (b"", (b"anon", b"file", b"shmem")),
}
_MAX_BELOW = 64
_MAX_DIGITS = 20


class CgroupGone(ReadingError):  # noqa: N818  it is what happened, not a fault
    """The cgroup was removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupDir:
    """A memory cgroup that can be read."""

    version: int
    path: str
    """As /proc/PID/cgroup names it."""
    directory: str
    top: str
    """Directory of the highest ancestor that can be seen."""
    complete: bool
    """`top` is the real root: no ancestor is hidden, so every limit is known."""

    @property
    def key(self) -> str:
        """Name it as `Sample.domains` does."""
        return f"v{self.version}:{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageParts:
    """What a cgroup and those below it charge, in bytes; `file` is without shmem."""

    anon: int
    file: int
    shmem: int
    swap: int


def read_limit(files: KeptFiles, cgroup: CgroupDir) -> int | None:
    """Give the memory limit, None when there is none."""
    return _limit(files, cgroup, "memory.limit_in_bytes" if cgroup.version == 1 else "memory.max")


def read_domain_v1(
    files: KeptFiles, cgroup: CgroupDir, swap_free: int, oom_kills: int | None
) -> DomainSample:
    """Measure a limited v1 group."""
    limit = _required(read_limit(files, cgroup), cgroup)
    usage = _number(files, cgroup, "memory.usage_in_bytes")
    return DomainSample(
        path=cgroup.path,
        version=1,
        limit_bytes=limit,
        usage_bytes=usage,
        reclaimable_bytes=_reclaimable(_stat(files, cgroup), 1),
        swap_room_bytes=_swap_room_v1(files, cgroup, limit, usage, swap_free),
        limit_hits=_hits_v1(files, cgroup),
        oom_kills=oom_kills,
    )


def read_domain_v2(
    files: KeptFiles, cgroup: CgroupDir, swap_free: int, chain: Iterable[CgroupDir]
) -> DomainSample:
    """Measure a limited v2 group; `chain` is the group and its ancestors, which bound its swap."""
    events = _pairs(_read(files, cgroup, "memory.events"))
    return DomainSample(
        path=cgroup.path,
        version=2,
        limit_bytes=_required(read_limit(files, cgroup), cgroup),
        usage_bytes=_number(files, cgroup, "memory.current"),
        reclaimable_bytes=_reclaimable(_stat(files, cgroup), 2),
        swap_room_bytes=_swap_room_v2(files, chain, swap_free) if swap_free else 0,
        limit_hits=events.get(b"max"),
        oom_kills=events.get(b"oom_kill"),
    )


def read_throttle(
    files: KeptFiles, cgroup: CgroupDir, swap_free: int, chain: Iterable[CgroupDir]
) -> ThrottleSample | None:
    """Measure a v2 group that has `memory.high`, None where it has none, or one above its limit."""
    high = _limit(files, cgroup, "memory.high") if cgroup.version == 2 else None
    limit = read_limit(files, cgroup) if high is not None else None
    if high is None or (limit is not None and high >= limit):
        return None
    return ThrottleSample(
        path=cgroup.path,
        high_bytes=high,
        usage_bytes=_number(files, cgroup, "memory.current"),
        reclaimable_bytes=_reclaimable(_stat(files, cgroup), 2),
        swap_room_bytes=_swap_room_v2(files, chain, swap_free) if swap_free else 0,
        hits=_high_hits(files, cgroup),
        limited=limit is not None,
    )


def read_kills(files: KeptFiles, cgroup: CgroupDir) -> int | None:
    """Count OOM kills in a v2 group and below it, None where the kernel does not count."""
    return _pairs(_read(files, cgroup, "memory.events")).get(b"oom_kill")


def read_parts(files: KeptFiles, cgroup: CgroupDir) -> UsageParts:
    """Split what the cgroup charges."""
    stat = _stat(files, cgroup)
    prefix, names = _PARTS[cgroup.version]
    try:
        anon, cache, shmem = (stat[prefix + name] for name in names)
    except KeyError as error:
        raise ReadingError(
            f"{cgroup.directory}/memory.stat has no line {text(error.args[0])!r}"
        ) from error
    if cgroup.version == 1:
        swap = stat.get(b"total_swap", 0)
    else:
        swap = _optional(files, cgroup, "memory.swap.current") or 0
    return UsageParts(anon=anon, file=max(0, cache - shmem), shmem=shmem, swap=swap)


def read_used(files: KeptFiles, cgroup: CgroupDir) -> int:
    """Give what the cgroup charges, less reclaimable file pages."""
    name = "memory.usage_in_bytes" if cgroup.version == 1 else "memory.current"
    stat = _stat(files, cgroup)
    return max(0, _number(files, cgroup, name) - _reclaimable(stat, cgroup.version))


def read_procs(directory: str) -> tuple[int, ...]:
    """List the processes directly in a cgroup; those of hidden pid namespaces print as 0."""
    try:
        with open(f"{directory}/cgroup.procs", "rb", buffering=0) as file:
            data = file.read() or b""
    except OSError:  # removed meanwhile, or a threaded group that has no list
        return ()
    words = (word for word in data.split() if word.isdigit() and len(word) <= _MAX_DIGITS)
    return tuple(pid for pid in map(int, words) if pid > 0)


def subtree(directory: str, most: int) -> tuple[str, ...]:
    """List a cgroup's directory and those below it, at most `most`."""
    found = [directory]
    for place in found:
        try:
            with os.scandir(place) as entries:
                below = sorted(
                    entry.path for entry in entries if entry.is_dir(follow_symlinks=False)
                )
        except OSError:  # removed meanwhile
            continue
        found.extend(below[: most - len(found)])
        if len(found) >= most:
            break
    return tuple(found)


class OomKills:
    """Counts OOM kills in a v1 group and below it.

    v1 counts a kill in the victim's own group only: the group whose limit was hit shows 0. So the
    groups below are added up, and what a group counted stays counted when it is removed.
    """

    def __init__(self, files: KeptFiles) -> None:
        self._files = files
        self._counts: dict[str, dict[str, int]] = {}
        self._links: dict[str, tuple[int, ...]] = {}
        self._totals: dict[str, int] = {}

    def read(self, directory: str) -> int | None:
        """Give the kills seen in `directory` and below, None where the kernel does not count."""
        if self._count(directory) is None:
            return None
        known = self._counts.get(directory, {})
        counts = {place: self._count(place) or 0 for place in self._places(directory, tuple(known))}
        risen = sum(max(0, count - known.get(place, 0)) for place, count in counts.items())
        self._counts[directory] = counts
        self._totals[directory] = self._totals.get(directory, 0) + risen
        return self._totals[directory]

    def keep(self, directories: Iterable[str]) -> tuple[str, ...]:
        """Forget all groups but these; give every directory that is still read for them."""
        wanted = set(directories)
        for gone in self._counts.keys() - wanted:
            del self._counts[gone], self._links[gone], self._totals[gone]
        return tuple(place for counts in self._counts.values() for place in counts)

    def _places(self, directory: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """Walk the groups below only when a directory's link count tells that they changed."""
        if known and self._links[directory] == tuple(map(_links, known)):
            return known
        places = subtree(directory, _MAX_BELOW)
        self._links[directory] = tuple(map(_links, places))
        return places

    def _count(self, directory: str) -> int | None:
        try:
            return _pairs(self._files.read(f"{directory}/memory.oom_control")).get(b"oom_kill")
        except OSError:
            return None


def _links(directory: str) -> int:
    try:
        return os.stat(directory).st_nlink
    except OSError:
        return 0


def _high_hits(files: KeptFiles, cgroup: CgroupDir) -> int | None:
    """Count how often this very group was slowed down; before 5.2 those below it count too."""
    try:
        data = files.read(f"{cgroup.directory}/memory.events.local")
    except OSError:
        data = _read(files, cgroup, "memory.events")
    return _pairs(data).get(b"high")


def _hits_v1(files: KeptFiles, cgroup: CgroupDir) -> int:
    """Count both limits: where they are equal, memory plus swap is tried first.

    Linux 6.18 does not count there: in such a group only `oom_kill` rises.
    """
    both = _optional(files, cgroup, "memory.memsw.failcnt") or 0
    return _number(files, cgroup, "memory.failcnt") + both


def _swap_room_v1(
    files: KeptFiles, cgroup: CgroupDir, limit: int, usage: int, swap_free: int
) -> int:
    """Give how much the limit on memory plus swap adds to the headroom.

    It is negative where swap is full already: memory+swap is then hit first, below `limit`.
    """
    both_limit = _limit(files, cgroup, "memory.memsw.limit_in_bytes")
    if both_limit is None:
        return swap_free
    swapped = max(0, (_optional(files, cgroup, "memory.memsw.usage_in_bytes") or usage) - usage)
    return min(swap_free, both_limit - limit - swapped)


def _swap_room_v2(files: KeptFiles, chain: Iterable[CgroupDir], swap_free: int) -> int:
    room = swap_free
    for group in chain:
        limit = _limit(files, group, "memory.swap.max")
        if limit is not None:
            used = _optional(files, group, "memory.swap.current") or 0
            room = min(room, max(0, limit - used))
    return room


def _limit(files: KeptFiles, cgroup: CgroupDir, name: str) -> int | None:
    """Read a limit; the file is missing at the root of v2 and without swap accounting."""
    try:
        data = files.read(f"{cgroup.directory}/{name}").strip()
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise _trouble(cgroup, name, error) from error
    if data == b"max":
        return None
    limit = _whole(data, cgroup, name)
    return None if cgroup.version == 1 and limit >= _UNLIMITED_V1 else limit


def _optional(files: KeptFiles, cgroup: CgroupDir, name: str) -> int | None:
    try:
        return _whole(files.read(f"{cgroup.directory}/{name}"), cgroup, name)
    except OSError:
        return None


def _number(files: KeptFiles, cgroup: CgroupDir, name: str) -> int:
    return _whole(_read(files, cgroup, name), cgroup, name)


def _stat(files: KeptFiles, cgroup: CgroupDir) -> dict[bytes, int]:
    return _pairs(_read(files, cgroup, "memory.stat"))


def _read(files: KeptFiles, cgroup: CgroupDir, name: str) -> bytes:
    try:
        return files.read(f"{cgroup.directory}/{name}")
    except OSError as error:
        raise _trouble(cgroup, name, error) from error


def _trouble(cgroup: CgroupDir, name: str, error: OSError) -> ReadingError:
    if error.errno in _GONE:
        return CgroupGone(f"cgroup {cgroup.path} is gone, or has no {name}")
    return ReadingError(f"cannot read {cgroup.directory}/{name}: {error.strerror}")


def _reclaimable(stat: Mapping[bytes, int], version: int) -> int:
    prefix = b"total_" if version == 1 else b""
    return stat.get(prefix + b"active_file", 0) + stat.get(prefix + b"inactive_file", 0)


def _required(limit: int | None, cgroup: CgroupDir) -> int:
    if limit is None:
        raise ReadingError(f"cgroup {cgroup.path} has no memory limit any more")
    return limit


def _whole(data: bytes, cgroup: CgroupDir, name: str) -> int:
    word = data.strip()
    if not word.isdigit() or len(word) > _MAX_DIGITS:
        raise ReadingError(f"{cgroup.directory}/{name} holds no number: {text(data[:40])!r}")
    return int(word)


def _pairs(data: bytes) -> dict[bytes, int]:
    """Read `name number` lines; anything else in the file is left out."""
    words = data.split()
    try:
        return dict(zip(words[::2], map(int, words[1::2]), strict=False))
    except ValueError:
        lines = (line.split() for line in data.splitlines())
        return {
            line[0]: int(line[1])
            for line in lines
            if len(line) == 2 and line[1].isdigit() and len(line[1]) <= _MAX_DIGITS
        }
