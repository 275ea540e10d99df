"""The machine's memory, its pressure and its count of OOM kills."""

from dataclasses import replace

from leakguard.core.errors import ReadingError
from leakguard.core.sample import HostSample
from leakguard.core.units import KIB
from leakguard.linux.procfs import ProcFs

_NEVER = 2
"""`vm.overcommit_memory`: no more is promised than CommitLimit."""


class HostCollector:
    """Reads one HostSample."""

    def __init__(self, proc: ProcFs) -> None:
        self._proc = proc

    def read(self) -> HostSample:
        """Measure the machine.

        Raises:
            ReadingError: /proc/meminfo does not say what is available.
        """
        memory = self._proc.meminfo()
        total, available = memory.get("MemTotal"), _available(memory)
        if total is None or available is None:
            raise ReadingError(
                f"{self._proc.root}/meminfo has no MemTotal and MemAvailable: is it a mounted proc?"
            )
        some, full = self._proc.pressure() or (None, None)
        host = HostSample(
            total_bytes=total,
            available_bytes=available,
            swap_total_bytes=memory.get("SwapTotal", 0),
            swap_free_bytes=memory.get("SwapFree", 0),
            psi_some_avg10=some,
            psi_full_avg10=full,
            oom_kills=self._proc.oom_kill_count(),
        )
        return host if self._may_overcommit() else self._with_commit(host, memory)

    def _may_overcommit(self) -> bool:
        return self._proc.vm_setting("overcommit_memory") != _NEVER

    def _with_commit(self, host: HostSample, memory: dict[str, int]) -> HostSample:
        """Add where malloc fails; two more settings, which are of no use in the other modes."""
        reserves = (self._proc.vm_setting(f"{who}_reserve_kbytes") for who in ("admin", "user"))
        admin, user = (KIB * (size or 0) for size in reserves)
        return replace(
            host,
            commit_limit_bytes=memory.get("CommitLimit"),
            committed_bytes=memory.get("Committed_AS"),
            admin_reserve_bytes=admin,
            user_reserve_bytes=user,
        )


def _available(memory: dict[str, int]) -> int | None:
    """Give MemAvailable, or before Linux 3.14 what free and page cache bound from below."""
    if "MemAvailable" in memory:
        return memory["MemAvailable"]
    if "MemFree" not in memory:
        return None
    cache = memory.get("Cached", 0) - memory.get("Shmem", 0)
    return memory["MemFree"] + max(0, cache) // 2
