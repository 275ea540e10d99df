"""Find memory cgroups, version 1, version 2 and mixed, through the mounts that are really there."""

import glob
import os
from collections.abc import Iterable, Iterator

from leakguard.core.errors import ReadingError
from leakguard.core.sample import DomainSample, ThrottleSample
from leakguard.linux import cgroupstat
from leakguard.linux.cgroupstat import CgroupDir, CgroupGone, OomKills, UsageParts
from leakguard.linux.keptfiles import KeptFiles
from leakguard.linux.mounts import CgroupMount, below, parse_mountinfo
from leakguard.linux.procfs import ProcFs

__all__ = ["CgroupDir", "CgroupFs", "CgroupGone", "UsageParts"]

_PRESENT = {1: "memory.usage_in_bytes", 2: "memory.stat"}
_ONLY_AT_REAL_ROOT = "release_agent"  # v1
_NEVER_AT_REAL_ROOT = "cgroup.type"  # v2
_MAX_DIRECTORIES = 4096


class CgroupFs:
    """The memory cgroups of this machine, or of a tree of files under `root`.

    Without `root`, mountinfo tells where they are. A cgroup outside of every mount is *unknown*:
    `memory_dir` gives None, and nobody may take that for "no limit".
    """

    def __init__(self, proc: ProcFs, root: str = "") -> None:
        self.proc = proc
        self.files = KeptFiles()
        self._root = root.rstrip("/")
        self._mounts: tuple[CgroupMount, ...] | None = None
        self._oom_kills = OomKills(self.files)

    def memory_dir(self, pid: int) -> CgroupDir | None:
        """Give the cgroup that the process's memory is charged to, None when it is not known."""
        paths = self.proc.cgroup_of(pid)
        version = 1 if "memory" in paths else 2
        path = paths.get("memory", paths.get(""))
        if path is None:
            return None
        found = self._resolve(version, path, self._own_mounts(), "")
        if found is None and not self._root:
            self._mounts = None  # perhaps mounted since
            prefix = f"{self.proc.root}/{pid}/root"
            found = self._resolve(version, path, self._own_mounts(), "") or self._resolve(
                version, path, self._mounts_of(pid), prefix
            )
        return found

    def directory(self, path_or_dir: str) -> CgroupDir:
        """Find a cgroup by its directory, or by its path as /proc/PID/cgroup shows it."""
        looked_for: list[str] = []
        for mount in self._own_mounts():
            inside = below(os.path.normpath(path_or_dir), mount.point)
            path = f"/{path_or_dir.strip('/')}"
            if inside is not None:
                path = f"{mount.root.rstrip('/')}{inside}" or "/"
            looked_for.append(f"{mount.point}{below(path, mount.root) or path}")
            found = self._resolve(mount.version, path, (mount,), "")
            if found is not None and found.path == (path.rstrip("/") or "/"):
                return found
        places = " and ".join(looked_for) or "a mounted memory controller"
        raise ReadingError(
            f"no memory cgroup {path_or_dir!r}: looked for {places}; "
            "`cat /proc/PID/cgroup` shows the path of a running process"
        )

    def matching(self, pattern: str) -> tuple[CgroupDir, ...]:
        """Find every cgroup whose directory, or path, matches a pattern with * ? [ ]."""
        found: dict[str, CgroupDir] = {}
        for mount in self._own_mounts():
            inside = below(os.path.normpath(pattern), mount.point)
            if inside is None:
                inside = below(f"/{pattern.strip('/')}", mount.root)
            places = glob.glob(f"{glob.escape(mount.point)}{inside}/") if inside else ()
            for place in sorted(places):
                path = f"{mount.root.rstrip('/')}{place.removeprefix(mount.point).rstrip('/')}"
                group = self._resolve(mount.version, path, (mount,), "")
                if group is not None and group.path == path:
                    found[group.key] = group
        return tuple(found.values())

    def tops(self) -> tuple[CgroupDir, ...]:
        """Give the highest group that each mount shows, where the memory controller is on."""
        found: dict[str, CgroupDir] = {}
        for mount in self._own_mounts():
            top = self._resolve(mount.version, mount.root, (mount,), "")
            if top is not None:
                found.setdefault(top.key, top)
        return tuple(found.values())

    def ancestors(self, cgroup: CgroupDir) -> Iterator[CgroupDir]:
        """Walk from a cgroup up to the highest that can be seen, itself first."""
        while True:
            yield cgroup
            if cgroup.directory == cgroup.top:
                return
            cgroup = _parent(cgroup)
            if cgroup.version == 1 and not self._hierarchical(cgroup):
                return

    def limited_ancestors(self, cgroup: CgroupDir) -> tuple[CgroupDir, ...]:
        """List the cgroup and its ancestors that have a memory limit, nearest first."""
        return tuple(
            ancestor for ancestor in self.ancestors(cgroup) if self.limit(ancestor) is not None
        )

    def limit(self, cgroup: CgroupDir) -> int | None:
        """Give the memory limit in bytes, None when there is none."""
        return cgroupstat.read_limit(self.files, cgroup)

    def read_domain(self, cgroup: CgroupDir, swap_free_bytes: int = 0) -> DomainSample:
        """Measure a limited cgroup; `swap_free_bytes` is what the host still has."""
        if cgroup.version == 1:
            kills = self._oom_kills.read(cgroup.directory)
            return cgroupstat.read_domain_v1(self.files, cgroup, swap_free_bytes, kills)
        chain = self.ancestors(cgroup)
        return cgroupstat.read_domain_v2(self.files, cgroup, swap_free_bytes, chain)

    def read_throttle(self, cgroup: CgroupDir, swap_free_bytes: int = 0) -> ThrottleSample | None:
        """Measure a group that has `memory.high` below its limit, if any; None for all others."""
        chain = self.ancestors(cgroup)
        return cgroupstat.read_throttle(self.files, cgroup, swap_free_bytes, chain)

    def oom_kills(self, cgroup: CgroupDir) -> int | None:
        """Count the OOM kills in a cgroup and below it; None where that is not counted."""
        if cgroup.version == 1:
            return self._oom_kills.read(cgroup.directory)
        return cgroupstat.read_kills(self.files, cgroup)

    def usage_parts(self, cgroup: CgroupDir) -> UsageParts:
        """Split what the cgroup charges into anon, file, shmem and swap."""
        return cgroupstat.read_parts(self.files, cgroup)

    def used(self, cgroup: CgroupDir) -> int:
        """Give what the cgroup charges, less reclaimable file pages."""
        return cgroupstat.read_used(self.files, cgroup)

    def procs(self, cgroup: CgroupDir) -> tuple[int, ...]:
        """List the processes in the cgroup and below it, ascending."""
        pids: set[int] = set()
        for directory in cgroupstat.subtree(cgroup.directory, _MAX_DIRECTORIES):
            pids.update(cgroupstat.read_procs(directory))
        if not pids and not os.path.isdir(cgroup.directory):
            raise CgroupGone(f"cgroup {cgroup.path} is gone")
        return tuple(sorted(pids))

    def keep(self, cgroups: Iterable[CgroupDir]) -> None:
        """Close the files of all groups but these and their ancestors."""
        wanted = {place.directory for cgroup in cgroups for place in self.ancestors(cgroup)}
        self.files.keep(wanted | set(self._oom_kills.keep(wanted)))

    def close(self) -> None:
        """Close every kept descriptor."""
        self.files.close()

    def _resolve(
        self, version: int, path: str, mounts: tuple[CgroupMount, ...], prefix: str
    ) -> CgroupDir | None:
        candidates = [mount for mount in reversed(mounts) if mount.version == version]
        # The shortest root shows the most ancestors; of equals the last mount lies on top.
        candidates.sort(key=lambda mount: len(mount.root))
        for mount in candidates:
            inside = below(path, mount.root)
            if inside is None:
                continue
            top = f"{prefix}{mount.point}".rstrip("/")
            found = CgroupDir(
                version=version,
                path=path.rstrip("/") or "/",
                directory=f"{top}{inside}",
                top=top,
                complete=self._is_real_root(mount, top),
            )
            if os.path.isdir(found.directory):
                return self._charged(found)
        return None

    def _charged(self, cgroup: CgroupDir) -> CgroupDir | None:
        """Go up to where the memory controller is on; v2 charges the nearest such ancestor."""
        while not os.path.exists(f"{cgroup.directory}/{_PRESENT[cgroup.version]}"):
            if cgroup.directory == cgroup.top:
                return None
            cgroup = _parent(cgroup)
        return cgroup

    def _is_real_root(self, mount: CgroupMount, top: str) -> bool:
        """Tell the root of the hierarchy from the root of a container's cgroup namespace."""
        if mount.root != "/":
            return False
        if mount.version == 2:
            return not os.path.exists(f"{top}/{_NEVER_AT_REAL_ROOT}")
        return bool(self._root) or os.path.exists(f"{top}/{_ONLY_AT_REAL_ROOT}")

    def _hierarchical(self, cgroup: CgroupDir) -> bool:
        """Tell whether a v1 group also counts its children; before 5.11 one could turn it off."""
        try:
            return self.files.read(f"{cgroup.directory}/memory.use_hierarchy").strip() != b"0"
        except OSError:
            return True

    def _own_mounts(self) -> tuple[CgroupMount, ...]:
        if self._mounts is None:
            self._mounts = self._tree_of_files() if self._root else self._mounts_of("self")
        return self._mounts

    def _mounts_of(self, pid: int | str) -> tuple[CgroupMount, ...]:
        try:
            with open(f"{self.proc.root}/{pid}/mountinfo", "rb", buffering=0) as file:
                return parse_mountinfo(file.read() or b"")
        except OSError:
            return ()

    def _tree_of_files(self) -> tuple[CgroupMount, ...]:
        if os.path.isdir(f"{self._root}/memory"):
            return (CgroupMount(version=1, root="/", point=f"{self._root}/memory"),)
        if os.path.exists(f"{self._root}/cgroup.controllers"):
            return (CgroupMount(version=2, root="/", point=self._root),)
        return ()


def _parent(cgroup: CgroupDir) -> CgroupDir:
    return CgroupDir(
        version=cgroup.version,
        path=os.path.dirname(cgroup.path),
        directory=os.path.dirname(cgroup.directory),
        top=cgroup.top,
        complete=cgroup.complete,
    )
