"""Where kernel lines come from: files (packed ones too), stdin, /dev/kmsg, the journal."""

import bz2
import gzip
import io
import lzma
import os
import select
import stat
import subprocess
import sys
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, cast

from leakguard.cli._output import talk
from leakguard.core.errors import LeakguardError, PermissionRefused, UsageError

KMSG = "/dev/kmsg"
STDIN = "-"
JOURNAL = ("journalctl", "-k", "-o", "short-monotonic", "--no-pager", "-q")
_RECORD_BYTES = 16384
_LINE_CHARS = 65536
_SILENCE_S = 60.0
_PACKED = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ", lzma.open),
)
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def file_lines(name: str) -> Iterator[str]:
    """Give the lines of a file, of stdin (`-`) or of a device such as /dev/kmsg.

    Raises:
        UsageError: it is not there or not a file.
        PermissionRefused: it may not be read.
    """
    if name == STDIN:
        yield from _text(cast("io.BufferedReader", sys.stdin.buffer), "standard input")
        return
    try:
        if stat.S_ISCHR(Path(name).stat().st_mode):
            yield from _kmsg(name)
            return
        with Path(name).open("rb") as raw:
            yield from _text(raw, name)
    except PermissionError as error:
        raise PermissionRefused(f"{name}: {error.strerror}: {_right(name)}") from error
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from error


def _right(name: str) -> str:
    if name == KMSG:
        return "run as root, or with CAP_SYSLOG (kernel.dmesg_restrict is 1)"
    return "run as root, or as a member of the group that owns it"


def _text(raw: io.BufferedReader, name: str) -> Iterator[str]:
    """Give lines of bounded length; packed data is known by its first bytes, not by its name."""
    head = raw.peek(8)
    opener = next((one for magic, one in _PACKED if head.startswith(magic)), None)
    stream = raw if opener is None else cast("BinaryIO", opener(raw, "rb"))
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace")
    try:
        yield from iter(lambda: text.readline(_LINE_CHARS), "")
    except _BROKEN as error:
        talk(f"leakguard: {name}: the packed data ends early or is damaged: {error}")
    finally:
        text.detach()  # who opened the file closes it


def _kmsg(name: str) -> Iterator[str]:
    """Give the records that are in the ring buffer now, without waiting for more."""
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        while True:
            try:
                record = os.read(fd, _RECORD_BYTES)
            except BlockingIOError:
                return
            except BrokenPipeError:  # overwritten while we read: the next read goes on behind it
                continue
            if not record:
                return
            yield record.partition(b"\n")[0].decode(errors="backslashreplace")
    finally:
        os.close(fd)


def journal_lines(argv: tuple[str, ...] = JOURNAL) -> Generator[str, None, None]:
    """Give the kernel's lines of this boot from journald.

    Raises:
        UsageError: there is no journalctl.
        PermissionRefused: the journal may not be read.
        LeakguardError: journalctl failed or fell silent.
    """
    try:
        reader = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise UsageError(f"{argv[0]}: {error.strerror}: give a log file instead") from error
    with reader:
        try:
            yield from _piped(reader)
        finally:
            if reader.poll() is None:
                reader.kill()
        said = (reader.stderr.read() if reader.stderr else b"").decode(errors="replace").strip()
    if reader.returncode == 0:
        return
    if "permission" in said:
        raise PermissionRefused(f"{argv[0]}: {said.splitlines()[-1]}: run as root")
    raise LeakguardError(f"{argv[0]} ended with {reader.returncode}: {said or 'nothing said'}")


def _piped(reader: "subprocess.Popen[bytes]") -> Iterator[str]:
    """Give what the program prints, line by line, as long as it goes on printing."""
    assert reader.stdout is not None  # noqa: S101  it was opened as a pipe above
    fd, rest = reader.stdout.fileno(), b""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while True:
        if not poller.poll(_SILENCE_S * 1000):
            raise LeakguardError(f"journalctl printed nothing for {_SILENCE_S:.0f} s")
        data = os.read(fd, _LINE_CHARS)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="backslashreplace") for line in lines)
    reader.wait(timeout=_SILENCE_S)
    if rest:
        yield rest.decode(errors="backslashreplace")
