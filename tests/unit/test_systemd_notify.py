"""sd_notify: what is said arrives, and a manager that does not read holds nobody."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from leakguard.runtime.lifecycle import SystemdNotify


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        yield listening


def test_what_is_said_arrives(manager: socket.socket) -> None:
    """As one datagram."""
    SystemdNotify({"NOTIFY_SOCKET": manager.getsockname()}).say("READY=1")
    assert manager.recv(100) == b"READY=1"


def test_a_manager_that_does_not_read_holds_nobody(manager: socket.socket) -> None:
    """Its queue is full: the word is lost, the loop goes on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                filler.sendto(b"x", manager.getsockname())
        SystemdNotify({"NOTIFY_SOCKET": manager.getsockname()}).say("WATCHDOG=1")
    assert manager.recv(100) == b"x"


@pytest.mark.parametrize("address", ["", "/nonexistent/notify", "@leakguard-nobody-listens"])
def test_without_a_manager_nothing_is_said(address: str) -> None:
    """And nothing fails."""
    SystemdNotify({"NOTIFY_SOCKET": address}).say("READY=1")


@pytest.mark.parametrize(
    ("environ", "every_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_fed_twice_in_its_time(
    environ: dict[str, str], every_s: float | None
) -> None:
    """Where it is meant for this process."""
    assert SystemdNotify(environ).watchdog_s == every_s
