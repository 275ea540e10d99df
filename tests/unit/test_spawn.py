"""Starting a process where descriptors run out: an error in words, and nothing is left open."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pytest

from leakguard.core.errors import DriverError
from leakguard.linux.spawn import ChildSpec, Launch

FEW = 256


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Use up every descriptor that this process may have but a few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(FEW, highest() + count + 2), hard))
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for fd in taken[count:]:
            stack.callback(os.close, fd)
        for fd in taken[:count]:
            os.close(fd)
        yield


def highest() -> int:
    """Give the highest descriptor that is open."""
    return max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208  names only


def opened() -> int:
    """Count the open descriptors."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  names only


@pytest.mark.parametrize("left", [1, 2, 3, 4])
def test_without_descriptors_nothing_is_started_and_nothing_stays_open(left: int) -> None:
    """A guard that tries again and again must not use up what little there is."""
    before = opened()
    with (
        descriptors_left(left),
        pytest.raises(DriverError, match="cannot start 'true': fork failed: Too many open files"),
    ):
        Launch(ChildSpec(argv=("true",)))
    assert opened() == before
