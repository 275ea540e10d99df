"""Lines for a reader who may be slow, or have stopped: nobody who puts one in ever waits.

A pipe holds 64 KiB, then a write blocks for as long as its reader likes (`leakguard run | less`).
So lines wait in a bounded queue and a thread writes them, which is there only while there are any.
What does not fit is dropped and counted, and a line in its place says how many there were.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable

MOST_BYTES = 256 * 1024
PIECE_BYTES = 16 * 1024
RETRY_MS = 1000


class LineWriter:
    """Writes whole lines, in order, to one descriptor."""

    def __init__(
        self,
        fd: int,
        dropped: Callable[[int], str],
        broken: Callable[[OSError], None] = lambda _error: None,
    ) -> None:
        """Write to `fd`. `dropped` makes the line that stands for so many that were dropped.

        `broken` is told once, when nobody will read any more; from then on nothing is written.
        """
        self._fd = fd
        self._dropped = dropped
        self._tell_broken = broken
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._held_bytes = 0
        self._lost = 0
        self._writing = False
        self._is_broken = False

    def put(self, line: str) -> None:
        """Take a line without its end; never blocks."""
        data = _encoded(line)
        with self._changed:
            if self._is_broken:
                return
            if self._lost and self._held_bytes <= MOST_BYTES // 2:
                self._say_dropped()
            if self._lost or self._held_bytes + len(data) > MOST_BYTES:
                self._lost += 1
            else:
                self._add(data)
            self._start()

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything is written, `timeout_s` at most; False when something is left."""
        with self._changed:
            self._start()
            return self._changed.wait_for(self._is_empty, timeout_s)

    def _is_empty(self) -> bool:
        return self._is_broken or not (self._waiting or self._writing)

    def _add(self, data: bytes) -> None:
        self._waiting.append(data)
        self._held_bytes += len(data)

    def _say_dropped(self) -> None:
        lost, self._lost = self._lost, 0
        self._add(_encoded(self._dropped(lost)))

    def _start(self) -> None:
        if self._writing or self._is_broken or not self._waiting:
            return
        thread = threading.Thread(target=self._work, name="lines", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had now: the next line tries again
            return
        self._writing = True

    def _work(self) -> None:
        try:
            while piece := self._next_piece():
                _write(self._fd, piece)
                with self._changed:
                    self._held_bytes -= len(piece)
        except OSError as error:
            self._give_up(error)
        except BaseException:
            with self._changed:
                self._writing = False  # the next line brings another thread
            raise

    def _next_piece(self) -> bytes:
        with self._changed:
            if not self._waiting and self._lost:
                self._say_dropped()
            lines: list[bytes] = []
            while self._waiting and sum(map(len, lines)) < PIECE_BYTES:
                lines.append(self._waiting.popleft())
            if not lines:
                self._writing = False
                self._changed.notify_all()
            return b"".join(lines)

    def _give_up(self, error: OSError) -> None:
        with self._changed:
            self._is_broken, self._writing = True, False
            self._waiting.clear()
            self._changed.notify_all()
        self._tell_broken(error)


def _encoded(line: str) -> bytes:
    # A name that is not UTF-8 becomes `\udc80`, which JSON reads back as it was.
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:  # whoever gave us the pipe has made it non-blocking
            poller = select.poll()
            poller.register(fd, select.POLLOUT)
            poller.poll(RETRY_MS)
