"""Act 1: nobody watches. The service leaks until the kernel kills it; a supervisor revives it."""

import subprocess
from dataclasses import dataclass

from leakguard.cli._demo.patient import PER_REQUEST, RATE, REQUESTS_PER_S, Patient
from leakguard.cli._demo.result import ActResult
from leakguard.cli._demo.stage import Act, Stage
from leakguard.cli._demo.tally import Fate
from leakguard.core.instant import Clock, Instant
from leakguard.core.units import format_bytes, parse_bytes
from leakguard.linux.spawn import ChildSpec, Launch

RESPAWN_AFTER_S = 0.1  # what systemd waits by default (RestartSec)
LONGEST_S = 30.0
AFTER_RETURN_S = 5.0
STOP_WITHIN_S = 5.0


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Starts the service and starts it again when it has ended, as systemd would; nothing else.

    Used from the main thread alone: the service dies with the thread that started it.
    """

    patient: Patient
    clock: Clock
    process: subprocess.Popen[bytes] | None = None
    ended: Instant | None = None

    def start(self) -> None:
        """Start the service in its cage; it cannot outlive this program."""
        directory = self.patient.cage.directory
        launch = Launch(
            ChildSpec(
                argv=tuple(self.patient.argv()),
                cgroup_dir=str(directory) if directory else "",
                die_with_parent=True,
            ),
            output=subprocess.DEVNULL,
        )
        self.process, self.ended = launch.popen, None
        launch.confirm(self.clock)

    def look(self) -> int | None:
        """Start what ended long enough ago; give the exit code in the moment of an end."""
        if self.process is None:
            return None
        if self.ended is not None:
            if self.clock.now().since(self.ended) >= RESPAWN_AFTER_S:
                self.start()
            return None
        code = self.process.poll()
        self.ended = None if code is None else self.clock.now()
        return code

    def stop(self) -> None:
        """End the service gracefully, or by KILL when that takes too long."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(STOP_WITHIN_S)


def play(stage: Stage) -> ActResult:
    """Play the act until the service is back after its death, and a little longer."""
    with stage.cage("unguarded") as cage:
        patient = stage.patient(cage, "unguarded")
        _introduce(stage, patient)
        act = Act.begin(stage, "Act 1, unguarded", patient)
        supervisor = Supervisor(patient=patient, clock=stage.clock)
        try:
            supervisor.start()
            act.open_doors()
            deaths = _watch(act, supervisor)
            kills, lasted_s = cage.oom_kills(), act.elapsed_s()
        finally:
            act.load.stop()
            supervisor.stop()
            stage.show.clear()
        return ActResult(
            guarded=False,
            oom_kills=kills,
            crashes=0 if cage.directory else deaths,
            restarts=0,
            respawns=deaths,
            tally=act.tally(),
            limit_bytes=cage.limit_bytes,
            peak_bytes=act.peak_bytes,
            history=tuple(act.history),
            lasted_s=lasted_s,
        )


def _introduce(stage: Stage, patient: Patient) -> None:
    limit = format_bytes(patient.cage.limit_bytes)
    stage.show.title(
        "Act 1 of 2: nobody watches",
        f"A small web service answers {REQUESTS_PER_S} requests a second. It leaks "
        f"{_spoken(RATE)} every second, and {_spoken(PER_REQUEST)} with every request.",
        f"It may use {limit} ({patient.cage.kind}), so nothing else on this machine is in danger.",
        "A plain supervisor starts it again whenever it has died.",
    )


def _spoken(size: str) -> str:
    return format_bytes(parse_bytes(size))


def _watch(act: Act, supervisor: Supervisor) -> int:
    """Watch until a while after the first return; give the number of deaths."""
    deaths, until_s, first_pid = 0, LONGEST_S, act.patient.pid()
    while act.elapsed_s() < until_s:
        act.turn()
        code = supervisor.look()
        if code is not None:
            deaths += 1
            act.note(_obituary(act, code), "bold red")
        pid = act.answered_by()
        if deaths and until_s == LONGEST_S and pid not in (None, first_pid):
            until_s = act.elapsed_s() + AFTER_RETURN_S
            act.note(f"the service answers again as pid {pid}, as leaky as before; nobody was told")
    return deaths


def _obituary(act: Act, code: int) -> str:
    cut_off = sum(request.fate is Fate.CUT_OFF for request in act.load.record())
    hand = f"{cut_off} answers were cut off in the middle" if cut_off else "its work is lost"
    if act.patient.cage.oom_kills():
        return f"KERNEL: out of memory, the service was killed (signal {-code}); {hand}"
    return f"the service ended by itself (exit code {code}), out of memory; {hand}"
