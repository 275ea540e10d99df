"""`leakguard demo` for real: one kernel kill, then graceful restarts, and nothing left behind."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakguard.core.errors import ReadingError
from leakguard.linux.cgroupfs import CgroupFs
from leakguard.linux.procfs import ProcFs

DEMO = [sys.executable, "-m", "leakguard", "demo"]
LONGEST_S = 100

pytestmark = [pytest.mark.root, pytest.mark.timeout(180)]


def left_behind(folder: Path, pid: int) -> list[str]:
    """Find what is left of the demo that ran as `pid` and kept its files in `folder`."""
    proc = ProcFs()
    own = CgroupFs(proc).memory_dir(os.getpid())
    assert own is not None
    groups = [Path(place).glob(f"leakguard-demo-{pid}-*") for place in (own.directory, own.top)]
    found = [str(path) for group in (folder.iterdir(), *groups) for path in group]
    for one in proc.pids():
        try:
            command = " ".join(proc.cmdline(one))
        except ReadingError:  # it has ended meanwhile
            continue
        if str(folder) in command:
            found.append(command)
    return found


def test_demo_shows_a_kill_and_then_none(tmp_path: Path) -> None:
    """Act 1 ends in a kill, act 2 in restarts that lose nothing; alerts arrive; nothing is left."""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    with subprocess.Popen([*DEMO, "--json"], env=environment, stdout=pipe, stderr=pipe) as demo:
        out, said = demo.communicate(timeout=LONGEST_S)
    story = said.decode()
    assert demo.returncode == 0, story
    document = json.loads(out)
    alone, guarded = document["acts"]
    assert document["cgroup"] is True
    assert (alone["guarded"], alone["restarts"], alone["oom_kills"]) == (False, 0, 1), story
    assert alone["cut_off"] > 0, story
    assert (guarded["guarded"], guarded["oom_kills"], guarded["crashes"]) == (True, 0, 0), story
    assert guarded["restarts"] >= 2, story
    assert (guarded["lost_outside_restart"], guarded["cut_off"]) == (0, 0), story
    assert guarded["requests"]["sent"] > 100, story
    assert document["alerts"]["slack"] >= 1, story
    assert document["alerts"]["webhook"] >= guarded["restarts"], story
    assert left_behind(tmp_path, demo.pid) == []


def test_interrupted_demo_cleans_up_and_says_so(tmp_path: Path) -> None:
    """Ctrl-C in a terminal ends with 130, without a process, cgroup or file left."""
    environment = os.environ | {"TMPDIR": str(tmp_path), "TERM": "xterm"}
    ours, its = pty.openpty()
    with subprocess.Popen(
        DEMO, env=environment, stdin=its, stdout=its, stderr=subprocess.PIPE, process_group=0
    ) as demo:
        os.close(its)
        seen, end = b"", time.monotonic() + 30
        while b"the service answers" not in seen:
            assert time.monotonic() < end, seen
            seen += os.read(ours, 4096)
        demo.send_signal(signal.SIGINT)
        _, said = demo.communicate(timeout=30)
        os.close(ours)
    assert (demo.returncode, b"cleaned up" in said) == (130, True)
    assert left_behind(tmp_path, demo.pid) == []
