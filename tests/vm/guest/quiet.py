"""Ends of memory without a kill: throttled, refused, and the panic of the whole machine."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.vm.guest import groups, kernel, worker
from tests.vm.guest.case import MIB, Holder, Leak
from tests.vm.guest.lab import Lab
from tests.vm.guest.predict import predict

HIGH_MIB = 48
MAX_MIB = 192
WANTED_MIB = 160
WATCH_S = 8.0
REFUSED_S = 60.0
OVERCOMMIT = {"overcommit_memory": 2, "overcommit_ratio": 70}


def memory_high(lab: Lab) -> None:
    """Leak against memory.high: the kernel slows the leaker down and kills nobody."""
    sizes = {"memory.high": f"{HIGH_MIB}M", "memory.max": f"{MAX_MIB}M"}
    limits = {"": sizes | {"memory.swap.max": "0"}}
    with ExitStack() as stack:
        top = stack.enter_context(groups.tree(lab.top, "memory-high", {""}, limits))
        leaker = worker.leak(Leak(), top, lab.shared)
        stack.callback(_end, top, leaker)
        lab.log.lines()
        kills = kernel.kernel_kills()
        leaker.tell(f"grow anon {WANTED_MIB * MIB}")
        said = leaker.hear(WATCH_S)
        lab.channel.send(
            "quiet",
            case="memory-high",
            said=said,
            grown_bytes=leaker.grown_bytes(),
            high_bytes=HIGH_MIB * MIB,
            wanted_bytes=WANTED_MIB * MIB,
            events=kernel.numbers(top / "memory.events"),
            counted=kernel.kernel_kills() - kills,
            prediction=predict(top),
            log=lab.log.lines(),
        )


def overcommit(lab: Lab) -> None:
    """Leak under vm.overcommit_memory=2: the kernel refuses long before the memory is full."""
    with ExitStack() as stack:
        top = stack.enter_context(groups.tree(lab.top, "overcommit", {""}, {}))
        leaker = worker.leak(Leak(), top, lab.shared)
        stack.callback(_end, top, leaker)
        stack.enter_context(kernel.settings(OVERCOMMIT))
        lab.log.lines()
        kills = kernel.kernel_kills()
        prediction = predict(None)
        before = _memory()
        said = leaker.leak("anon", REFUSED_S)
        lab.channel.send(
            "quiet",
            case="overcommit",
            said=said,
            taken_bytes=leaker.grown_bytes(),
            before=before,
            after=_memory(),
            counted=kernel.kernel_kills() - kills,
            prediction=prediction,
            log=lab.log.lines(),
        )


def panic(lab: Lab) -> None:
    """Run the host out of memory with vm.panic_on_oom: nothing is reported after this."""
    with kernel.settings({"panic_on_oom": 1}):
        top = lab.top / "panic"  # the end of the machine removes it
        top.mkdir()
        worker.hold(Holder(name="big", anon=200), top, lab.shared)
        leaker = worker.leak(Leak(), top, lab.shared)
        lab.channel.send("panic", prediction=predict(None))
        said = leaker.leak("anon", REFUSED_S)
        lab.channel.send("survived", said=said)


def _memory() -> dict[str, Any]:
    memory = kernel.numbers("/proc/meminfo")
    return {name: memory[name] for name in ("CommitLimit", "Committed_AS", "MemAvailable")}


def _end(top: Path, leaker: worker.Worker) -> None:
    (top / "cgroup.kill").write_text("1", "ascii")
    leaker.end()
