"""What both acts stand on: clock, places, the cage, the users, and the view of all that."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from leakguard.cli._demo.cage import Cage, make_cage
from leakguard.cli._demo.load import Load, ask
from leakguard.cli._demo.patient import LIMIT_BYTES, REQUESTS_PER_S, Patient
from leakguard.cli._demo.receiver import Delivery, Receiver
from leakguard.cli._demo.show import Picture, Show
from leakguard.cli._demo.tally import Fate, Tally, tally
from leakguard.core.errors import LeakguardError
from leakguard.core.instant import Clock, Instant

TICK_S = 0.02
PICTURE_EVERY_S = 0.25
READY_WITHIN_S = 60.0
THRESHOLD = 0.8


class StageError(LeakguardError):
    """The show cannot go on."""


@dataclass(slots=True, kw_only=True)
class Stage:
    """Shared by the acts. `parents`: cgroups to try; `pid` makes names unique."""

    clock: Clock
    show: Show
    folder: Path
    parents: tuple[Path, ...]
    receiver: Receiver
    receiver_url: str
    port: int
    pid: int
    in_cgroup: bool = True
    deliveries: list[Delivery] = field(default_factory=list)

    @contextmanager
    def cage(self, name: str) -> Generator[Cage, None, None]:
        """Make a cage for one act and take it away, with all that is in it, afterwards."""
        cage = make_cage(self.parents, f"leakguard-demo-{self.pid}-{name}", LIMIT_BYTES)
        self.in_cgroup = self.in_cgroup and cage.directory is not None
        try:
            yield cage
        finally:
            cage.remove()

    def patient(self, cage: Cage, name: str) -> Patient:
        """Give the service for one act."""
        return Patient(port=self.port, diary=self.folder / f"{name}.diary", cage=cage)


@dataclass(slots=True, kw_only=True)
class Act:
    """One act under way: counts, draws and waits; `name` heads the panel."""

    stage: Stage
    name: str
    patient: Patient
    load: Load
    started: Instant
    restarts: int = 0
    peak_bytes: int = 0
    history: list[int] = field(default_factory=list)
    """Memory, four times a second."""
    _drawn_s: float = -1.0
    _pause: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def begin(cls, stage: Stage, name: str, patient: Patient) -> "Act":
        """Start the clock of an act; the users come when the service first answers."""
        load = Load(stage.port, REQUESTS_PER_S, stage.clock)
        return cls(stage=stage, name=name, patient=patient, load=load, started=stage.clock.now())

    def elapsed_s(self) -> float:
        """Give the seconds since the act began."""
        return self.stage.clock.now().since(self.started)

    def note(self, text: str, style: str = "") -> None:
        """Say what just happened."""
        self.stage.show.note(self.elapsed_s(), text, style)

    def open_doors(self, check: Callable[[], None] = lambda: None) -> None:
        """Wait for the first answer, then let the users in; `check` may end the wait by raising."""
        while self.patient.pid() is None or ask(self.stage.port)[0] is not Fate.ANSWERED:
            check()
            if self.elapsed_s() > READY_WITHIN_S:
                raise StageError(f"the service did not answer within {READY_WITHIN_S:.0f}s")
            self._pause.wait(TICK_S)
        self.note(f"the service answers as pid {self.patient.pid()}")
        self.load.start()

    def turn(self) -> None:
        """Wait a moment, look at the memory and the post, and draw when it is time."""
        self._pause.wait(TICK_S)
        used = self.patient.cage.used_bytes(self.patient.pid())
        self.peak_bytes = max(self.peak_bytes, used)
        self.open_post()
        elapsed_s = self.elapsed_s()
        if elapsed_s - self._drawn_s >= PICTURE_EVERY_S:
            self._drawn_s = elapsed_s
            self.history.append(used)
            self.stage.show.tick(self._picture(used, elapsed_s))

    def answered_by(self) -> int | None:
        """Give the pid that answered last, None when the last request was lost or none is over."""
        record = self.load.record()
        last = max(record, key=lambda request: request.done_s, default=None)
        return last.pid if last else None

    def tally(self) -> Tally:
        """Count what the users lived through."""
        return tally(self.load.record(), self.patient.stops())

    def open_post(self) -> None:
        """Show the alerts that have arrived."""
        arrived = self.stage.receiver.arrived
        while not arrived.empty():
            delivery = arrived.get()
            self.stage.deliveries.append(delivery)
            if delivery.channel == "webhook":
                self.note(f"webhook got: {delivery.headline}, signature good", "dim")
            else:
                self.note(f"{delivery.channel} got: {delivery.headline}", "cyan")

    def _picture(self, used_bytes: int, elapsed_s: float) -> Picture:
        record = self.load.record()
        return Picture(
            act=self.name,
            elapsed_s=elapsed_s,
            used_bytes=used_bytes,
            limit_bytes=self.patient.cage.limit_bytes,
            threshold=THRESHOLD,
            history=tuple(self.history),
            sent=len(record),
            lost=sum(request.fate is not Fate.ANSWERED for request in record),
            kills=self.patient.cage.oom_kills(),
            restarts=self.restarts,
            alerts=len(self.stage.deliveries),
        )
