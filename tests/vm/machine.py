"""Boot one virtual machine, wait for its end and give what it reported."""

import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.vm.commands import LabError
from tests.vm.image import Images

MEMORY_MIB = 512
SWAP_DISK_BYTES = 192 * 1024 * 1024
STOP_S = 10.0
TAIL_LINES = 40
CPU_FLAGS = re.compile(r"^flags\s*:(.*)$", re.MULTILINE)
RESULTS = "leakguard.results"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """One life of the machine: what the guest reported, its console, how long it took."""

    plan: str
    records: tuple[Record, ...]
    console: str
    lasted_s: float

    def of(self, kind: str) -> list[Record]:
        """Give the records of one kind, in order."""
        return [record for record in self.records if record["record"] == kind]

    def tail(self) -> str:
        """Give the end of the console, for a message."""
        return "\n".join(self.console.splitlines()[-TAIL_LINES:])


def boot(images: Images, plan: str, *, seed: int, folder: Path, within_s: float) -> Boot:
    """Run the plan in a fresh machine without a network; nothing that it writes is kept.

    Raises:
        LabError: the machine did not end by itself within `within_s` seconds.
    """
    swap, console, results = (folder / name for name in ("swap.img", "console.log", "results"))
    with swap.open("wb") as file:
        file.truncate(SWAP_DISK_BYTES)
    argv = [*_argv(images, swap, console, results), "-append", _command_line(plan, seed)]
    began = time.monotonic()
    with (folder / "qemu.log").open("wb") as said:
        qemu = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env=os.environ | {"TMPDIR": str(folder)},  # where -snapshot keeps what is written
        )
        late = not _ended(qemu, within_s)
    ended = Boot(
        plan=plan,
        records=_records(results),
        console=console.read_text("utf-8", errors="replace") if console.exists() else "",
        lasted_s=time.monotonic() - began,
    )
    if late or qemu.returncode != 0:
        what = f"did not end within {within_s:.0f} s" if late else f"exit code {qemu.returncode}"
        log = (folder / "qemu.log").read_text("utf-8", errors="replace")
        reported = json.dumps(ended.records[-1])[:500] if ended.records else "nothing"
        raise LabError(
            f"machine {plan!r}: {what}\nqemu said: {log}\nlast report: {reported}\n{ended.tail()}"
        )
    return ended


def _argv(images: Images, swap: Path, console: Path, results: Path) -> list[str]:
    argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-machine", "pc", *_processor(), "-smp", "2", "-m", str(MEMORY_MIB)]
    argv += ["-nic", "none", "-no-reboot"]
    argv += ["-kernel", str(images.kernel), "-initrd", str(images.initramfs)]
    for disk in (images.root, images.lab, swap):
        argv += ["-drive", f"file={disk},format=raw,if=virtio,snapshot=on"]
    argv += ["-serial", f"file:{console}", "-device", "virtio-serial-pci"]
    argv += ["-chardev", f"file,id=results,path={results}"]
    argv += ["-device", f"virtserialport,chardev=results,name={RESULTS}"]
    return argv


def _processor() -> list[str]:
    """Choose KVM where the processor itself can run guests; /dev/kvm alone does not say so."""
    flags = CPU_FLAGS.search(Path("/proc/cpuinfo").read_text("ascii", errors="replace"))
    hardware = flags and {"vmx", "svm"} & set(flags[1].split())
    if hardware and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"]
    return ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"]  # five-level tables are slower


def _command_line(plan: str, seed: int) -> str:
    # panic=-1 restarts at once, which -no-reboot turns into the end of qemu.
    kernel = "console=ttyS0 loglevel=4 panic=-1 log_buf_len=1M nokaslr"
    return f"{kernel} systemd.unit=lab.target systemd.show_status=0 lab.plan={plan} lab.seed={seed}"


def _ended(qemu: subprocess.Popen[bytes], within_s: float) -> bool:
    """Wait for the end; a machine that takes too long is stopped by its own pid."""
    try:
        qemu.wait(within_s)
    except subprocess.TimeoutExpired:
        qemu.terminate()
        try:
            qemu.wait(STOP_S)
        except subprocess.TimeoutExpired:
            qemu.kill()
            qemu.wait(STOP_S)
        return False
    except BaseException:
        qemu.kill()
        qemu.wait(STOP_S)
        raise
    return True


def _records(results: Path) -> tuple[Record, ...]:
    """Read the JSON lines; a line that a panic cut off is left out."""
    if not results.exists():
        return ()
    lines = results.read_text("utf-8", errors="replace").split("\n")[:-1]
    return tuple(json.loads(line) for line in lines)
