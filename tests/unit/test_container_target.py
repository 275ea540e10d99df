"""The target `container`: which process a container is, and what must not be taken for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import ReadingError, TargetError
from leakguard.core.sample import Location, Scope
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.children import Children, run_here
from leakguard.linux.procfs import ProcFs
from leakguard.targets.base import Target, TargetContext
from leakguard.testing.clock import FakeClock
from leakguard.testing.engine import FakeContainer, FakeEngine
from leakguard.testing.files import CgroupFiles, ProcFiles

WEB, DB = "a" * 64, "d" * 64
ENABLED = {"leakguard.enable": "true"}


class Machine:
    """A /proc and v2 cgroups of files with two containers, and an engine; leakguard is pid 2."""

    def __init__(self, folder: Path) -> None:
        self.files = ProcFiles(folder / "proc")
        self.groups = CgroupFiles(folder / "cgroup", 2)
        self.engine = FakeEngine(folder / "engine.sock")
        for pid, name, id_ in ((10, "web", WEB), (20, "db", DB)):
            self.engine.containers.append(
                FakeContainer(id=id_, name=name, pid=pid, labels=ENABLED, policy="always")
            )
            self.run(pid, id_)

    def run(self, pid: int, id_: str, start: int = 100) -> None:
        """Have a container's first process run."""
        self.files.add(pid, "app", start=start, cgroups=f"0::/docker/{id_}\n")
        self.groups.add(f"/docker/{id_}", limit=1 << 28, procs=(pid,))

    def target(self, **options: object) -> Target:
        """Make a target as the daemon does."""
        proc = ProcFs(str(self.files.root))
        context = TargetContext(
            service="app",
            proc=proc,
            cgroups=CgroupFs(proc, str(self.groups.root)),
            children=Children(run_here, FakeClock(), proc),
        )
        made = plugins.load("targets", "container").make(
            {"socket": str(self.engine.socket), **options}, context
        )
        assert isinstance(made, Target)
        return made

    def refusal(self, **options: object) -> str:
        """Give the message with which a target finds nothing."""
        with pytest.raises(TargetError) as caught:
            self.target(**options).locate()
        return str(caught.value)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Give a machine with two containers that run."""
    made = Machine(tmp_path)
    with made.engine:
        yield made


def pids(found: tuple[Location, ...]) -> list[int]:
    """Give the root pids."""
    return [one.root.pid for one in found]


@pytest.mark.parametrize("name", ["web", WEB, WEB[:12]])
def test_a_container_is_found_by_name_and_by_id(machine: Machine, name: str) -> None:
    """Its first process is the root, its own cgroup the scope."""
    (found,) = machine.target(name=name).locate()
    directory = str(machine.groups.root / "docker" / WEB)
    assert (found.root.pid, found.scope, found.cgroup_path) == (10, Scope.CGROUP, directory)
    assert (found.name, found.member) == ("web", "")


def test_a_label_finds_every_container_that_carries_it(machine: Machine) -> None:
    """Each is called by its own name; one without the label, or that ended, is none."""
    machine.engine.containers += [
        FakeContainer(id="e" * 64, name="other", pid=30),
        FakeContainer(id="f" * 64, name="old", labels=ENABLED, status="exited"),
    ]
    found = machine.target(label="leakguard.enable=true").locate()
    assert [(one.root.pid, one.member) for one in found] == [(10, "web"), (20, "db")]
    assert plugins.load("targets", "container").options(label="x").many is True


def test_several_labels_must_all_be_there(machine: Machine) -> None:
    """They narrow the choice: two watchdogs can share an engine."""
    machine.engine.containers[1].labels = ENABLED | {"leakguard.scope": "b"}
    assert pids(machine.target(label="leakguard.enable, leakguard.scope=b").locate()) == [20]


def test_a_wrong_name_is_told_with_the_nearest(machine: Machine) -> None:
    """Or with how many there are, when none is near."""
    assert machine.refusal(name="wbe") == "no container 'wbe': did you mean 'web'?"
    assert machine.refusal(name="zzzz") == "no container 'zzzz': `docker ps --all` lists 2"


def test_no_match_of_a_label_says_how_to_make_one(machine: Machine) -> None:
    """Nothing matches is an error, never silence."""
    text = machine.refusal(label="leakguard.enable=yes")
    assert text.endswith("start one with `--label leakguard.enable=yes`")


@pytest.mark.parametrize(
    ("status", "said"), [("exited", "docker start web"), ("restarting", "keeps ending")]
)
def test_a_container_that_does_not_run(machine: Machine, status: str, said: str) -> None:
    """One that the engine is about to start again is told apart."""
    machine.engine.containers[0].status = status
    assert said in machine.refusal(name="web")


def test_a_pid_of_another_namespace_is_not_taken_for_one_of_ours(machine: Machine) -> None:
    """Whether that number is free here or another process."""
    machine.engine.containers[0].pid = 4711
    assert "cannot be seen from here" in machine.refusal(name="web")
    machine.engine.containers[0].pid = 20
    assert "another PID namespace" in machine.refusal(name="web")


def test_leakguards_own_container_is_refused(machine: Machine) -> None:
    """By its cgroup, or where that is hidden by its mounts; among several it is left out."""
    machine.files.write("2/cgroup", f"0::/docker/{WEB}\n")
    assert "would watch leakguard itself" in machine.refusal(name="web")
    assert pids(machine.target(label="leakguard.enable=true").locate()) == [20]
    machine.files.write("2/cgroup", "0::/\n")
    mount = f"9 8 8:1 /var/lib/docker/containers/{WEB}/hostname /etc/hostname rw - ext4 a rw\n"
    machine.files.write("2/mountinfo", mount)
    assert "would watch leakguard itself" in machine.refusal(name="web")


def test_a_manager_inside_the_container_does_not_narrow_it(machine: Machine) -> None:
    """A first process that moved into a group below still stands for the whole container."""
    machine.files.write("10/cgroup", f"0::/docker/{WEB}/init.scope\n")
    machine.groups.add(f"/docker/{WEB}/init.scope", procs=(10,))
    (found,) = machine.target(name="web").locate()
    assert found.cgroup_path == str(machine.groups.root / "docker" / WEB)


def test_without_its_cgroup_in_sight_the_tree_is_the_service(machine: Machine) -> None:
    """The cgroup that is charged for it holds others too."""
    for file in (machine.groups.root / "docker" / WEB).iterdir():
        file.unlink()
    (found,) = machine.target(name="web").locate()
    assert (found.scope, found.cgroup_path) == (Scope.TREE, "")


def test_a_run_that_goes_on_is_not_asked_about_again(machine: Machine) -> None:
    """With a label, a further look is one request for the list, whatever the number of matches."""
    target = machine.target(label="leakguard.enable=true")
    target.locate()
    machine.engine.paths.clear()
    assert pids(target.locate()) == [10, 20]
    assert machine.engine.paths == ["/v1.41/containers/json"]


def test_a_new_run_is_seen(machine: Machine) -> None:
    """Under the same id, with another process; also when the number is used again."""
    target = machine.target(label="leakguard.enable=true")
    target.locate()
    machine.run(10, WEB, start=700)
    machine.files.end(20)
    machine.engine.containers[1].pid = 21
    machine.run(21, DB, start=600)
    found = [(one.root.pid, one.root.start_ticks) for one in target.locate()]
    assert found == [(21, 600), (10, 700)]


def test_an_engine_that_does_not_answer_does_not_hide_what_runs(tmp_path: Path) -> None:
    """The kernel still shows the run; it is asked again when a run ended."""
    machine = Machine(tmp_path)
    with machine.engine:
        target = machine.target(name="web")
        before = target.locate()
    assert [target.locate() for _ in range(5)] == [before] * 5
    machine.files.end(10)
    with pytest.raises(TargetError, match="no engine at"):
        target.locate()


def test_an_engine_that_hangs_is_not_known(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the container runs cannot be said: that is not the same as that it does not."""
    monkeypatch.setattr("leakguard.linux.engine_api.LOOK_S", 0.2)
    machine.engine.hangs = frozenset({"_ping"})
    with pytest.raises(ReadingError, match="no answer"):
        machine.target(name="web").locate()


@pytest.mark.parametrize(
    "options", [{}, {"name": "a", "label": "b"}, {"name": "a", "socket": "tcp://db:2375"}]
)
def test_options_that_cannot_work(options: dict[str, Any]) -> None:
    """What the file alone shows to be wrong."""
    with pytest.raises(TargetError):
        plugins.load("targets", "container").make(options, None)
