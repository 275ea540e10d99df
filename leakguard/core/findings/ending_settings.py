"""Settings of the kernel that make a lack of memory end otherwise than by killing one process."""

from leakguard.core.findings.facts import Controller, MachineFacts
from leakguard.core.findings.finding import Finding
from leakguard.core.severity import Severity
from leakguard.core.units import format_bytes

_NEVER = 2
_ANY = 2
_TIGHT = 0.10


def panic_on_oom(machine: MachineFacts) -> Finding | None:
    """`vm.panic_on_oom`: the machine stops instead of one process."""
    if machine.panic_on_oom == 0:
        return None
    where = "of a cgroup too" if machine.panic_on_oom >= _ANY else "of the host, not of a cgroup,"
    after = f"boots again after {machine.panic_s} s" if machine.panic_s else "stays down"
    return Finding(
        key="panic_on_oom",
        severity=Severity.CRITICAL,
        what=f"vm.panic_on_oom is {machine.panic_on_oom}",
        why=f"A lack of memory {where} panics the whole machine instead of killing a process; it "
        f"then {after} (kernel.panic is {machine.panic_s}).",
        fix="sysctl -w vm.panic_on_oom=0, and the same in /etc/sysctl.d/",
        evidence={"panic_on_oom": machine.panic_on_oom, "panic_s": machine.panic_s},
    )


def kill_allocating_task(machine: MachineFacts) -> Finding | None:
    """`vm.oom_kill_allocating_task`: whoever asks dies, however small."""
    if not machine.kill_allocating_task:
        return None
    return Finding(
        key="kill_allocating_task",
        severity=Severity.WARNING,
        what="vm.oom_kill_allocating_task is 1",
        why="When the host runs out, whoever asks for memory at that moment is killed, large or "
        "small, so nobody can say beforehand who it will be. Cgroups choose as usual.",
        fix="sysctl -w vm.oom_kill_allocating_task=0, and the same in /etc/sysctl.d/",
        evidence={"kill_allocating_task": 1},
    )


def overcommit_never(machine: MachineFacts) -> Finding | None:
    """`vm.overcommit_memory=2`: no OOM kill, but failing allocations."""
    commit = machine.commit
    if commit.mode != _NEVER:
        return None
    left = commit.limit_bytes - commit.promised_bytes
    tight = left < _TIGHT * commit.limit_bytes
    return Finding(
        key="overcommit_never",
        severity=Severity.CRITICAL if tight else Severity.WARNING,
        what="vm.overcommit_memory is 2",
        why=f"Allocations fail with ENOMEM once {format_bytes(commit.limit_bytes)} are promised "
        f"(CommitLimit, vm.overcommit_ratio {commit.ratio} %): now "
        f"{format_bytes(commit.promised_bytes)} are, {format_bytes(max(0, left))} are left. No "
        "process is killed then: whoever asks next fails, also sshd and leakguard, even while "
        "memory is free.",
        fix=f"raise vm.overcommit_ratio (now {commit.ratio}), add swap, or go back to "
        "vm.overcommit_memory=0",
        evidence={
            "commit_limit_bytes": commit.limit_bytes,
            "committed_bytes": commit.promised_bytes,
            "left_bytes": left,
            "overcommit_ratio": commit.ratio,
        },
    )


def no_swap(machine: MachineFacts) -> Finding | None:
    """No swap at all."""
    if machine.swap.total_bytes:
        return None
    return Finding(
        key="no_swap",
        severity=Severity.INFO,
        what="there is no swap",
        why="Memory of programs can never be moved out, so the kill comes as soon as RAM is full, "
        "without a slow phase before it. For forecasts that is good: the end is sharp.",
        fix="leave it so where the forecasts guard you; a small swap file on a disk softens bursts",
        evidence={"swap_total_bytes": 0},
    )


def zram(machine: MachineFacts) -> Finding | None:
    """Swap that is compressed RAM."""
    swap = machine.swap
    if not swap.zram_bytes:
        return None
    kind = "all" if swap.zram_bytes >= swap.total_bytes else format_bytes(swap.zram_bytes)
    return Finding(
        key="zram",
        severity=Severity.INFO,
        what=f"{kind} of the swap is zram",
        why="zram is RAM: each page put there still costs RAM / compression ratio, so free swap "
        "says more than is there. leakguard counts it at its worth; other tools count it in full.",
        fix="do not add free zram to free memory in your own alerts",
        evidence={"zram_bytes": swap.zram_bytes, "swap_total_bytes": swap.total_bytes},
    )


def disk_swap(machine: MachineFacts) -> Finding | None:
    """Swap on a disk: slow before it ends."""
    disk = machine.swap.total_bytes - machine.swap.zram_bytes
    if disk <= 0:
        return None
    return Finding(
        key="disk_swap",
        severity=Severity.INFO,
        what=f"{format_bytes(disk)} of swap are on a disk",
        why="Before anybody is killed, programs are moved to the disk: the machine may crawl for "
        f"minutes first. {format_bytes(machine.swap.used_bytes)} are in use.",
        fix="watch memory pressure (PSI) beside the sizes; a limit on each service keeps the "
        "others fast",
        evidence={"disk_swap_bytes": disk, "swap_used_bytes": machine.swap.used_bytes},
    )


def swappiness_zero(machine: MachineFacts) -> Finding | None:
    """`vm.swappiness=0`: cgroups do not swap at all."""
    if machine.swappiness or not machine.swap.total_bytes:
        return None
    return Finding(
        key="swappiness_zero",
        severity=Severity.WARNING,
        what=f"vm.swappiness is 0, with {format_bytes(machine.swap.total_bytes)} of swap",
        why="A cgroup at its limit then swaps nothing and kills while swap is free; the host "
        "swaps only at the very end.",
        fix="sysctl -w vm.swappiness=1 (or more), and the same in /etc/sysctl.d/",
        evidence={"swappiness": 0, "swap_total_bytes": machine.swap.total_bytes},
    )


def no_memory_controller(machine: MachineFacts) -> Finding | None:
    """Memory cgroups that do not work: limits are ignored without a word."""
    if machine.controller is Controller.ON:
        return None
    boot = (
        "append `cgroup_enable=memory cgroup_memory=1` to the one line of "
        "/boot/firmware/cmdline.txt (older: /boot/cmdline.txt) and boot again"
        if machine.raspberry_pi
        else "take `cgroup_disable=memory` from the kernel's command line and boot again"
    )
    disabled = machine.controller is Controller.DISABLED
    return Finding(
        key="no_memory_controller",
        severity=Severity.WARNING,
        what="the memory cgroup controller is " + ("disabled" if disabled else "not to be seen"),
        why="Memory limits of units and containers (MemoryMax=, --memory) are ignored without a "
        "word: one leak takes the whole machine."
        if disabled
        else "Limits of cgroups, if there are any, are unknown here: only the host's memory is "
        "forecast.",
        fix=boot
        if disabled or machine.raspberry_pi
        else "mount it (in a container: -v /sys/fs/cgroup:/sys/fs/cgroup:ro)",
        evidence={"controller": machine.controller.value},
    )


RULES = (
    panic_on_oom,
    kill_allocating_task,
    overcommit_never,
    no_memory_controller,
    swappiness_zero,
    no_swap,
    zram,
    disk_swap,
)
