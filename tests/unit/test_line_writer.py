"""Lines for a slow reader: nobody waits, the order is kept, what is dropped is counted."""

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator

import pytest

from leakguard.runtime.event_lines import EventLines
from leakguard.runtime.line_writer import MOST_BYTES, LineWriter
from leakguard.runtime.log import LineHandler, OneLine
from leakguard.testing.clock import FakeClock
from leakguard.testing.ticks import event

PATIENCE_S = 20.0
PIPE_BYTES = 4096
LINE = "x" * 99


class Pipe:
    """A pipe as small as it can be."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def drain(self, into: list[bytes]) -> threading.Thread:
        """Read to the end in a thread."""

        def read() -> None:
            while data := os.read(self.reader, 65536):
                into.append(data)

        thread = threading.Thread(target=read)
        thread.start()
        return thread


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Give a pipe, and close what is still open of it."""
    made = Pipe()
    yield made
    for fd in (made.reader, made.writer):
        try:
            os.close(fd)
        except OSError:
            continue


def dropped(count: int) -> str:
    """Make the line that stands for dropped ones."""
    return f"dropped {count}"


def read_all(pipe: Pipe, writer: LineWriter) -> list[str]:
    """Read what was and is to be written."""
    got: list[bytes] = []
    reading = pipe.drain(got)
    assert writer.flush(PATIENCE_S)
    os.close(pipe.writer)
    reading.join(PATIENCE_S)
    return b"".join(got).decode().splitlines()


def test_lines_come_in_order(pipe: Pipe) -> None:
    """All of them, also when they do not fit into the pipe at once."""
    writer = LineWriter(pipe.writer, dropped)
    lines = [f"{i} {LINE}" for i in range(300)]
    for line in lines:
        writer.put(line)
    assert read_all(pipe, writer) == lines


def test_a_reader_that_stands_still_holds_nobody(pipe: Pipe) -> None:
    """The queue has a bound; what is beyond it is counted in its place, and the rest goes on."""
    writer = LineWriter(pipe.writer, dropped)
    count = 2 * MOST_BYTES // (len(LINE) + 1)
    for _ in range(count):
        writer.put(LINE)
    assert not writer.flush(0.01)
    got = read_all(pipe, writer)
    lost = count - (len(got) - 1)
    assert (got[-1], lost > count // 3) == (f"dropped {lost}", True)


def test_after_a_gap_lines_go_on(pipe: Pipe) -> None:
    """The count stands where the lines would have been."""
    writer, got = LineWriter(pipe.writer, dropped), list[bytes]()
    for _ in range(2 * MOST_BYTES // (len(LINE) + 1)):
        writer.put(LINE)
    reading = pipe.drain(got)
    assert writer.flush(PATIENCE_S)
    writer.put("after")
    assert writer.flush(PATIENCE_S)
    os.close(pipe.writer)
    reading.join(PATIENCE_S)
    lines = b"".join(got).decode().splitlines()
    assert (lines[-2].split()[0], lines[-1]) == ("dropped", "after")


def test_a_reader_that_has_gone_is_said_once(pipe: Pipe) -> None:
    """From then on nothing is written and nothing waits."""
    said = list[str]()
    writer = LineWriter(pipe.writer, dropped, lambda error: said.append(str(error)))
    os.close(pipe.reader)
    for _ in range(3):
        writer.put(LINE)
        assert writer.flush(PATIENCE_S)
    assert said == ["[Errno 32] Broken pipe"]


def test_a_pipe_that_others_made_non_blocking_is_waited_for(pipe: Pipe) -> None:
    """Some parents give such ones."""
    os.set_blocking(pipe.writer, False)
    writer = LineWriter(pipe.writer, dropped)
    lines = [f"{i} {LINE}" for i in range(300)]
    for line in lines:
        writer.put(line)
    assert read_all(pipe, writer) == lines


def test_no_thread_stays_when_nothing_is_to_be_written(pipe: Pipe) -> None:
    """A daemon at rest has no thread for its log."""
    writer = LineWriter(pipe.writer, dropped)
    writer.put("one")
    assert writer.flush(PATIENCE_S)
    left = [t for t in threading.enumerate() if t.name == "lines"]
    for thread in left:
        thread.join(PATIENCE_S)
    assert [t.is_alive() for t in left] == [False] * len(left)


def test_without_a_thread_lines_wait_for_the_next_one(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel has a limit of threads; the log survives it."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    writer = LineWriter(pipe.writer, dropped)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        writer.put("one")
        assert not writer.flush(0.01)
    writer.put("two")
    assert read_all(pipe, writer) == ["one", "two"]


def test_a_name_that_is_not_text_is_written_all_the_same(pipe: Pipe) -> None:
    """JSON reads the escape back as it was."""
    writer = LineWriter(pipe.writer, dropped)
    writer.put(json.dumps(os.fsdecode(b"caf\xe9"), ensure_ascii=False))
    (line,) = read_all(pipe, writer)
    assert os.fsencode(json.loads(line)) == b"caf\xe9"


def test_events_that_were_not_read_are_counted_as_json(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every line of the stream is a JSON object, also the one for what is not there."""
    with os.fdopen(os.dup(pipe.writer), "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        lines = EventLines("stdout", FakeClock())
        count = 2 * MOST_BYTES // 150
        lines.write(event(f"e-{i}") for i in range(count))
        got: list[bytes] = []
        reading = pipe.drain(got)
        lines.flush(PATIENCE_S)
    os.close(pipe.writer)
    reading.join(PATIENCE_S)
    documents = [json.loads(line) for line in b"".join(got).splitlines()]
    gap = documents[-1]
    assert (gap["event"], gap["count"]) == ("EventsDropped", count - len(documents) + 1)


def test_without_a_stream_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither where none is asked for, nor where it was closed before the start."""
    monkeypatch.setattr("sys.stdout", None)
    for to in ("", "stdout"):
        lines = EventLines(to, FakeClock())
        lines.write([event("e-1")])
        lines.flush(PATIENCE_S)


def test_the_log_does_not_wait_for_its_reader(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says in its own form how many lines are missing."""
    monkeypatch.setattr("leakguard.runtime.log.LAST_S", PATIENCE_S)
    handler = LineHandler(pipe.writer)
    handler.setFormatter(OneLine("level=%(levelname)s %(message)s"))
    for number in range(2 * MOST_BYTES // (len(LINE) + 1)):
        handler.emit(logging.LogRecord("a", logging.INFO, "", 0, f"{number} {LINE}", None, None))
    got: list[bytes] = []
    reading = pipe.drain(got)
    handler.flush()
    os.close(pipe.writer)
    reading.join(PATIENCE_S)
    last = b"".join(got).decode().splitlines()[-1]
    assert last.startswith("level=warning "), last
    assert last.endswith("line(s) of the log were dropped: they were not read fast enough"), last
