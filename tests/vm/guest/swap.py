"""Give the machine swap: a disk, a file, or compressed memory."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DISK = Path("/dev/vdc")
FILE = Path("/var/tmp/swapfile")
FILE_MIB = 128
ZRAM = Path("/dev/zram0")
ZRAM_MIB = 192
COMMAND_S = 60.0


def _run(*argv: str | Path) -> None:
    subprocess.run(argv, check=True, timeout=COMMAND_S, capture_output=True)


@contextmanager
def disk() -> Iterator[None]:
    """Swap to the third disk."""
    with _on(DISK):
        yield


@contextmanager
def file() -> Iterator[None]:
    """Swap to a file."""
    _run("fallocate", "--length", f"{FILE_MIB}MiB", FILE)
    FILE.chmod(0o600)
    with _on(FILE):
        yield
    FILE.unlink()


@contextmanager
def zram() -> Iterator[None]:
    """Swap to compressed memory."""
    _run("modprobe", "zram")
    Path("/sys/block/zram0/disksize").write_text(f"{ZRAM_MIB}M", "ascii")
    with _on(ZRAM):
        yield
    Path("/sys/block/zram0/reset").write_text("1", "ascii")


@contextmanager
def _on(place: Path) -> Iterator[None]:
    _run("mkswap", place)
    _run("swapon", place)
    try:
        yield
    finally:
        _run("swapoff", place)
