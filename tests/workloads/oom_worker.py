"""Take memory of a wanted kind on command, one command a line on stdin. Standard library only.

It prints `ready`, and after each command a line that begins with `ok`. Sizes are in pages:
`anon N`, `shared FILE` (a file mapped shared and written to), `map FILE` and `cache FILE` (mapped
and read, or only read), `sparse N` (a page in each 2 MiB: as many page tables), `threads N`,
`fork K N` (children with N each), `vfork` (a child that borrows all memory), `reserve N` and then
`grow N`. It ends with its stdin.
"""

import ctypes
import mmap
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

PAGE: Final = mmap.PAGESIZE
HUGE: Final = 2 << 20
NO_RESERVE: Final = 0x4000
CLONE_VM: Final = 0x100
CLONE_VFORK: Final = 0x4000
SIGCHLD: Final = 17


class Worker:
    """Holds what it took."""

    def __init__(self) -> None:
        self._kept: list[object] = []
        self._reserve: mmap.mmap | None = None
        self._grown = 0

    def anon(self, pages: int) -> None:
        """Take private memory."""
        self._kept.append(touched(private(pages * PAGE), PAGE))

    def sparse(self, tables: int) -> None:
        """Take page tables."""
        self._kept.append(touched(private(tables * HUGE), HUGE))

    def shared(self, path: str) -> None:
        """Map a file, of tmpfs mostly, and write to all of it."""
        with open(path, "r+b") as file:  # noqa: PTH123  a plain program
            self._kept.append(touched(mmap.mmap(file.fileno(), 0), PAGE))

    def map(self, path: str) -> None:
        """Map a file and read all of it."""
        with open(path, "rb") as file:  # noqa: PTH123  as above
            area = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        for at in range(0, len(area), PAGE):
            area[at]
        self._kept.append(area)

    def cache(self, path: str) -> None:
        """Read a file."""
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  as above
            while file.read(1 << 20):
                pass

    def threads(self, count: int) -> None:
        """Start threads that rest."""
        for _ in range(count):
            threading.Thread(target=threading.Event().wait, daemon=True).start()

    def fork(self, children: int, pages: int) -> str:
        """Start children that take memory of their own and rest."""
        pids = []
        for _ in range(children):
            read, write = os.pipe()
            pid = os.fork()
            if pid == 0:
                self.anon(pages)
                os.write(write, b"x")
                rest()
            os.close(write)
            os.read(read, 1)
            os.close(read)
            pids.append(pid)
        return " ".join(map(str, pids))

    def vfork(self) -> str:
        """Start a child on our memory, as vfork does: the thread that asked waits for it."""
        # A stack of its own and a C function: Python cannot run twice in one memory.
        libc = ctypes.CDLL(None, use_errno=True)
        stack = mmap.mmap(-1, 1 << 16)
        top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + len(stack)
        self._kept.append((libc, stack))
        pause = ctypes.cast(libc.pause, ctypes.c_void_p)

        def start() -> None:
            flags = CLONE_VM | CLONE_VFORK | SIGCHLD
            libc.clone(pause, ctypes.c_void_p(top), flags, None)

        threading.Thread(target=start, daemon=True).start()
        while not (child := child_of_a_thread()):
            threading.Event().wait(0.002)
        return child

    def reserve(self, pages: int) -> None:
        """Make room in the address space, nothing of it taken."""
        self._reserve = private(pages * PAGE)

    def grow(self, pages: int) -> None:
        """Take that much more of the room."""
        assert self._reserve is not None
        for at in range(self._grown, self._grown + pages):
            self._reserve[at * PAGE] = 1
        self._grown += pages


def private(size: int) -> mmap.mmap:
    """Map private memory without huge pages."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
    area = mmap.mmap(-1, size, flags=flags)
    area.madvise(mmap.MADV_NOHUGEPAGE)
    return area


def touched(area: mmap.mmap, step: int) -> mmap.mmap:
    """Write to a byte in each `step`."""
    for at in range(0, len(area), step):
        area[at] = 1
    return area


def child_of_a_thread() -> str:
    """Give the pids of our children, whichever of our threads began them."""
    tasks = Path("/proc/self/task").glob("*/children")
    return " ".join(filter(None, (task.read_text("ascii").strip() for task in tasks)))


def rest() -> None:
    """Wait for ever, or until the worker is gone."""
    threading.Event().wait()


def main() -> None:
    """Carry out one command after the other."""
    worker = Worker()
    commands: dict[str, Callable[..., str | None]] = {
        name: getattr(worker, name) for name in dir(worker) if not name.startswith("_")
    }
    print("ready", flush=True)  # noqa: T201  whoever started it waits for this
    for line in sys.stdin:
        name, *words = line.split()
        arguments = [int(word) if word.isdigit() else word for word in words]
        answer = commands[name](*arguments)
        print(f"ok {answer or ''}".rstrip(), flush=True)  # noqa: T201  as above


if __name__ == "__main__":
    main()
