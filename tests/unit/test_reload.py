"""SIGHUP: a compiler that fails, hangs or cannot be started leaves the next one possible."""

import sys
import threading

import pytest

from leakguard.core.plan import Plan
from leakguard.linux.children import Children, run_here
from leakguard.runtime.handover import Launch, Options
from leakguard.runtime.reload import Reloaded, Reloader
from leakguard.testing.clock import FakeClock

LAUNCH = Launch(plan=Plan(host="h", services=()), options=Options())
PATIENCE_S = 20.0


class Bench:
    """A reloader whose compiler is a Python program, and its wake-ups."""

    def __init__(self, program: str) -> None:
        self._woken = threading.Semaphore(0)
        argv = (sys.executable, "-S", "-E", "-c", program)
        children = Children(run_here, FakeClock())
        self.reloader = Reloader(argv, children, self._woken.release)

    def result(self, runs: int = 1) -> Reloaded:
        """Wait until the loop was woken so often, and take what came of it."""
        for _ in range(runs):
            assert self._woken.acquire(timeout=PATIENCE_S)
        found = self.reloader.take()
        assert found is not None
        return found

    def reload(self) -> Reloaded:
        """Reload once."""
        self.reloader.begin(LAUNCH)
        return self.result()


def test_a_compiler_that_is_content_gives_a_launch() -> None:
    """It has nothing to change here."""
    bench = Bench("")
    assert (bench.reload(), bench.reloader.take()) == (Reloaded(launch=LAUNCH), None)


def test_a_compiler_that_complains_is_quoted() -> None:
    """Every time."""
    bench = Bench("import sys; sys.exit('config.yaml:3: no')")
    said = Reloaded(problem="config.yaml:3: no")
    assert [bench.reload(), bench.reload()] == [said, said]


def test_a_compiler_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, and the next reload has its chance."""
    monkeypatch.setattr("leakguard.runtime.reload.TIMEOUT_S", 0.2)
    bench = Bench("import signal; signal.pause()")
    said = Reloaded(problem="the configuration was not compiled within 0 s")
    assert [bench.reload(), bench.reload()] == [said, said]


def test_what_nobody_expected_does_not_stick(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged and told, and the next reload works."""
    bench = Bench("")

    def fail(_launch: Launch) -> int:
        raise KeyError("oops")

    with monkeypatch.context() as patched:
        patched.setattr("leakguard.runtime.reload.memory_file", fail)
        assert bench.reload() == Reloaded(problem="KeyError: 'oops'")
    assert "a reload failed" in caplog.text
    assert bench.reload() == Reloaded(launch=LAUNCH)


def test_without_a_thread_the_next_reload_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left marked as running."""
    bench = Bench("")

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        problem = bench.reload().problem
    assert problem == "no thread to compile it in: can't start new thread; try again"
    assert bench.reload() == Reloaded(launch=LAUNCH)


def test_a_signal_during_a_run_makes_another_follow(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """What was changed after the first began must count."""
    folder = tmp_path_factory.mktemp("runs")
    program = (
        f"import os; n = len(os.listdir({str(folder)!r})); open({str(folder)!r} + f'/{{n}}', 'x');"
        f"\nwhile not os.path.exists({str(folder)!r} + '.go'): pass"
    )
    bench = Bench(program)
    bench.reloader.begin(LAUNCH)
    bench.reloader.begin(LAUNCH)
    bench.reloader.begin(LAUNCH)
    folder.with_name(folder.name + ".go").touch()
    assert bench.result(runs=2) == Reloaded(launch=LAUNCH)
    assert len(list(folder.iterdir())) == 2
