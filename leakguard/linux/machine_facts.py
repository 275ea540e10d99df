"""Kernel, settings and rights of this machine, as far as they decide how a lack of memory ends."""

import os
import re
from collections.abc import Iterator
from typing import Final

from leakguard.core.errors import ReadingError
from leakguard.core.findings.facts import (
    CommitFacts,
    Controller,
    GuardFacts,
    KillerFacts,
    MachineFacts,
    Psi,
    SwapFacts,
)
from leakguard.core.units import KIB
from leakguard.linux import journal
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.killer_rules import KILLERS, rule_of
from leakguard.linux.oom_probe import OomKernel, probe_settings, read_bytes
from leakguard.linux.procfs import PAGE_BYTES, ProcFs
from leakguard.linux.proctext import text

_CAP_SYS_PTRACE: Final = 1 << 19
_CAP_SYS_RESOURCE: Final = 1 << 24
_PSI_SINCE: Final = (4, 20)
_KTHREADD: Final = 2
_HIDEPID: Final = {b"off": 0, b"noaccess": 1, b"invisible": 2, b"ptraceable": 4}
_PROC_MOUNT = re.compile(rb"^.* - proc \S+ (\S+)$", re.MULTILINE)
_ZRAM = re.compile(rb"^\S*/zram\d+\s+\S+\s+(\d{1,15})\s", re.MULTILINE)
_MEMORY_SUBSYSTEM = re.compile(rb"^memory\s+\d+\s+\d+\s+(\d)\s*$", re.MULTILINE)
_SWITCH = re.compile(rb"(?:^|\s)cgroup_(enable|disable)=(\S+)")


def machine_facts(
    proc: ProcFs, cgroups: CgroupFs, kernel: OomKernel, *, root: str = ""
) -> MachineFacts:
    """Read them all; what cannot be read has the value that surprises nobody.

    Args:
        root: prefix of /dev, /var and /run, for trees of files.

    Raises:
        ReadingError: /proc/meminfo cannot be read.
    """
    info, settings = proc.meminfo(), probe_settings(proc)
    return MachineFacts(
        release=kernel.release,
        cpus=kernel.cpus,
        total_bytes=info.get("MemTotal", 0),
        swap=_swap(proc, info),
        swappiness=settings.swappiness,
        commit=CommitFacts(
            mode=settings.overcommit_memory,
            ratio=_number(f"{proc.root}/sys/vm/overcommit_ratio", 50),
            limit_bytes=info.get("CommitLimit", 0),
            promised_bytes=info.get("Committed_AS", 0),
        ),
        panic_on_oom=settings.panic_on_oom,
        panic_s=_number(f"{proc.root}/sys/kernel/panic", 0),
        kill_allocating_task=settings.kill_allocating_task,
        dump_tasks=_number(f"{proc.root}/sys/vm/oom_dump_tasks", 1) != 0,
        psi=_psi(proc, kernel.release),
        kmsg_readable=_kmsg_readable(f"{root}/dev/kmsg"),
        journal_readable=journal.is_there(root),
        controller=_controller(proc, cgroups),
        raspberry_pi=read_bytes(f"{proc.root}/device-tree/model").startswith(b"Raspberry Pi"),
        ancestors_hidden=any(not top.complete for top in cgroups.tops()),
        hidepid=_hidepid(proc),
        sees_all=sees_kernel_threads(proc),
        counter_error_bytes=kernel.rules.counter_error_pages * PAGE_BYTES,
        killers=tuple(_killers(proc)),
    )


def guard_facts(proc: ProcFs, cgroups: CgroupFs, pid: int, *, daemon: bool) -> GuardFacts:
    """Read what leakguard's own process is.

    Raises:
        ReadingError: it does not run.
    """
    digits = proc.read(pid, "status").partition(b"\nCapEff:\t")[2][:16]
    capabilities = int(digits, 16) if re.fullmatch(rb"[0-9a-fA-F]{16}", digits) else 0
    group = cgroups.memory_dir(pid)
    return GuardFacts(
        pid=pid,
        daemon=daemon,
        oom_score_adj=oom_score_adj(proc, pid),
        can_lower=bool(capabilities & _CAP_SYS_RESOURCE),
        can_trace=bool(capabilities & _CAP_SYS_PTRACE),
        cgroup=group.key if group is not None else "",
    )


def oom_score_adj(proc: ProcFs, pid: int) -> int:
    """Give the adjustment of a process, 0 where it cannot be read."""
    return _number(f"{proc.root}/{pid}/oom_score_adj", 0)


def sees_kernel_threads(proc: ProcFs) -> bool:
    """Tell the pid namespace of the machine, which alone has kernel threads, from a container's."""
    try:
        return proc.stat(_KTHREADD).kernel_thread
    except ReadingError:
        return False


def _swap(proc: ProcFs, info: dict[str, int]) -> SwapFacts:
    total = info.get("SwapTotal", 0)
    used = max(0, total - info.get("SwapFree", 0))
    return SwapFacts(total_bytes=total, used_bytes=used, zram_bytes=_zram_bytes(proc))


def _zram_bytes(proc: ProcFs) -> int:
    return KIB * sum(int(size) for size in _ZRAM.findall(read_bytes(f"{proc.root}/swaps")))


def _psi(proc: ProcFs, release: str) -> Psi:
    if proc.pressure() is not None:
        return Psi.ON
    numbers = re.match(r"(\d{1,3})\.(\d{1,4})", release)
    version = tuple(map(int, numbers.groups())) if numbers else _PSI_SINCE
    return Psi.OFF if version >= _PSI_SINCE else Psi.MISSING


def _kmsg_readable(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _controller(proc: ProcFs, cgroups: CgroupFs) -> Controller:
    if cgroups.tops():
        return Controller.ON
    enabled = _MEMORY_SUBSYSTEM.search(read_bytes(f"{proc.root}/cgroups"))
    if _disabled_at_boot(read_bytes(f"{proc.root}/cmdline")):
        return Controller.DISABLED
    if enabled is not None and enabled.group(1) == b"0":
        return Controller.DISABLED
    return Controller.MISSING


def _disabled_at_boot(cmdline: bytes) -> bool:
    """Tell whether the last word on the command line about the controller switches it off."""
    switches = [verb for verb, names in _SWITCH.findall(cmdline) if b"memory" in names.split(b",")]
    return bool(switches) and switches[-1] == b"disable"


def _hidepid(proc: ProcFs) -> int:
    mounts = _PROC_MOUNT.findall(read_bytes(f"{proc.root}/self/mountinfo"))
    for options in mounts[:1]:
        for option in options.split(b","):
            name, _, value = option.partition(b"=")
            if name == b"hidepid":
                return int(value) if value.isdigit() else _HIDEPID.get(value, 0)
    return 0


def _killers(proc: ProcFs) -> Iterator[KillerFacts]:
    for pid in proc.pids():
        name = text(read_bytes(f"{proc.root}/{pid}/comm")).strip()
        if name in KILLERS:
            try:
                argv = proc.cmdline(pid)
            except ReadingError:  # it ended meanwhile
                continue
            yield KillerFacts(name=name, pid=pid, rule=rule_of(name, argv))


def _number(path: str, missing: int) -> int:
    data = read_bytes(path).strip()
    digits = data.removeprefix(b"-")
    return int(data) if digits.isdigit() and len(digits) < 20 else missing
