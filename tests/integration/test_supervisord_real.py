"""leakguard and a real supervisord: one program, once, neighbours untouched; and what breaks."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workloads.guarded import Daemon, kill, started_at, until
from tests.workloads.supervised import Supervised, leaking, steady, supervised

pytestmark = pytest.mark.supervisord

GROUPS = {"site": ("web", "api"), "shop": ("cart", "till")}
STUBBORN = leaking("40MiB", "60MiB", "--stop-takes")


def programs(**web: str) -> dict[str, dict[str, str]]:
    """Give `web` that leaks, and three that do not."""
    quiet = {"command": steady()}
    return {"web": {"command": leaking(), **web}, "api": quiet, "cart": quiet, "till": quiet}


def guarded(server: Supervised, **service: Any) -> dict[str, Any]:
    """Write a configuration that restarts at 40 MiB, and leaves time to see what follows."""
    usual = {
        "mode": "act",
        "target": {"supervisord": {"name": "site:web", "socket": str(server.socket)}},
        "sample_every": "200ms",
        "sample_floor": "100ms",
        "restart": {"threshold": {"above": "40MiB"}, "forecast": False},
    }
    return {"services": {"app": {**usual, **service}}}


def once(folder: Path) -> dict[str, str]:
    """Give a `web` that leaks in its first run only."""
    flag = folder / "leaked"
    script = folder / "web.sh"
    script.write_text(
        f"#!/bin/sh\n[ -e {flag} ] && exec {steady()}\n: > {flag}\nexec {leaking()}\n"
    )
    return {"command": f"/bin/sh {script}"}


def test_the_leaking_program_is_restarted_exactly_once(tmp_path: Path) -> None:
    """By one stop and one start; neighbours in both groups keep their processes."""
    with supervised(tmp_path, programs(**once(tmp_path)), GROUPS) as server:
        before = server.running()
        with Daemon(tmp_path, guarded(server)) as daemon:
            daemon.wait_for("RestartSucceeded", "app")
            after = until(lambda: changed(server, before, "site:web"), 20.0)
        assert {name for name in after if after[name] != before[name]} == {"site:web"}
        assert [server.spawned(name) for name in ("web", "api", "cart", "till")] == [2, 1, 1, 1]
        assert len(daemon.events("RestartDecided")) == 1


def changed(server: Supervised, before: dict[str, int], name: str) -> dict[str, int]:
    """Give the pids once that of one program is another."""
    now = server.running()
    return now if now[name] != before[name] else {}


def test_a_pattern_guards_each_program_by_its_name(tmp_path: Path) -> None:
    """`app:site:web` in events, commands and state; the colon in the name divides nothing."""
    with supervised(tmp_path, programs(**once(tmp_path)), GROUPS) as server:
        before = server.running()
        target = {"supervisord": {"name": "site:*", "socket": str(server.socket)}}
        with Daemon(tmp_path, guarded(server, target=target)) as daemon:
            daemon.ready()
            daemon.wait_for("RestartSucceeded", "app:site:web")
            names = [one["name"] for one in ask(daemon, "status", "--json")["services"]]
            why = ask(daemon, "why", "app:site:web", "--json")
            code = run(daemon, "restart", "app:site:api").returncode
        after = server.running()
        assert sorted(names) == ["app:site:api", "app:site:web"]
        assert (why["service"]["name"], code) == ("app:site:web", 0)
        assert {n for n in after if after[n] != before[n]} == {"site:web", "site:api"}
        assert [server.spawned(name) for name in ("web", "api", "cart", "till")] == [2, 2, 1, 1]


def test_the_slots_of_a_pattern_outlive_leakguard(tmp_path: Path) -> None:
    """A daemon started anew guards the same programs under the same names, none twice."""
    with supervised(tmp_path, programs(command=steady()), GROUPS) as server:
        server.running()
        target = {"supervisord": {"name": "*:*", "socket": str(server.socket)}}
        for _ in range(2):
            with Daemon(tmp_path, guarded(server, target=target)) as daemon:
                daemon.ready()
                names = until(lambda: names_of(daemon, 4), 20.0, "four services")
                daemon.stop(signal.SIGKILL)
        assert names == ["app:shop:cart", "app:shop:till", "app:site:api", "app:site:web"]


def names_of(daemon: Daemon, count: int) -> list[str]:
    """Give the names of what is guarded, once there are so many."""
    names = sorted(one["name"] for one in ask(daemon, "status", "--json")["services"])
    return names if len(names) == count else []


def run(daemon: Daemon, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run a command of leakguard's against a daemon."""
    return subprocess.run(
        [sys.executable, "-m", "leakguard", *argv, "--socket", str(daemon.folder / "control.sock")],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def ask(daemon: Daemon, *argv: str) -> Any:  # noqa: ANN401  JSON of a command
    """Give what a command prints as JSON."""
    done = run(daemon, *argv)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_program_that_starts_nearly_full_is_no_loop(tmp_path: Path) -> None:
    """At 95 % of its limit after every start: `max_restarts`, then one alert, and it is left."""
    full = leaking("1MiB", "38MiB", "--start", "38MiB")
    with supervised(tmp_path, programs(command=full, startsecs="0"), GROUPS) as server:
        before = server.running()
        restart = {
            "threshold": {"above": "60%"},
            "forecast": False,
            "grace": "1s",
            "max_restarts": {"count": 2, "per": "1h"},
        }
        with Daemon(tmp_path, guarded(server, limit="40MiB", restart=restart)) as daemon:
            daemon.wait_for("RestartLimitHit", "app", limit_s=60.0)
            assert_nothing_more_for(3.0)
        after = server.running()
        assert len(daemon.events("RestartSucceeded")) == 2
        assert len(daemon.events("RestartLimitHit")) == 1
        assert server.spawned("web") == 3
        assert {name for name in after if after[name] != before[name]} == {"site:web"}


def assert_nothing_more_for(seconds: float) -> None:
    """Let time pass in which nothing shall happen."""
    with pytest.raises(AssertionError):
        until(lambda: False, seconds)


def test_a_killed_leakguard_leaves_nothing_stopped(tmp_path: Path) -> None:
    """kill -9 between stop and start: supervisord completes it, the next daemon sees it."""
    slow = programs(command=f"{STUBBORN} 4")
    with supervised(tmp_path, slow, GROUPS) as server:
        before = server.running()
        daemon = Daemon(tmp_path, guarded(server))
        with daemon:
            until(lambda: server.info("site:web")["statename"] == "STOPPING", 30.0)
            daemon.stop(signal.SIGKILL)
            assert server.info("site:web")["statename"] == "STOPPING"
            after = until(lambda: changed(server, before, "site:web"), 20.0)
            daemon.start().ready()
            daemon.wait_for("RestartSucceeded", "app")
        assert server.spawned("web") >= 2
        assert {name for name in after if after[name] != before[name]} == {"site:web"}


def test_a_leakguard_that_ends_leaves_nothing_stopped(tmp_path: Path) -> None:
    """TERM in the middle: it does not wait for supervisord, which goes on by itself."""
    with supervised(tmp_path, programs(command=f"{STUBBORN} 5"), GROUPS) as server:
        before = server.running()
        with Daemon(tmp_path, guarded(server)) as daemon:
            until(lambda: server.info("site:web")["statename"] == "STOPPING", 30.0)
            assert daemon.stop() == 0
            assert server.info("site:web")["statename"] == "STOPPING"
        assert changed_soon(server, before)
        assert server.spawned("web") == 2


def changed_soon(server: Supervised, before: dict[str, int]) -> bool:
    """Wait until the leaking program is another process."""
    return bool(until(lambda: changed(server, before, "site:web"), 20.0))


def test_a_slow_stop_is_waited_for(tmp_path: Path) -> None:
    """A program that takes 11 s to stop, with stopwaitsecs 15, is never called failed."""
    slow = programs(command=f"{STUBBORN} 11", stopwaitsecs="15")
    with supervised(tmp_path, slow, GROUPS) as server:
        server.running()
        with Daemon(tmp_path, guarded(server)) as daemon:
            done = daemon.wait_for("RestartSucceeded", "app", limit_s=60.0)
            failed = daemon.events("RestartFailed") + daemon.events("RestartAbandoned")
        assert (done["took_s"] >= 11.0, failed, server.spawned("web")) == (True, [], 2)


def test_who_does_not_stop_is_killed_by_supervisord(tmp_path: Path) -> None:
    """After stopwaitsecs, as the program's configuration says; no signal is leakguard's."""
    rude = programs(command=leaking("40MiB", "60MiB", "--ignore-term"), stopwaitsecs="2")
    with supervised(tmp_path, rude, GROUPS) as server:
        server.running()
        with Daemon(tmp_path, guarded(server)) as daemon:
            daemon.wait_for("RestartSucceeded", "app", limit_s=30.0)
        assert "killing 'web'" in server.log()


def test_a_supervisord_that_dies_in_the_middle_is_told(tmp_path: Path) -> None:
    """The restart failed, why, and that nobody answers any more."""
    with supervised(tmp_path, programs(command=f"{STUBBORN} 3"), GROUPS) as server:
        pids = server.running()
        left = {pid: started_at(pid) for pid in pids.values()}
        config = guarded(server)
        with Daemon(tmp_path, config) as daemon:
            until(lambda: server.info("site:web")["statename"] == "STOPPING", 30.0)
            assert server.process is not None
            kill(server.process.pid)
            server.process.wait()
            failed = daemon.wait_for("RestartFailed", "app", limit_s=30.0)
        for pid, started in left.items():
            if started is not None:
                kill(pid, started)
        assert "supervisord" in failed["why"]
        assert "went away" in failed["why"] or "nobody answers" in failed["why"]


def test_check_says_what_a_restart_would_do(tmp_path: Path) -> None:
    """Driver, who starts it again, and a stop that is longer than the deadline."""
    slow = programs(command=steady(), stopwaitsecs="90", startretries="7")
    with supervised(tmp_path, slow, GROUPS) as server:
        server.running()
        daemon = Daemon(tmp_path, guarded(server))
        daemon.write_config(daemon.config)
        done = subprocess.run(
            [sys.executable, "-m", "leakguard", "check", "-c", str(daemon.config_file)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    words = " ".join(done.stdout.split()) + done.stderr
    assert "supervisord stops and starts site:web" in words
    assert "gives up after 7 failed starts more" in words
    assert "set restart.deadline to 1m 41s" in words


def test_a_password_and_a_port(tmp_path: Path) -> None:
    """[inet_http_server] with credentials: the right password acts, none is told."""
    port = free_port()
    server_text = f"\n[inet_http_server]\nport=127.0.0.1:{port}\nusername=guard\npassword=sesame"
    (tmp_path / "secret").write_text("sesame\n")
    with supervised(tmp_path, programs(**once(tmp_path)), GROUPS, server_text) as server:
        server.running()
        place = {"name": "site:web", "url": f"http://127.0.0.1:{port}"}
        right = {**place, "username": "guard", "password_file": str(tmp_path / "secret")}
        services = guarded(server, target={"supervisord": right})["services"]
        services["blind"] = {**services["app"], "target": {"supervisord": place}}
        with Daemon(tmp_path, {"services": services}) as daemon:
            daemon.wait_for("RestartSucceeded", "app")
            missing = daemon.wait_for("ServiceMissing", "blind")
    assert "set username and password_file" in missing["message"]
    assert "sesame" not in daemon.log() + json.dumps(daemon.events())


def free_port() -> int:
    """Give a port that nobody has."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


@pytest.mark.root
def test_a_missing_right_is_named(tmp_path: Path) -> None:
    """As a user who may not write to the socket: which setting of supervisord gives the right."""
    program = (
        "import sys, os; sys.path.insert(0, sys.argv[1])\n"
        "from leakguard.linux.supervisord import Address, SupervisordError\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: Address(socket=sys.argv[2]).ask(('getPID',))\n"
        "except SupervisordError as error: print(error.permanent, error)\n"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    with supervised(tmp_path, {"one": {"command": steady()}}) as server:
        argv = [sys.executable, "-c", program, str(Path(__file__).parents[2]), str(server.socket)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"True not allowed to use {server.socket} as uid 65534: set chmod")
    assert "chown in [unix_http_server]" in said


def test_no_holder_is_left(tmp_path: Path) -> None:
    """What held a request ends with it."""
    with supervised(tmp_path, programs(**once(tmp_path)), GROUPS) as server:
        server.running()
        with Daemon(tmp_path, guarded(server)) as daemon:
            daemon.wait_for("RestartSucceeded", "app")
            until(lambda: children(daemon.pid) == [], 10.0, "no child is left")


def children(pid: int) -> list[str]:
    """Give the children of a process."""
    found: list[str] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += (task / "children").read_text().split()
    return found
