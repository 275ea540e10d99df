"""`leakguard exec`: exit codes, signals, stdout of the command, events, PID 1."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leakguard.runtime.handover import LEAN
from tests.workloads.guarded import json_lines, until

EXEC = [sys.executable, "-m", "leakguard", "exec"]
UNSHARE = ["unshare", "-pf", "--mount-proc"]
LIMIT_S = 30.0


def run_exec(*argv: str, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command under guard to its end."""
    return subprocess.run(
        [*prefix, *EXEC, *argv], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
)
def test_the_exit_code_is_the_commands(script: str, code: int) -> None:
    """It ends with the command's own code, 128 + n for a signal, and stdout is untouched."""
    ended = run_exec("--", "/bin/sh", "-c", f"echo said; {script}")
    assert (ended.returncode, ended.stdout) == (code, "said\n")


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("no-such-command", 127, "no-such-command does not exist: correct its name, or PATH"),
        ("./none", 127, "./none does not exist: correct its path"),
        ("./plain", 126, f"./plain is not executable for uid {os.geteuid()}: chmod +x it"),
        (".", 126, "./. is a directory"),
    ],
)
def test_a_command_that_cannot_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, code: int, words: str
) -> None:
    """As with a shell: 127 when it is not there, 126 when it cannot be executed."""
    (tmp_path / "plain").write_text("data")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    monkeypatch.chdir(tmp_path)
    ended = run_exec("--", command if command != "." else "./.")
    assert (ended.returncode, ended.stdout) == (code, "")
    assert ended.stderr.splitlines() == [ended.stderr.rstrip("\n")]
    assert ended.stderr.startswith(f"leakguard: {words}")
    (event,) = [json.loads(line) for line in run_exec("--json", "--", "./none").stderr.splitlines()]
    assert (event["event"], event["exit_code"]) == ("RestartFailed", 127)


def test_a_socket_without_a_directory_makes_none(tmp_path: Path) -> None:
    """A typo in --socket must not leave directories behind; nothing is started."""
    there = tmp_path / "none" / "x.sock"
    ended = run_exec("--socket", str(there), "--", "/bin/sh", "-c", "echo ran")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"leakguard: --socket {there}: there is no {there.parent}: make it, or name another place\n"
    )
    assert not there.parent.exists()


def test_json_is_alone_on_stderr() -> None:
    """With --json stderr has JSON lines and nothing else."""
    ended = run_exec("--json", "--", "/bin/sh", "-c", "echo data; exit 3")
    events = [json.loads(line)["event"] for line in ended.stderr.splitlines()]
    assert (ended.stdout, events[0], events[-1]) == ("data\n", "DaemonStarted", "DaemonStopped")


def test_it_comes_again_after_a_failure_only(tmp_path: Path) -> None:
    """`--restart on-failure` starts a failed command again and ends with a good one."""
    script = f"echo x >> {tmp_path}/runs; [ $(wc -l < {tmp_path}/runs) -ge 2 ] || exit 7"
    ended = run_exec("--restart", "on-failure", "--", "/bin/sh", "-c", script)
    assert (ended.returncode, (tmp_path / "runs").read_text()) == (0, "x\nx\n")


def test_signals_reach_the_command(tmp_path: Path) -> None:
    """USR1 is passed on and changes nothing; TERM is passed on, and its answer is the exit code."""
    script = (
        "trap 'echo usr1' USR1; trap 'echo term; exit 5' TERM; echo ready;"
        " while :; do sleep 0.05; done"
    )
    said = tmp_path / "said"
    with said.open("w") as out, (tmp_path / "events").open("w") as err:
        process = subprocess.Popen(
            [*EXEC, "--json", "--", "/bin/sh", "-c", script], stdout=out, stderr=err
        )
    try:
        until(lambda: "ready" in said.read_text())
        until(lambda: "ServiceStarted" in (tmp_path / "events").read_text())
        process.send_signal(signal.SIGUSR1)
        until(lambda: "usr1" in said.read_text())
        process.terminate()
        assert process.wait(LIMIT_S) == 5
    finally:
        process.kill()
        process.wait()
    assert said.read_text().split() == ["ready", "usr1", "term"]
    events = [event["event"] for event in json_lines((tmp_path / "events").read_text())]
    assert events == ["DaemonStarted", "RestartDecided", "ServiceStarted", "DaemonStopped"]


@pytest.mark.parametrize(
    ("signum", "trap", "code"),
    [
        (signal.SIGINT, ":", 130),
        (signal.SIGTERM, ":", 143),
        (signal.SIGINT, "trap 'exit 9' INT", 9),
        (signal.SIGTERM, "trap 'exit 9' INT", 143),
    ],
)
def test_the_command_gets_the_signal_that_came(
    tmp_path: Path, signum: signal.Signals, trap: str, code: int
) -> None:
    """Ctrl-C reaches the command as INT and TERM as TERM; its own end is the exit code."""
    script = f"{trap}; touch {tmp_path}/up; while :; do sleep 0.05; done"
    process = subprocess.Popen([*EXEC, "--", "/bin/sh", "-c", script])
    try:
        until((tmp_path / "up").exists)
        process.send_signal(signum)
        assert process.wait(LIMIT_S) == code
    finally:
        process.kill()
        process.wait()


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    """Killed, it takes its command along: the kernel's parent-death signal."""
    process = subprocess.Popen(
        [*EXEC, "--", "/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 99"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    pid = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    process.kill()
    process.wait()
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.root
def test_as_pid_1_it_reaps_and_forwards(tmp_path: Path) -> None:
    """In a PID namespace of its own it reaps the orphans of its command and passes TERM on."""
    if shutil.which("unshare") is None:
        pytest.skip("root: needs unshare of util-linux")
    zombies = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"
    script = (
        "trap 'echo term; exit 4' TERM; for i in 1 2 3; do (sleep 0.1 & exec true); done;"
        f" sleep 1.5; echo zombies $({zombies}); while :; do sleep 0.05; done"
    )
    said = tmp_path / "said"
    with said.open("w") as out:
        process = subprocess.Popen(
            [*UNSHARE, *EXEC, "--sample-every", "200ms", "--", "/bin/sh", "-c", script],
            stdout=out,
        )
    try:
        until(lambda: "zombies" in said.read_text())
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert process.wait(LIMIT_S) == 4
    finally:
        process.kill()
        process.wait()
    assert said.read_text().split() == ["zombies", "0", "term"]


@pytest.mark.parametrize("given", [{}, {"MALLOC_ARENA_MAX": "3"}, dict.fromkeys(LEAN, "65536")])
def test_the_command_has_the_environment_that_it_was_given(given: dict[str, str]) -> None:
    """What keeps the guard itself small is not handed on, and what the user set stays."""
    env = {name: value for name, value in os.environ.items() if name not in LEAN} | given
    argv = [*EXEC, "--", "/bin/sh", "-c", f"echo {' '.join(f'${{{name}-}},' for name in LEAN)}"]
    ended = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True)
    assert ended.stdout.split() == [f"{given.get(name, '')}," for name in LEAN]
