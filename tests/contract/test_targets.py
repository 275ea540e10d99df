"""What every target must do, whatever it looks for; and what each of ours finds and refuses."""

import dataclasses
import os
from pathlib import Path

import pytest

from leakguard import plugins
from leakguard.core.errors import TargetError
from leakguard.core.sample import Incarnation, Location, Scope
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.targets.base import Target, TargetContext
from leakguard.testing.clock import FakeClock
from leakguard.testing.files import BOOT_ID, CgroupFiles, ProcFiles

OURS: dict[str, dict[str, object]] = {
    "pid": {"pid": 4711},
    "pidfile": {"path": "/nonexistent/app.pid"},
    "cmdline": {"pattern": "no such program"},
    "cgroup": {"path": "/no/such/group"},
    "child": {"argv": ["app"]},
    "container": {"name": "web", "socket": "/nonexistent/docker.sock"},
    "systemd": {"unit": "leakguard-no-such.service", "user": False},
    "supervisord": {"name": "site:web", "socket": "/nonexistent/supervisor.sock"},
    "pod": {"container": "app"},
}
"""For each target, options with which nothing is found on the machine of files."""

KINDS = sorted(OURS)


class Machine:
    """A /proc and v2 cgroups of files; leakguard is pid 2."""

    def __init__(self, tmp_path: Path) -> None:
        self.files = ProcFiles(tmp_path / "proc")
        self.groups = CgroupFiles(tmp_path / "cgroup", 2)
        proc = ProcFs(str(self.files.root))
        self.context = TargetContext(
            service="app",
            proc=proc,
            cgroups=CgroupFs(proc, str(self.groups.root)),
            children=Children(run_here, FakeClock(), proc),
        )

    def make(self, kind: str, **options: object) -> Target:
        """Make a target as the daemon does."""
        target = plugins.load("targets", kind).make(options, self.context)
        assert isinstance(target, Target)
        return target

    def found(self, kind: str, **options: object) -> list[int]:
        """Give the root pids of what a target locates."""
        return [location.root.pid for location in self.make(kind, **options).locate()]

    def refusal(self, kind: str, **options: object) -> str:
        """Give the message with which a target finds nothing."""
        with pytest.raises(TargetError) as caught:
            self.make(kind, **options).locate()
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Give a machine on which nothing but init and leakguard runs."""
    return Machine(tmp_path)


@pytest.mark.parametrize("kind", plugins.names("targets"))
def test_every_target_explains_itself(kind: str) -> None:
    """One summary line, a documented field for each option, a default driver that exists or ""."""
    plugin = plugins.load("targets", kind)
    assert plugin.summary.endswith(".")
    assert issubclass(plugin.cls, Target)
    for field in dataclasses.fields(plugin.options):
        assert field.metadata.get("doc"), f"{kind}.{field.name} has no documentation"
    assert plugin.cls.default_driver in {"", *plugins.names("drivers"), *plugins.names("targets")}


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_found_is_a_target_error(machine: Machine, kind: str) -> None:
    """With a message that says what was looked for; never an empty answer."""
    assert len(machine.refusal(kind, **OURS[kind]).split()) > 3


@pytest.mark.parametrize("kind", KINDS)
def test_it_says_what_it_looks_for(machine: Machine, kind: str) -> None:
    """In one short line; and it has no exit code for what others started."""
    target = machine.make(kind, **OURS[kind])
    words = target.describe()
    assert (bool(words), "\n" in words, target.exit_code()) == (True, False, None)


def test_default_drivers_follow_from_the_target() -> None:
    """What is named by number or by cgroup has no next run that a signal would bring."""
    drivers = {kind: plugins.load("targets", kind).cls.default_driver for kind in KINDS}
    assert drivers == {
        "pid": "",
        "pidfile": "signal",
        "cmdline": "signal",
        "cgroup": "",
        "child": "child",
        "container": "docker",
        "systemd": "systemd",
        "supervisord": "supervisord",
        "pod": "kubernetes",
    }


def test_a_location_names_the_run(machine: Machine) -> None:
    """Pid and start time, the tree, the name."""
    machine.files.add(10, "worker", start=77)
    assert machine.make("pid", pid=10).locate() == (
        Location(
            root=Incarnation(boot_id=BOOT_ID, pid=10, start_ticks=77),
            scope=Scope.TREE,
            name="worker",
        ),
    )


@pytest.mark.parametrize(
    ("state", "flags", "said"), [("Z", 0, "ended"), ("S", 0x00200000, "kernel thread")]
)
def test_what_cannot_be_guarded_by_number(
    machine: Machine, state: str, flags: int, said: str
) -> None:
    """Zombies and kernel threads are refused with their name."""
    machine.files.add(10, "thing", state=state, flags=flags)
    text = machine.refusal("pid", pid=10)
    assert said in text
    assert "thing" in text


@pytest.mark.parametrize("pid", [0, -5])
def test_numbers_that_are_no_pid(machine: Machine, pid: int) -> None:
    """The file alone shows it."""
    with pytest.raises(TargetError, match="is not a pid"):
        machine.make("pid", pid=pid)


@pytest.mark.parametrize("pid", [1, 2])
def test_leakguard_never_watches_itself(machine: Machine, tmp_path: Path, pid: int) -> None:
    """Nor a process in whose tree it is; a restart would end the guard."""
    (tmp_path / "app.pid").write_text(f"{pid}\n")
    for text in (
        machine.refusal("pid", pid=pid),
        machine.refusal("pidfile", path=str(tmp_path / "app.pid")),
    ):
        assert "would watch leakguard itself" in text


def test_a_group_with_leakguard_in_it_is_refused(machine: Machine) -> None:
    """Directly, or in a group below."""
    machine.groups.add("/a", procs=(10,))
    machine.groups.add("/a/b", procs=(2,))
    machine.files.add(10)
    assert "would watch leakguard itself" in machine.refusal("cgroup", path="/a")


def test_a_pidfile_names_the_process(machine: Machine, tmp_path: Path) -> None:
    """The first line counts; more may follow."""
    machine.files.add(10)
    for content in ("10", "10\n", " 10 \n/var/lib/db\n5432\n"):
        (tmp_path / "app.pid").write_text(content)
        assert machine.found("pidfile", path=str(tmp_path / "app.pid")) == [10]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\n \n", "empty"),
        (b"abc\n", "not the number"),
        (b"-1\n", "not the number"),
        (b"0\n", "not the number"),
        (b"12 13\n", "not the number"),
        (b"\xff\xfe\x00", "not the number"),
        (b"9" * 40, "not the number"),
        (b"1" * 5000, "larger than 4096 bytes"),
        (b"4711\n", "stale"),
    ],
)
def test_a_pidfile_that_cannot_be_right(
    machine: Machine, tmp_path: Path, content: bytes, said: str
) -> None:
    """The message names the file and what to do."""
    path = tmp_path / "app.pid"
    path.write_bytes(content)
    text = machine.refusal("pidfile", path=str(path))
    assert said in text
    assert str(path) in text


def test_a_pidfile_that_is_no_file(machine: Machine, tmp_path: Path) -> None:
    """Neither a folder nor a FIFO without writer stops the guard."""
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", "."):
        assert "not a plain file" in machine.refusal("pidfile", path=str(tmp_path / name))
    with pytest.raises(TargetError, match="absolute"):
        machine.make("pidfile", path="app.pid")


def test_a_pidfile_may_require_a_name(machine: Machine, tmp_path: Path) -> None:
    """A stale file whose number another process has is found out."""
    path = tmp_path / "app.pid"
    path.write_text("10")
    machine.files.add(10, "cron")
    assert "'cron' and not 'redis'" in machine.refusal("pidfile", path=str(path), name="redis")
    assert machine.found("pidfile", path=str(path), name="cron") == [10]


def test_a_pattern_finds_every_match(machine: Machine) -> None:
    """Unrelated ones apart, oldest first; which of them is meant is not decided here."""
    machine.files.add(10, start=9, argv=("/usr/bin/python3", "worker.py"))
    machine.files.add(11, start=8, argv=("worker.py", "--fast"))
    machine.files.add(12, argv=("other",))
    assert machine.found("cmdline", pattern=r"worker\.py") == [11, 10]


def test_matches_below_a_match_are_its_tree(machine: Machine) -> None:
    """Also with a process in between that does not match."""
    machine.files.add(10, argv=("gunicorn", "master"))
    machine.files.add(11, parent=10, argv=("helper",))
    machine.files.add(12, parent=11, argv=("gunicorn", "worker"))
    assert machine.found("cmdline", pattern="gunicorn") == [10]


CARRIERS = [
    ("sh", "-c", "python worker.py"),
    ("/bin/bash", "-lc", "exec worker.py"),
    ("bash", "-o", "pipefail", "-c", "worker.py | tee log"),
    ("busybox", "sh", "-c", "worker.py"),
    ("sudo", "-u", "app", "worker.py"),
    ("/usr/bin/env", "A=1", "worker.py"),
    ("timeout", "10", "worker.py"),
    ("grep", "worker.py"),
    ("pgrep", "-af", "worker.py"),
    ("vim", "worker.py"),
    ("tail", "-f", "/var/log/worker.py.log"),
    ("leakguard", "exec", "--", "worker.py"),
    ("/usr/bin/python3", "/usr/bin/leakguard", "exec", "--", "worker.py"),
    ("python3.11", "-I", "-m", "leakguard", "exec", "--", "worker.py"),
]


@pytest.mark.parametrize("argv", CARRIERS, ids=" ".join)
def test_who_merely_carries_the_words_is_no_match(machine: Machine, argv: tuple[str, ...]) -> None:
    """The command that is carried matches by itself; the message says what was left out."""
    machine.files.add(10, "carrier", argv=argv)
    text = machine.refusal("cmdline", pattern=r"worker\.py")
    assert "only carrier (pid 10) carries these words" in text
    machine.files.add(11, parent=10, argv=("python", "worker.py"))
    assert machine.found("cmdline", pattern=r"worker\.py") == [11]


@pytest.mark.parametrize(
    ("argv", "pattern"),
    [
        (("/bin/bash", "/opt/app/run.sh"), r"run\.sh"),
        (("bash", "-x", "/opt/app/run.sh", "-c"), r"run\.sh"),
        (("ssh", "-N", "tunnel@host"), "^ssh -N"),
        (("python3", "-c", "import app"), "import app"),
        (("python3", "-m", "app.leakguard_plugin"), "app"),
        (("/usr/bin/tail", "-F", "log"), "tail -F"),
    ],
)
def test_what_is_meant_by_its_own_name_matches(
    machine: Machine, argv: tuple[str, ...], pattern: str
) -> None:
    """A script that a shell runs is a service; a tool that is named itself too."""
    machine.files.add(10, argv=argv)
    assert machine.found("cmdline", pattern=pattern) == [10]


def test_leakguard_and_its_ancestors_never_match(machine: Machine) -> None:
    """They carry the pattern in their own command line."""
    machine.files.add(3, parent=1, argv=("app", "wrapper"))
    machine.files.add(2, "leakguard", parent=3, argv=("app-guard",))
    machine.files.add(10, argv=("app",))
    assert machine.found("cmdline", pattern="^app") == [10]


def test_zombies_and_kernel_threads_never_match(machine: Machine) -> None:
    """Nothing could be done about them."""
    machine.files.add(10, argv=("app",), state="Z")
    machine.files.add(11, argv=("app",), flags=0x00200000)
    assert "no process whose command line matches 'app'" in machine.refusal(
        "cmdline", pattern="app"
    )


def test_a_user_narrows_a_pattern(machine: Machine) -> None:
    """By name or by number."""
    for pid, uid in ((10, 0), (11, 987654)):
        machine.files.add(pid, argv=("app",))
        machine.files.write(f"{pid}/status", f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
    found = [machine.found("cmdline", pattern="app", user=user) for user in ("root", "987654")]
    assert found == [[10], [11]]


@pytest.mark.parametrize("pattern", ["(", "[z-a]", "", "x*", "(?P<a>"])
def test_patterns_that_cannot_be_used(machine: Machine, pattern: str) -> None:
    """Broken ones, and those that every process matches, are refused before anything starts."""
    with pytest.raises(TargetError, match=r"regular expression|matches every process"):
        machine.make("cmdline", pattern=pattern)


def test_a_group_s_root_comes_from_outside(machine: Machine) -> None:
    """The oldest process whose parent is not in the group; the whole group is the service."""
    machine.groups.add("/a", procs=(12,))
    machine.groups.add("/a/b", procs=(10, 11))
    machine.files.add(10, "shim", start=9, parent=1)
    machine.files.add(11, start=3, parent=10)
    machine.files.add(12, start=12, parent=1)
    (location,) = machine.make("cgroup", path="/a").locate()
    assert (location.root.pid, location.scope, location.cgroup_path) == (
        10,
        Scope.CGROUP,
        str(machine.groups.top / "a"),
    )


def test_an_empty_group_is_said(machine: Machine) -> None:
    """Also when only zombies are left, or what it lists has just ended."""
    machine.groups.add("/a", procs=(10, 11))
    machine.files.add(10, state="Z")
    assert machine.refusal("cgroup", path="/a") == "cgroup /a has no process: start the service"


def test_a_pattern_of_groups(machine: Machine) -> None:
    """One location each, oldest first; empty groups and leakguard's own are left out."""
    for name, procs in (("w-1", (10,)), ("w-2", (11,)), ("w-3", ()), ("w-4", (2,))):
        machine.groups.add(f"/s/{name}", procs=procs)
    machine.files.add(10, start=5)
    machine.files.add(11, start=4)
    assert machine.found("cgroup", path="/s/w-*") == [11, 10]
    assert "no cgroup that matches" in machine.refusal("cgroup", path="/s/x-*")


@pytest.mark.parametrize("path", ["", " ", "/a/../b"])
def test_paths_that_name_no_group(machine: Machine, path: str) -> None:
    """The file alone shows it."""
    with pytest.raises(TargetError, match="is not the path of a cgroup"):
        machine.make("cgroup", path=path)


@pytest.mark.parametrize("argv", [[], [""]])
def test_a_child_needs_a_command(machine: Machine, argv: list[str]) -> None:
    """The file alone shows it."""
    with pytest.raises(TargetError, match="argv is empty"):
        machine.make("child", argv=argv)


@pytest.mark.parametrize(
    ("unit", "said"),
    [
        ("", "not the name"),
        ("system.slice", "not a service"),
        ("worker.socket", "not a service"),
        ("worker@.service", r"worker@1\.service"),
        ("a b", "not the name"),
        ("/lib/worker.service", "not the name"),
    ],
)
def test_units_that_are_no_service(machine: Machine, unit: str, said: str) -> None:
    """The file alone shows it."""
    with pytest.raises(TargetError, match=said):
        machine.make("systemd", unit=unit)
