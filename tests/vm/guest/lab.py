"""What all scenarios of one boot share."""

import random
from dataclasses import dataclass
from pathlib import Path

from tests.vm.guest.channel import Channel
from tests.vm.guest.kernel import KernelLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """The way out, the kernel's log, the group for cases, a tmpfs folder, and the dice."""

    channel: Channel
    log: KernelLog
    top: Path
    shared: Path
    rng: random.Random
