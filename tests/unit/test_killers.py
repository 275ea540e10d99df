"""What earlyoom, nohang and systemd-oomd write, of several versions; kills of kernel reports."""

import pytest

from leakguard.core.killers import KillerLog, without_repeats
from leakguard.core.kills import Killer, NamedKill, named_kills
from leakguard.core.oomlog.parse import read_reports
from leakguard.core.oomlog.report import Domain
from leakguard.core.units import KIB, MIB


def read(killer: Killer, *messages: str) -> list[NamedKill]:
    """Read messages in order."""
    log = KillerLog()
    found = (log.read(killer, message, 5.0) for message in messages)
    return [kill for kill in found if kill is not None]


@pytest.mark.parametrize(
    ("message", "pid", "name", "uid"),
    [
        ('sending SIGTERM to process 71 "py": badness 209, VmRSS 300 MiB', 71, "py", None),
        (
            'sending SIGKILL to process 72 uid 9 "a "b" c": badness -3, VmRSS 300 MiB',
            72,
            'a "b" c',
            9,
        ),
        (
            'sending SIGTERM to process 73 uid 0 "x": oom_score 700, VmRSS 300 MiB, cmdline "x y"',
            73,
            "x",
            0,
        ),
        (
            (
                'sending SIGTERM to process 74 uid 0 "x": oom_score 7, oom_score_adj 0, '
                'VmRSS 300 MiB, cmdline "x"'
            ),
            74,
            "x",
            0,
        ),
        ('killing process 75 "sh" with signal 15: badness 550, VmRSS 300 MiB', 75, "sh", None),
        (
            "Killing process 'tail' with signal 9, pid: 76, badness: 972, VmRSS: 300 MiB",
            76,
            "tail",
            None,
        ),
    ],
)
def test_earlyoom(message: str, pid: int, name: str, uid: int | None) -> None:
    """One line says it all."""
    (kill,) = read(Killer.EARLYOOM, message)
    assert (kill.pid, kill.name, kill.uid, kill.rss_bytes) == (pid, name, uid, 300 * MIB)
    assert (kill.killer, kill.boot_s, kill.counted) == (Killer.EARLYOOM, 5.0, False)


@pytest.mark.parametrize(
    "message",
    [
        "mem avail:  2430 of 31808 MiB ( 7.64%), swap free: 1419 of 15903 MiB ( 8.93%)",
        "low memory! at or below SIGTERM limits: mem 10.00%, swap 10.00%",
        "process exited after 0.1 seconds",
        'note: sending SIGTERM to process 1 "x": badness 1, VmRSS 1 MiB',
        'sending 0 (no-op signal) to process 71 uid 9 "self": badness 0, VmRSS 1 MiB',
        "",
    ],
)
def test_what_is_no_kill_of_earlyoom(message: str) -> None:
    """It talks of other things, and sends signal 0 at start to try itself."""
    assert read(Killer.EARLYOOM, message) == []


@pytest.mark.parametrize(
    "message",
    [
        (
            "Killed /u.slice/a b.service due to memory pressure for /u.slice being "
            "51.07% > 50.00% for > 20s with reclaim activity"
        ),
        (
            "Marked /u.slice/a b.service for killing due to memory used (1) / total (2) and swap "
            "used (3) / total (4) being more than 90.00%"
        ),
    ],
)
def test_systemd_oomd(message: str) -> None:
    """It names the cgroup."""
    (kill,) = read(Killer.SYSTEMD_OOMD, message)
    assert (kill.pid, kill.name, kill.task_memcg) == (
        None,
        "a b.service",
        "/u.slice/a b.service",
    )


def test_what_is_no_kill_of_systemd_oomd() -> None:
    """Candidates are no victims."""
    messages = (
        "Considered 19 cgroups for killing, top candidates were:",
        "\tPath: /system.slice/x.service",
        "oomd attempting to kill 407 with KILL",
        "Memory pressure for /s is 85.03% > 80.00% for > 2s with reclaim activity",
    )
    assert read(Killer.SYSTEMD_OOMD, *messages) == []


def test_nohang_names_its_choice_before_it_acts() -> None:
    """In messages of their own, or in lines of one."""
    for act in (
        "Implementing a corrective action:\n  Sending SIGTERM to the victim",
        "  Sending SIGKILL to the victim",
        "Implementing a corrective action:\n  Executing the command: systemctl restart x",
    ):
        kills = read(
            Killer.NOHANG,
            "TOP printed in 1ms; process with highest:\n  PID: 91, name: my app, badness: 849",
            "Recheck memory levels...",
            act,
            "OK; total response time: 12ms",
        )
        assert [(k.pid, k.name) for k in kills] == [(91, "my app")]


def test_nohang_that_does_nothing_killed_nobody() -> None:
    """The choice alone is none."""
    assert read(Killer.NOHANG, "  PID: 91, name: app, badness: 3", "nothing to do") == []
    assert read(Killer.NOHANG, "Sending SIGTERM to the victim") == []


def test_a_victim_that_nohang_remembers() -> None:
    """SIGKILL after SIGTERM."""
    kills = read(
        Killer.NOHANG,
        "New victim is cached victim 91 (app)",
        "Sending SIGKILL to the victim",
    )
    assert [(k.pid, k.name) for k in kills] == [(91, "app")]


def test_the_kernel_is_not_read_here() -> None:
    """It has a parser of its own."""
    assert read(Killer.KERNEL, 'sending SIGTERM to process 71 "py": badness 2, VmRSS 3 MiB') == []


def test_a_kill_that_is_said_twice_is_one() -> None:
    """SIGTERM, then SIGKILL; "marked", then "killed"."""
    first = NamedKill(pid=1, name="a", killer=Killer.EARLYOOM, boot_s=5.0)
    again = NamedKill(pid=1, name="a", killer=Killer.EARLYOOM, boot_s=6.0)
    other = NamedKill(pid=None, name="b", killer=Killer.SYSTEMD_OOMD, task_memcg="/b")
    third = NamedKill(pid=None, name="c", killer=Killer.SYSTEMD_OOMD, task_memcg="/c")
    assert without_repeats((first, again, other, other, third)) == (first, other, third)


REPORT = (
    "[    5.000001] app invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
    "[    5.000002] memory: usage 65536kB, limit 65536kB, failcnt 3",
    (
        "[    5.000003] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,"
        "mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=app,pid=41,uid=5"
    ),
    (
        "[    5.000004] Memory cgroup out of memory: Killed process 41 (app) total-vm:100kB, "
        "anon-rss:80kB, file-rss:10kB, shmem-rss:5kB, UID:5 pgtables:4kB oom_score_adj:7"
    ),
)


def test_a_report_of_the_kernel_becomes_kills() -> None:
    """In bytes, with the limit that was hit."""
    (report,) = read_reports(REPORT)
    assert named_kills(report, foreign=True) == (
        NamedKill(
            pid=41,
            name="app",
            uid=5,
            scope=Domain.MEMCG,
            oom_memcg="/a",
            task_memcg="/a/b",
            limit_bytes=65536 * KIB,
            total_vm_bytes=100 * KIB,
            anon_bytes=80 * KIB,
            file_bytes=10 * KIB,
            shmem_bytes=5 * KIB,
            pgtables_bytes=4 * KIB,
            oom_score_adj=7,
            boot_s=5.000004,
            foreign=True,
        ),
    )


def test_a_kill_by_the_host_has_its_ram_as_limit() -> None:
    """As pages of its page size."""
    lines = (
        "[    5.000001] 262144 pages RAM",
        (
            "[    5.000002] Out of memory: Killed process 41 (app) total-vm:100kB, anon-rss:80kB, "
            "file-rss:10kB, shmem-rss:5kB, UID:5 pgtables:4kB oom_score_adj:7"
        ),
    )
    (report,) = read_reports(lines)
    (kill,) = named_kills(report)
    assert (kill.scope, kill.limit_bytes, kill.oom_memcg) == (Domain.HOST, 1024 * MIB, None)
