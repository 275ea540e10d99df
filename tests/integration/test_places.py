"""`check` tries state file, control socket and HTTP address, and leaves nothing behind."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from leakguard.cli.main import main
from leakguard.core.plan import HttpPlan, Plan, StatePlan
from leakguard.linux.procfs import ProcFs
from leakguard.runtime.places import Places, look_at_places
from leakguard.testing.settings import WORKER, load_text
from tests.workloads.guarded import Daemon, until

NOBODY = 65534
LISTEN = (
    "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
    "print(s.getsockname()[1], flush=True); sys.stdin.read()"
)


def look(
    folder: Path, *, state: str = "", control: str = "", http: str = "", pid: int | None = None
) -> Places:
    """Look at these places."""
    plan = load_text(folder, WORKER).plan
    plan = replace(
        plan,
        state=StatePlan(path=state),
        socket_path=control or f"{folder}/x.sock",
        http=HttpPlan(listen=http),
    )
    return look_at_places(plan, ProcFs(), pid)


@pytest.fixture
def listener() -> Iterator[tuple[int, int]]:
    """A process that listens on loopback: its pid and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield process.pid, int(process.stdout.readline())
    process.communicate(timeout=10)


def test_what_can_be_made_is_well(tmp_path: Path) -> None:
    """Directories that are not there yet can be made; nothing is made now."""
    found = look(
        tmp_path, state=f"{tmp_path}/a/b/state.db", control=f"{tmp_path}/c/x", http="127.0.0.1:0"
    )
    assert (found.problems, found.notes) == ([], [])
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_state_file_that_is_there_is_not_touched(tmp_path: Path) -> None:
    """Its bytes stay as they are."""
    file = tmp_path / "state.db"
    file.write_bytes(b"whatever")
    assert look(tmp_path, state=str(file)).problems == []
    assert file.read_bytes() == b"whatever"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("{0}", "state.path: {0} is a directory: name a file in it, such as {0}/state.db"),
        ("{0}/file/state.db", "state.path: {0}/file is not a directory: correct the path"),
        ("{0}/pipe", "state.path: {0}/pipe is not a plain file: move it away, or name another"),
        ("/proc/x/state.db", "state.path: uid {1} cannot make files in /proc (No such file"),
    ],
)
def test_a_state_file_that_cannot_be_written_is_a_problem(
    tmp_path: Path, state: str, words: str
) -> None:
    """One line with the setting, the place and the fix."""
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (problem,) = look(tmp_path, state=state.format(tmp_path)).problems
    assert problem.startswith(words.format(tmp_path, os.geteuid()))


@contextlib.contextmanager
def without_rights() -> Iterator[int]:
    """Be a user who is not root; gives its number."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield os.geteuid()
    finally:
        if root:
            os.seteuid(0)


def test_a_right_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    """The user who lacks it is named."""
    look(tmp_path)  # what it imports may be out of reach afterwards
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "closed").mkdir(mode=0o500)
        (place / "read.db").touch(mode=0o400)
        place.chmod(0o777)
        plan = replace(
            load_text(tmp_path, WORKER).plan, http=HttpPlan(listen=""), socket_path=f"{name}/x.sock"
        )
        with without_rights() as uid:
            found = [
                look_at_places(replace(plan, state=StatePlan(path=path)), ProcFs(), None).problems
                for path in (f"{name}/closed/state.db", f"{name}/read.db")
            ]
    ((first,), (second,)) = found
    assert f"uid {uid} cannot make files in {name}/closed (Permission denied)" in first
    assert f"{name}/read.db cannot be written by uid {uid} (Permission denied)" in second


@pytest.mark.parametrize(
    ("control", "words"),
    [
        ("{0}/file", "socket: {0}/file is there and is no socket: move it away, or name another"),
        ("{0}/file/x", "socket: {0}/file is not a directory: correct the path"),
        ("{0}/" + "x" * 120, "is longer than 107 bytes: use a shorter path"),
    ],
)
def test_a_socket_that_cannot_be_served_is_a_problem(
    tmp_path: Path, control: str, words: str
) -> None:
    """One line with the setting, the place and the fix."""
    (tmp_path / "file").write_text("")
    (problem,) = look(tmp_path, control=control.format(tmp_path)).problems
    assert words.format(tmp_path) in problem


def test_a_socket_that_others_serve_is_a_problem(tmp_path: Path) -> None:
    """One that was left behind is replaced by the next daemon, so it is none."""
    path = f"{tmp_path}/x.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        (problem,) = look(tmp_path, control=path).problems
    assert problem.startswith(
        f"socket: something that does not speak as leakguard answers on {path}"
    )
    assert look(tmp_path, control=path).problems == []


def test_an_address_in_use_names_who_uses_it(tmp_path: Path, listener: tuple[int, int]) -> None:
    """Pid and name, and how to go on."""
    pid, port = listener
    (problem,) = look(tmp_path, http=f"127.0.0.1:{port}").problems
    assert problem.startswith(f"http.listen: 127.0.0.1:{port} is in use by pid {pid} (python")
    assert problem.endswith("or set http.listen to another port (or to `off` for none)")


def test_an_address_of_our_own_daemon_is_a_note(tmp_path: Path, listener: tuple[int, int]) -> None:
    """A running daemon holds its places; a check beside it must not fail for that."""
    pid, port = listener
    found = look(tmp_path, http=f"127.0.0.1:{port}", pid=pid)
    assert found.problems == []
    assert found.notes == [
        f"socket: leakguard runs already and answers on {tmp_path}/x.sock (pid {pid})",
        f"http.listen: 127.0.0.1:{port} is in use by the leakguard that runs now (pid {pid})",
    ]


def test_an_address_that_is_not_of_this_machine_is_a_problem(tmp_path: Path) -> None:
    """192.0.2.0/24 is for documentation: no machine has it."""
    (problem,) = look(tmp_path, http="192.0.2.1:9847").problems
    assert problem == (
        "http.listen: cannot listen on 192.0.2.1:9847: Cannot assign requested address"
    )


def test_no_place_for_the_socket_is_a_note(tmp_path: Path) -> None:
    """The daemon runs without one; commands cannot reach it."""
    plan: Plan = replace(
        load_text(tmp_path, WORKER).plan,
        state=StatePlan(path=""),
        http=HttpPlan(listen=""),
        socket_path="",
    )
    found = look_at_places(plan, ProcFs(), None)
    assert found.problems == []
    assert [note.partition(":")[0] for note in found.notes] == ["socket"]


def test_check_beside_its_daemon_is_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """State locked, socket served, port bound, all by the daemon of this very configuration."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "services": {"w": {"mode": "act", "target": {"child": ["sleep", "99"]}}},
        "http": {"listen": f"127.0.0.1:{port}"},
    }
    with Daemon(tmp_path, config) as daemon:
        daemon.ready()
        until((tmp_path / "control.sock").exists)
        code = main(["check", "-c", str(daemon.config_file)])
    out = capsys.readouterr().out
    assert code == 0
    assert f"note: socket: leakguard runs already and answers on {tmp_path}/control.sock" in out
    assert f"note: http.listen: 127.0.0.1:{port} is in use by the leakguard that runs now" in out
    assert out.splitlines()[-1] == "ok: the configuration and this machine"
