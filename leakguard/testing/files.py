"""Trees of files that look like /proc and like memory cgroups, for tests without a machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from leakguard.core.units import KIB, MIB
from leakguard.linux.procfs import PAGE_BYTES

BOOT_ID = "6f2d1c1e-0000-4000-8000-000000000001"
_UNLIMITED_V1 = 2**63 - PAGE_BYTES


class ProcFiles:
    """Writes a /proc below a folder."""

    def __init__(self, root: Path, self_pid: int = 2) -> None:
        """Begin with init, leakguard as `self_pid`, and 16 GiB of memory."""
        self.root = root
        self.write("sys/kernel/random/boot_id", f"{BOOT_ID}\n")
        self.write("meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
        self.add(1, "init", parent=0)
        self.add(self_pid, "leakguard", argv=("leakguard", "run"))
        (root / "self").symlink_to(str(self_pid))

    def add(
        self,
        pid: int,
        name: str = "app",
        *,
        parent: int = 1,
        start: int = 100,
        argv: Sequence[str] = (),
        state: str = "S",
        flags: int = 0,
        cgroups: str = "0::/\n",
        **sizes: int,
    ) -> None:
        """Write one process; `sizes` in bytes as in `size`, 10 MiB of `anon` by default.

        Beside sizes there may be `adj`, its oom_score_adj.
        """
        adj = sizes.pop("adj", 0)
        sizes = {"anon": 10 * MIB} | sizes
        pages = sum(sizes.get(kind, 0) for kind in ("anon", "file", "shmem")) // PAGE_BYTES
        counters = " ".join(["0"] * 12)
        self.write(
            f"{pid}/stat",
            f"{pid} ({name}) {state} {parent} {pid} {pid} 0 -1 {flags} {counters} {start} "
            f"{4 * pages * PAGE_BYTES} {pages} {' '.join(['0'] * 28)}\n",
        )
        self.size(pid, **sizes)
        self.adjust(pid, adj)
        self.write(f"{pid}/cmdline", "".join(f"{word}\0" for word in argv or (name,)))
        self.write(f"{pid}/cgroup", cgroups)
        self.write(f"{pid}/mountinfo", "")
        self.write(f"{pid}/maps", "")
        self.write(f"{pid}/limits", "Max address space unlimited unlimited bytes\n")

    def size(
        self,
        pid: int,
        *,
        anon: int = 0,
        file: int = 0,
        shmem: int = 0,
        swap: int = 0,
        tables: int = 64 * KIB,
    ) -> None:
        """Write the memory of one process anew."""
        pages, shared = (anon + file + shmem) // PAGE_BYTES, (file + shmem) // PAGE_BYTES
        self.write(f"{pid}/statm", f"{4 * pages} {pages} {shared} 0 0 0 0\n")
        sizes = {"VmRSS": anon + file + shmem, "RssAnon": anon, "RssFile": file}
        sizes |= {"RssShmem": shmem, "VmPTE": tables, "VmSwap": swap}
        lines = [f"{key}:\t{size // KIB} kB\n" for key, size in sizes.items()]
        self.write(f"{pid}/status", f"Name:\tapp\n{''.join(lines)}")

    def adjust(self, pid: int, oom_score_adj: int) -> None:
        """Write how dear a process is to the OOM killer, as Linux 5.9 shows it."""
        self.write(f"{pid}/oom_score_adj", f"{oom_score_adj}\n")
        self.write(f"{pid}/oom_score", f"{(1000 + oom_score_adj) * 2 // 3}\n")

    def end(self, pid: int) -> None:
        """Take a process away."""
        folder = self.root / str(pid)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()

    def write(self, name: str, content: str | bytes) -> None:
        """Write one file."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


class CgroupFiles:
    """Writes memory cgroups, all of version 1 or all of version 2, below a folder."""

    def __init__(self, root: Path, version: int) -> None:
        """Begin with the root group."""
        self.root, self.version = root, version
        self.top = root / "memory" if version == 1 else root
        self.top.mkdir(parents=True, exist_ok=True)
        if version == 1:
            self.add("/")
        else:
            self.write("/", "cgroup.controllers", "memory pids\n")
            self.write("/", "cgroup.procs", "")
            self.write("/", "memory.stat", "anon 0\nfile 0\nshmem 0\n")

    def add(
        self,
        path: str,
        *,
        limit: int | None = None,
        usage: int = 0,
        stat: Mapping[str, int] | None = None,
        procs: Sequence[int] = (),
        kills: int = 0,
        hits: int = 0,
    ) -> None:
        """Write one group. `stat` uses the names of v2; for v1 they are translated."""
        parts = {"anon": 0, "file": 0, "shmem": 0, "active_file": 0, "inactive_file": 0} | dict(
            stat or {}
        )
        self.write(path, "cgroup.procs", "".join(f"{pid}\n" for pid in procs))
        if self.version == 1:
            parts["total_rss"], parts["total_cache"] = parts.pop("anon"), parts.pop("file")
            lines = {k if k.startswith("total_") else f"total_{k}": n for k, n in parts.items()}
            self.write(
                path, "memory.limit_in_bytes", f"{_UNLIMITED_V1 if limit is None else limit}\n"
            )
            self.write(path, "memory.usage_in_bytes", f"{usage}\n")
            self.write(path, "memory.failcnt", f"{hits}\n")
            self.write(
                path,
                "memory.oom_control",
                f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
            )
        else:
            lines = dict(parts)
            self.write(path, "cgroup.type", "domain\n")
            self.write(path, "memory.max", "max\n" if limit is None else f"{limit}\n")
            self.write(path, "memory.current", f"{usage}\n")
            self.write(path, "memory.events", f"low 0\nhigh 0\nmax {hits}\noom_kill {kills}\n")
        self.write(path, "memory.stat", "".join(f"{k} {n}\n" for k, n in lines.items()))

    def write(self, path: str, name: str, content: str) -> None:
        """Write one file of a group."""
        folder = self.top / path.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
