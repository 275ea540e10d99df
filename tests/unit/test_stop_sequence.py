"""Stop sequences: which are accepted, what is added, how they read."""

import signal

import pytest

from leakguard.core.errors import UnitError
from leakguard.core.units import Seconds
from leakguard.drivers._stop import StopStep, To, describe_stop, sequence, signal_number

TERM = StopStep(signal="TERM", wait=Seconds(20.0))
KILL = StopStep(signal="KILL")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("SIGINT", signal.SIGINT),
        ("usr1", signal.SIGUSR1),
        ("RTMIN+3", signal.SIGRTMIN + 3),
    ],
)
def test_a_signal_is_read_by_its_name(name: str, number: int) -> None:
    """Names work with and without SIG, in any case, and so do real-time signals."""
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["TREM", "", "15", "STOP", "TSTP", "RTMIN+99", "SIG_DFL"])
def test_what_does_not_end_a_process_is_refused(name: str) -> None:
    """An unknown name, a number or a signal that only halts is an error where it is written."""
    with pytest.raises(UnitError):
        StopStep(signal=name)


def test_a_negative_wait_is_refused() -> None:
    """A wait is zero or more."""
    with pytest.raises(UnitError, match="negative"):
        StopStep(signal="TERM", wait=Seconds(-1.0))


def test_kill_is_always_the_last_step() -> None:
    """A sequence without KILL gets one; one that has it stays as it is."""
    assert sequence([TERM]) == (TERM, KILL)
    assert sequence([TERM, KILL]) == (TERM, KILL)
    assert sequence([]) == (KILL,)


def test_a_step_after_kill_is_refused() -> None:
    """Nothing comes after KILL, so whoever writes it means something else."""
    with pytest.raises(UnitError, match="KILL last"):
        sequence([KILL, TERM])


def test_a_sequence_reads_as_a_sentence() -> None:
    """The wait of a step is told with the step that follows it."""
    steps = (TERM, StopStep(signal="INT", wait=Seconds(5.0)))
    assert describe_stop(steps, To.TREE) == "TERM to the tree, INT after 20s, KILL after 5s"
