"""A private supervisord with programs of the test's own: started, asked, ended."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakguard.linux.supervisord import Address, SupervisordError
from tests.workloads.guarded import kill, started_at, until

HERE = Path(__file__).parent
LEAK = (sys.executable, "-S", str(HERE / "leak.py"))
STEADY = (sys.executable, "-S", str(HERE / "steady.py"))
USUAL = {"autorestart": "true", "startsecs": "1", "stopwaitsecs": "10"}


def leaking(rate: str = "20MiB", to: str = "60MiB", *more: str) -> str:
    """Write the command of a program that leaks."""
    return " ".join((*LEAK, "--rate", rate, "--to", to, *more))


def steady(size: str = "1MiB") -> str:
    """Write the command of one that does not."""
    return " ".join((*STEADY, "--size", size))


@dataclass(slots=True)
class Supervised:
    """One supervisord in a folder. Programs are `{name: {setting: value}}`, `groups` hold them."""

    folder: Path
    programs: Mapping[str, Mapping[str, str]]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    server: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / "sv.sock"

    @property
    def address(self) -> Address:
        """The same, for asking it."""
        return Address(socket=str(self.socket))

    def start(self) -> None:
        """Start it and wait until every program runs."""
        config = self.folder / "sv.ini"
        config.write_text("\n".join(self._config()), "utf-8")
        program = shutil.which("supervisord")
        assert program is not None
        with (self.folder / "sv.out").open("ab") as out:
            self.process = subprocess.Popen(
                [program, "-n", "-c", str(config)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder,
            )  # fmt: skip
        until(self._answers, 30.0, "supervisord answers")

    def _config(self) -> Iterator[str]:
        yield f"[unix_http_server]\nfile={self.socket}\n{self.server}"
        yield f"[supervisord]\nlogfile={self.folder}/sv.log\npidfile={self.folder}/sv.pid"
        yield f"childlogdir={self.folder}"
        yield "[rpcinterface:supervisor]"
        yield ("supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface")
        for name, settings in self.programs.items():
            yield f"[program:{name}]"
            yield from (f"{key}={value}" for key, value in {**USUAL, **settings}.items())
        for group, names in self.groups.items():
            yield f"[group:{group}]\nprograms={','.join(names)}"

    def _answers(self) -> bool:
        try:
            return bool(self.infos())
        except SupervisordError:
            return False

    def infos(self) -> dict[str, dict[str, Any]]:
        """Give what it says of every program, by full name."""
        (infos,) = self.address.ask(("getAllProcessInfo",), timeout_s=10.0)
        return {f"{one['group']}:{one['name']}": one for one in infos}

    def info(self, name: str) -> dict[str, Any]:
        """Give what it says of one program."""
        return self.infos()[name]

    def running(self) -> dict[str, int]:
        """Wait until every program runs; gives their pids."""

        def pids() -> dict[str, int]:
            infos = self.infos()
            found = {name: int(info["pid"]) for name, info in infos.items()}
            return found if all(i["statename"] == "RUNNING" for i in infos.values()) else {}

        return until(pids, 30.0, "every program runs")

    def log(self) -> str:
        """Give what it wrote."""
        return (self.folder / "sv.log").read_text("utf-8")

    def spawned(self, name: str) -> int:
        """Count how often it started a program."""
        return self.log().count(f"spawned: '{name}' with pid")

    def end(self) -> None:
        """End it and its programs; what it left when it was killed goes too."""
        assert self.process is not None
        try:
            left = [(int(one["pid"]), started_at(int(one["pid"]))) for one in self.infos().values()]
        except SupervisordError:
            left = []
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid, started in left:
            if pid and started is not None:
                kill(pid, started)


@contextmanager
def supervised(
    folder: Path,
    programs: Mapping[str, Mapping[str, str]],
    groups: Mapping[str, tuple[str, ...]] | None = None,
    server: str = "",
) -> Iterator[Supervised]:
    """Give a supervisord whose programs run, ended afterwards."""
    made = Supervised(folder, programs, groups or {}, server)
    made.start()
    try:
        yield made
    finally:
        made.end()
