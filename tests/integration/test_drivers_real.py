"""Every driver on real processes: exactly one service, exactly once, and what resists is killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Timer
from typing import Any

import pytest

from leakguard import plugins
from leakguard.core.errors import DriverError
from leakguard.core.sample import Incarnation
from leakguard.drivers.base import Driver, DriverContext, RestartOrder
from leakguard.linux.children import Children, ChildSpec, run_here
from leakguard.linux.pidfd import open_checked, wait_all
from leakguard.linux.procfs import ProcessGone, ProcFs
from leakguard.runtime.clock import SystemClock

PATIENCE_S = 20.0
SLEEPER = (sys.executable, "-S", "-c", "import signal; signal.pause()")
STUBBORN = (
    "import os, signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "open(sys.argv[1], 'a').write('x'); signal.pause(); signal.pause()"
)


class Bench:
    """Two services started as children, `a` to be restarted and `b` its neighbour."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.proc = ProcFs()
        self.children = Children(run_here, SystemClock())

    def start(self, service: str, *argv: str) -> Incarnation:
        """Start a service and wait until it says that it is ready, where it does."""
        return self.children.start(service, ChildSpec(argv=argv))

    def driver(self, key: str, child: ChildSpec | None = None, **options: Any) -> Driver:
        """Make a driver bound to `a`."""
        context = DriverContext(
            service="a",
            proc=self.proc,
            children=self.children,
            clock=SystemClock(),
            locate=lambda: None,
            child=child or ChildSpec(argv=SLEEPER),
        )
        made: Driver = plugins.load("drivers", key).make(options, context)
        return made

    def ready(self, count: int) -> Path:
        """Wait until `count` processes wrote their letter."""
        path = self.folder / "ready"
        assert eventually(lambda: path.exists() and path.stat().st_size >= count)
        return path

    def end(self) -> None:
        """Kill what is left."""
        for service in ("a", "b"):
            running = self.children.find(service)
            for pid in self.proc.tree(running.pid) if running else ():
                os.kill(pid, signal.SIGKILL)
            if running:
                with suppress(ProcessGone), open_checked(self.proc, running) as handle:
                    handle.wait(PATIENCE_S)
            self.children.find(service)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give a bench that leaves nothing running."""
    made = Bench(tmp_path)
    yield made
    made.end()


def order(incarnation: Incarnation | None, deadline_s: float = 30.0) -> RestartOrder:
    """Make an order."""
    return RestartOrder(
        incarnation=incarnation, reason="a test", deadline_s=deadline_s, cancelled=Event()
    )


def steps(*named: tuple[str, float]) -> list[dict[str, Any]]:
    """Write a stop sequence as a configuration does."""
    return [{"signal": name, "wait": wait_s} for name, wait_s in named]


REAL: dict[str, Callable[[Bench], Driver]] = {
    "signal": lambda bench: bench.driver("signal", respawned_by="the test"),
    "command": lambda bench: bench.driver(
        "command",
        argv=["sh", "-c", f'echo "$LEAKGUARD_SERVICE" >> {bench.folder}/log; kill $LEAKGUARD_PID'],
    ),
    "child": lambda bench: bench.driver("child"),
}
"""How each driver is set up to restart `a`; a driver whose manager is not here has its own file."""


@pytest.mark.parametrize("key", sorted(REAL))
def test_exactly_one_service_is_restarted_exactly_once(key: str, bench: Bench) -> None:
    """The old incarnation is gone, at most one new one is there, the neighbour noticed nothing."""
    old, neighbour = bench.start("a", *SLEEPER), bench.start("b", *SLEEPER)
    with open_checked(bench.proc, old) as handle:
        REAL[key](bench).restart(order(old))
        assert handle.wait(PATIENCE_S)
    assert bench.children.find("b") == neighbour
    new = bench.children.find("a")
    assert (new is not None) == (key == "child")
    assert new != old
    if key == "command":
        assert (bench.folder / "log").read_text() == "a\n"


@pytest.mark.parametrize("key", ["child", "signal"])
def test_what_has_ended_is_not_signalled(key: str, bench: Bench) -> None:
    """A process that vanished before the act: `signal` says so, `child` starts the next."""
    old = bench.start("a", "true")
    with suppress(ProcessGone), open_checked(bench.proc, old) as handle:
        handle.wait(PATIENCE_S)
    driver = REAL[key](bench)
    if driver.starts:
        driver.restart(order(old))
        assert bench.children.find("a") is not None
    else:
        with pytest.raises(DriverError, match="has ended"):
            driver.restart(order(old))


def test_a_reused_pid_is_never_signalled(bench: Bench) -> None:
    """The same pid with another start time is another process, whatever the order says."""
    stranger = bench.start("b", *SLEEPER)
    meant = Incarnation(
        boot_id=stranger.boot_id, pid=stranger.pid, start_ticks=stranger.start_ticks - 1
    )
    driver = bench.driver("signal", respawned_by="the test", stop=steps(("KILL", 0)), to="tree")
    with pytest.raises(DriverError, match="has ended"):
        driver.restart(order(meant))
    assert bench.children.find("b") == stranger


def test_leakguard_never_signals_itself(bench: Bench) -> None:
    """A target that matches leakguard is refused once more at the last moment."""
    driver = bench.driver("signal", respawned_by="the test")
    with pytest.raises(DriverError, match="leakguard itself"):
        driver.restart(order(bench.proc.incarnation(os.getpid())))


def test_a_tree_that_holds_leakguard_is_refused(bench: Bench) -> None:
    """An ancestor may be signalled alone, never with all that descends from it."""
    driver = bench.driver("signal", respawned_by="the test", to="tree")
    with pytest.raises(DriverError, match="inside the tree"):
        driver.restart(order(bench.proc.incarnation(os.getppid())))


def test_who_ignores_term_is_killed_after_the_wait(bench: Bench) -> None:
    """The sequence escalates, and the measured stop time holds the wait."""
    old = bench.start("a", sys.executable, "-S", "-c", STUBBORN, f"{bench.folder}/ready")
    bench.ready(1)
    driver = bench.driver("signal", respawned_by="the test", stop=steps(("TERM", 0.3)))
    stopped = driver.restart(order(old))
    assert stopped.stop_s is not None
    assert stopped.stop_s >= 0.3
    assert (bench.children.find("a"), bench.children.exit_code("a")) == (None, 137)


def test_kill_comes_before_the_deadline(bench: Bench) -> None:
    """A wait longer than the deadline is cut: the act is over when the engine expects it."""
    old = bench.start("a", sys.executable, "-S", "-c", STUBBORN, f"{bench.folder}/ready")
    bench.ready(1)
    driver = bench.driver("signal", respawned_by="the test", stop=steps(("TERM", 3600.0)))
    stopped = driver.restart(order(old, deadline_s=1.0))
    assert stopped.stop_s is not None
    assert stopped.stop_s < 3600.0
    assert bench.children.exit_code("a") == 137


def test_a_cancelled_stop_leaves_the_rest_undone(bench: Bench) -> None:
    """When leakguard has to end at once, no KILL is sent behind its back."""
    old = bench.start("a", sys.executable, "-S", "-c", STUBBORN, f"{bench.folder}/ready")
    bench.ready(1)
    driver = bench.driver("signal", respawned_by="the test", stop=steps(("TERM", 3600.0)))
    hurried = order(old, deadline_s=7200.0)
    Timer(0.1, hurried.cancelled.set).start()
    with pytest.raises(DriverError, match="leakguard is ending"):
        driver.restart(hurried)
    assert bench.children.find("a") == old


FAMILY = (
    "import os, signal, sys\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN if sys.argv[2] == '1' else signal.SIG_DFL)\n"
    "depth = int(os.environ.get('DEPTH', '0'))\n"
    "if depth < 2 and not os.fork():\n"
    "    os.environ['DEPTH'] = str(depth + 1)\n"
    "    os.execv(sys.executable, [sys.executable, '-S', *sys.orig_argv[2:]])\n"
    "open(sys.argv[1], 'a').write('x')\n"
    "while True: signal.pause()\n"
)
"""A process with a child and a grandchild, all of which ignore TERM when argv[2] is 1."""


@pytest.mark.parametrize("ignore", ["0", "1"])
@pytest.mark.parametrize("to", ["tree", "process"])
def test_a_child_takes_its_grandchildren_with_it(bench: Bench, ignore: str, to: str) -> None:
    """Nothing of the old tree is left beside the new one, gentle or not."""
    argv = (sys.executable, "-S", "-c", FAMILY, f"{bench.folder}/ready", ignore)
    old = bench.start("a", *argv)
    bench.ready(3)
    family = [bench.proc.incarnation(pid) for pid in bench.proc.tree(old.pid)]
    assert len(family) == 3
    bench.driver("child", stop=steps(("TERM", 0.3)), to=to).restart(order(old))
    assert [one for one in family if bench.proc.is_running(one)] == []
    assert bench.children.find("a") not in (None, old)


def test_signal_to_the_process_leaves_its_children_in_peace(bench: Bench) -> None:
    """Who ends gently tidies up himself; sessions outlive their sshd."""
    old = bench.start("a", sys.executable, "-S", "-c", FAMILY, f"{bench.folder}/ready", "0")
    bench.ready(3)
    others = [bench.proc.incarnation(pid) for pid in bench.proc.tree(old.pid)][1:]
    bench.driver("signal", respawned_by="the test").restart(order(old))
    assert [bench.proc.is_running(one) for one in others] == [True, True]
    handles = [open_checked(bench.proc, one) for one in others]
    for handle in handles:
        handle.send(signal.SIGKILL)
    assert wait_all(handles, PATIENCE_S)
    for handle in handles:
        handle.close()


def test_a_stopped_process_still_ends_gently(bench: Bench) -> None:
    """Who was halted by STOP is continued after TERM, or it would see nothing but KILL."""
    old = bench.start("a", "sleep", "60")
    os.kill(old.pid, signal.SIGSTOP)
    assert eventually(lambda: bench.proc.stat(old.pid).state == "T")
    bench.driver("signal", respawned_by="the test").restart(order(old))
    assert (bench.children.find("a"), bench.children.exit_code("a")) == (None, 143)


def test_child_starts_what_does_not_run(bench: Bench) -> None:
    """Nothing runs, so nothing is stopped; what a dead child left behind goes first."""
    bench.start("a", "sh", "-c", "sleep 60 & exit 1")
    assert eventually(lambda: bench.children.find("a") is None)
    left = bench.children.leftovers("a")
    stopped = bench.driver("child").restart(order(None))
    assert (stopped.stop_s, len(left)) == (None, 1)
    assert [bench.proc.is_running(one) for one in left] == [False]
    assert bench.children.find("a") is not None


def test_child_never_starts_a_second(bench: Bench) -> None:
    """A running child that the order does not name is left alone, and nothing is started."""
    old = bench.start("a", *SLEEPER)
    with pytest.raises(DriverError, match="already runs"):
        bench.driver("child").restart(order(None))
    assert bench.children.find("a") == old


def test_child_is_stopped_when_leakguard_ends(bench: Bench) -> None:
    """`stop_for_good` carries out the sequence and starts nothing."""
    bench.start("a", *SLEEPER)
    bench.driver("child").stop_for_good(Event())
    assert (bench.children.find("a"), bench.children.exit_code("a")) == (None, 143)


def test_a_second_signal_kills_the_child(bench: Bench) -> None:
    """In a hurry `stop_for_good` goes straight to KILL; the child never outlives `exec`."""
    bench.start("a", sys.executable, "-S", "-c", STUBBORN, f"{bench.folder}/ready")
    bench.ready(1)
    hurry = Event()
    hurry.set()
    bench.driver("child", stop=steps(("TERM", 3600.0))).stop_for_good(hurry)
    assert eventually(lambda: bench.children.find("a") is None)
    assert bench.children.exit_code("a") == 137


def test_child_without_its_target_cannot_act(bench: Bench) -> None:
    """The argv comes from the target `child`; without it the error says so."""
    driver = bench.driver("child", child=ChildSpec(argv=()))
    assert driver.rehearse(None) == ("nothing to start: give the target `child` an argv",)


def test_a_command_that_fails_is_told_with_its_last_words(bench: Bench) -> None:
    """The exit code and at most 4 KiB of the end of its output reach the person."""
    script = "yes filler | head -c 100000; echo; echo no such unit >&2; exit 5"
    with pytest.raises(DriverError, match="exit code 5") as caught:
        bench.driver("command", argv=["sh", "-c", script]).restart(order(None))
    message = str(caught.value)
    assert (message.endswith("no such unit"), len(message) < 4400) == (True, True)


def test_a_command_that_hangs_is_killed_with_its_group(bench: Bench) -> None:
    """After the timeout nothing of the command is left running."""
    script = f"sleep 60 & echo $! > {bench.folder}/pid; echo x >> {bench.folder}/ready; wait"
    with pytest.raises(DriverError, match="did not end within"):
        bench.driver("command", argv=["sh", "-c", script], timeout=0.5).restart(order(None))
    pid = int((bench.folder / "pid").read_text())
    assert eventually(lambda: is_gone(bench.proc, pid))


def test_a_command_that_starts_the_service_in_the_background_ends(bench: Bench) -> None:
    """The exit counts, not the output that the service keeps open; and the danger is told."""
    script = f"sleep 60 & echo $! > {bench.folder}/pid"
    stopped = bench.driver("command", argv=["sh", "-c", script]).restart(order(None))
    os.kill(int((bench.folder / "pid").read_text()), signal.SIGKILL)
    assert "redirect the output" in stopped.message


def test_a_command_knows_what_it_is_for(bench: Bench) -> None:
    """Service, reason and pid are in its environment, beside what the options add."""
    old = bench.start("a", *SLEEPER)
    driver = bench.driver(
        "command",
        argv=["sh", "-c", "echo $LEAKGUARD_SERVICE/$LEAKGUARD_REASON/$LEAKGUARD_PID/$MORE/$(pwd)"],
        env={"MORE": "1"},
        cwd="/",
    )
    assert driver.restart(order(old)).message == f"a/a test/{old.pid}/1//"
    assert driver.rehearse(None) == ()


def test_a_command_is_left_running_when_leakguard_must_end(bench: Bench) -> None:
    """Half a restart is worse than one that ends without us."""
    script = f"echo $$ > {bench.folder}/pid; echo x >> {bench.folder}/ready; exec sleep 60"
    hurried = order(None, deadline_s=60.0)
    Timer(0.3, hurried.cancelled.set).start()
    with pytest.raises(DriverError, match="left running"):
        bench.driver("command", argv=["sh", "-c", script]).restart(hurried)
    pid = int(bench.ready(1).with_name("pid").read_text())
    assert is_gone(bench.proc, pid) is False
    os.kill(pid, signal.SIGKILL)
    assert eventually(
        lambda: bench.children.reap_orphans() == 0 and not Path(f"/proc/{pid}").exists()
    )


@pytest.mark.root
def test_a_missing_right_is_named_with_its_fix() -> None:
    """As another user without CAP_KILL, rehearsal and restart both say what is needed."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from leakguard.linux.pidfd import open_checked\n"
        "from leakguard.linux.procfs import ProcFs\n"
        "from leakguard.core.errors import DriverError\n"
        "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "proc = ProcFs()\n"
        "try: open_checked(proc, proc.incarnation(int(sys.argv[2]))).send(0)\n"
        "except DriverError as error: print(error.permanent, error)\n"
    )
    with subprocess.Popen(SLEEPER) as stranger:
        root = str(Path(__file__).parents[2])
        argv = [sys.executable, "-c", program, root, str(stranger.pid)]
        said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        stranger.kill()
    assert said.startswith(f"True not allowed to signal pid {stranger.pid} as uid 65534: run")
    assert "CAP_KILL" in said


def eventually(condition: Callable[[], bool]) -> bool:
    """Look again and again until it holds."""
    return any(condition() or Event().wait(0.02) for _ in range(int(PATIENCE_S / 0.02)))


def is_gone(proc: ProcFs, pid: int) -> bool:
    """Tell whether a pid is free, or a zombie that waits for its parent."""
    try:
        return proc.stat(pid).state in "ZX"
    except ProcessGone:
        return True


def test_child_stays_down_between_stop_and_start(bench: Bench) -> None:
    """Its leftovers go with it; a start of what runs does nothing."""
    old = bench.start("a", *SLEEPER)
    driver = bench.driver("child")
    driver.stop(order(old))
    assert bench.children.find("a") is None
    driver.stop(order(None))
    started = driver.start(order(None)).started
    assert started == bench.children.find("a") != old
    assert driver.start(order(started)).started == started


def test_command_stops_and_starts_by_commands_of_its_own(bench: Bench) -> None:
    """Each of them knows which service it is about; without them it says what is missing."""
    book = bench.folder / "book"
    say = f'echo "$0 $LEAKGUARD_SERVICE" >> {book}'
    driver = bench.driver(
        "command", argv=["true"], stop=["sh", "-c", say, "stop"], start=["sh", "-c", say, "start"]
    )
    driver.stop(order(None))
    driver.start(order(None))
    assert book.read_text() == "stop a\nstart a\n"
    with pytest.raises(DriverError, match="has no stop: give it one"):
        bench.driver("command", argv=["true"]).stop(order(None))
