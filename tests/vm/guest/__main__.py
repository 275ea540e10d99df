"""Play the plan that the kernel's command line names; the unit switches the machine off after."""

import random
import subprocess
import sys
import traceback
from pathlib import Path

from tests.vm.guest import groups
from tests.vm.guest.channel import Channel
from tests.vm.guest.kernel import KernelLog, kernel_kills, numbers
from tests.vm.guest.lab import Lab
from tests.vm.guest.plans import PLANS

SHARED = Path("/run/lab")


def main() -> int:
    """Report the machine, play, report the end; an error is a report too."""
    words = dict(
        word.removeprefix("lab.").split("=", 1)
        for word in Path("/proc/cmdline").read_text("ascii").split()
        if word.startswith("lab.")
    )
    channel = Channel()
    try:
        _play(channel, words["plan"], int(words["seed"]))
    except Exception:  # noqa: BLE001  whatever it is, the host must hear of it
        channel.send("error", text=traceback.format_exc())
        return 1
    return 0


def _play(channel: Channel, plan: str, seed: int) -> None:
    channel.send(
        "machine",
        plan=plan,
        seed=seed,
        kernel=Path("/proc/sys/kernel/osrelease").read_text("ascii").strip(),
        up_s=float(Path("/proc/uptime").read_text("ascii").split()[0]),
        memory=numbers("/proc/meminfo"),
    )
    SHARED.mkdir()
    options = ["-t", "tmpfs", "-o", "size=90%,mode=0755", "lab"]
    subprocess.run(["mount", *options, SHARED], check=True, timeout=10)
    # The same dice for a plan whatever other plans drew.
    rng = random.Random(f"{plan} {seed}")
    lab = Lab(channel=channel, log=KernelLog(), top=groups.claim(), shared=SHARED, rng=rng)
    PLANS[plan](lab)
    channel.send("done", kills=kernel_kills(), log_lost=lab.log.lost)


if __name__ == "__main__":
    sys.exit(main())
