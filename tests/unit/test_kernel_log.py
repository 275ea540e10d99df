"""/dev/kmsg as it comes: records, what is lost, what is cut short, and what may not be read."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from leakguard.core.errors import ReadingError
from leakguard.core.oomlog.report import OomReport
from leakguard.linux import kernel_log
from leakguard.linux.kernel_log import GROUP_QUIET_S, QUIET_S, RECORDS_A_TICK, KernelLog

HEADER = "python invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
CONSTRAINT = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/a,task_memcg=/a/b,task=my app,pid={pid},uid=5"
)
KILLED = (
    "Memory cgroup out of memory: Killed process {pid} (my app) total-vm:342372kB, "
    "anon-rss:68352kB, file-rss:6340kB, shmem-rss:0kB, UID:5 pgtables:192kB oom_score_adj:7"
)
GROUP = "Tasks in /a/b are going to be killed due to memory.oom.group set"


class Kmsg:
    """A device of ours: a pipe that keeps each record apart, as /dev/kmsg does."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_DIRECT | os.O_NONBLOCK | os.O_CLOEXEC)
        self.log = KernelLog(f"/proc/self/fd/{self._read}")
        self._number = 0

    def say(self, *texts: str, pid: int = 41) -> None:
        """Write records."""
        for text in texts:
            self._number += 1
            record = f"6,{self._number},{self._number * 1000},-;{text.format(pid=pid)}\n"
            os.write(self._write, record.encode())

    def close(self) -> None:
        """Close both ends."""
        self.log.close()
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def kmsg() -> Iterator[Kmsg]:
    """Give a device."""
    device = Kmsg()
    yield device
    device.close()


def pids(reports: tuple[OomReport, ...]) -> list[int]:
    """Give who was killed."""
    return [kill.pid for report in reports for kill in report.kills]


def test_a_report_is_finished_by_its_kill(kmsg: Kmsg) -> None:
    """In the same look, with all that it says."""
    kmsg.say("eth0: link up", HEADER, CONSTRAINT, KILLED)
    (report,) = kmsg.log.read(100.0)
    (kill,) = report.kills
    assert (report.oom_memcg, kill.task_memcg, kill.pid, kill.name) == ("/a", "/a/b", 41, "my app")
    assert (kill.oom_score_adj, kill.sizes.anon_rss_kb, kill.boot_s) == (7, 68352, 0.004)
    assert kmsg.log.read(101.0) == ()


def test_continuation_lines_are_no_text(kmsg: Kmsg) -> None:
    """The kernel adds `KEY=value` lines for programs."""
    kmsg.say(KILLED + "\n SUBSYSTEM=mm\n DEVICE=x")
    assert pids(kmsg.log.read(100.0)) == [41]


def test_two_kills_in_one_look(kmsg: Kmsg) -> None:
    """Each is a report of its own."""
    kmsg.say(HEADER, CONSTRAINT, KILLED)
    kmsg.say(HEADER, CONSTRAINT, KILLED, pid=42)
    assert pids(kmsg.log.read(100.0)) == [41, 42]


def test_a_report_that_is_being_printed_is_waited_for(kmsg: Kmsg) -> None:
    """The task table of a large machine takes a while."""
    kmsg.say(HEADER, CONSTRAINT)
    assert kmsg.log.read(100.0) == ()
    kmsg.say(KILLED)
    assert pids(kmsg.log.read(100.5)) == [41]


def test_a_report_without_its_end_is_given_up_after_silence(kmsg: Kmsg) -> None:
    """The line of the kill was lost; the line before it names the victim too."""
    kmsg.say(HEADER, CONSTRAINT)
    assert kmsg.log.read(100.0) == ()
    assert kmsg.log.read(100.0 + QUIET_S - 0.1) == ()
    assert pids(kmsg.log.read(100.0 + QUIET_S)) == [41]


def test_a_group_is_one_report(kmsg: Kmsg) -> None:
    """The kernel names one after the other."""
    kmsg.say(HEADER, CONSTRAINT, KILLED, GROUP)
    assert kmsg.log.read(100.0) == ()
    kmsg.say(KILLED, pid=42)
    assert kmsg.log.read(100.1) == ()
    (report,) = kmsg.log.read(100.1 + GROUP_QUIET_S)
    assert ([k.pid for k in report.kills], [k.group_kill for k in report.kills]) == (
        [41, 42],
        [True, True],
    )


def test_what_one_tick_reads_is_bounded(kmsg: Kmsg, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of messages must not hold up the guard; the rest is read in the next tick."""
    monkeypatch.setattr(kernel_log, "RECORDS_A_TICK", 3)
    assert RECORDS_A_TICK == 1000
    kmsg.say("a", "b", "c", KILLED)
    assert [pids(kmsg.log.read(100.0)), pids(kmsg.log.read(100.1))] == [[], [41]]


class Overwritten(KernelLog):
    """A log whose ring buffer ran over."""

    def __init__(self, path: str, answers: list[bytes | OSError]) -> None:
        """Answer reads with these."""
        super().__init__(path)
        self._answers = answers

    def _read(self) -> bytes:
        if not self._answers:
            raise BlockingIOError
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer


def test_lost_records_are_counted_and_reading_goes_on(tmp_path: Path) -> None:
    """The kernel says EPIPE once, and goes on behind what was overwritten."""
    (tmp_path / "kmsg").touch()
    record = f"3,9,5,-;{KILLED.format(pid=41)}\n".encode()
    answers: list[bytes | OSError] = [BrokenPipeError(), record]
    log = Overwritten(str(tmp_path / "kmsg"), answers)
    assert (pids(log.read(100.0)), log.lost) == ([41], 1)
    log.close()


def test_a_log_that_fails_says_so(tmp_path: Path) -> None:
    """Whoever reads it falls back to something else."""
    (tmp_path / "kmsg").touch()
    log = Overwritten(str(tmp_path / "kmsg"), [PermissionError(1, "Operation not permitted")])
    with pytest.raises(ReadingError, match="cannot be read: Operation not permitted"):
        log.read(100.0)
    log.close()
    log.close()


def test_what_was_said_before_is_no_news(tmp_path: Path) -> None:
    """It begins at the end."""
    file = tmp_path / "kmsg"
    file.write_text(f"3,9,5,-;{KILLED.format(pid=41)}\n")
    log = KernelLog(str(file))
    assert log.read(100.0) == ()
    log.close()


def test_a_missing_log_is_named(tmp_path: Path) -> None:
    """In a container there is none."""
    with pytest.raises(ReadingError, match=r"kmsg cannot be read: No such file"):
        KernelLog(str(tmp_path / "kmsg"))
