"""A private `systemd --user` with a bus of its own, in cgroups and mounts of its own."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.workloads.guarded import until

PATIENCE_S = 20.0
CGROUPS = Path("/sys/fs/cgroup")
HIERARCHIES = ("memory", "systemd", "pids", "cpu", "unified")
UNITS = "/usr/lib/systemd/user"
BUS = {
    "lab.target": "[Unit]\nRequires=dbus.socket\nAfter=dbus.socket\nWants=dbus.service\n",
    "dbus.socket": "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=%t/bus\n",
    "dbus.service": (
        "[Unit]\nDefaultDependencies=no\nRequires=dbus.socket\n[Service]\nType=notify\n"
        "ExecStart=/usr/bin/dbus-daemon --session --address=systemd: --nofork --nopidfile\n"
    ),
}
# The manager finds its own cgroups at the root of what is mounted, and a machine run by systemd.
ENTER = """
for place in "$@"; do echo $$ > "$place/cgroup.procs"; done
exec unshare --mount --cgroup sh -ec "$0" sh "$@"
"""
INSIDE = """
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system /run/user
for place in "$@"; do mount --bind "$place" "${place%/*}"; done
exec /lib/systemd/systemd --user --unit=lab.target --log-target=console
"""


class UserManager:
    """One manager; `environ` is what its clients need."""

    def __init__(self, folder: Path) -> None:
        """Start it, with units of `folder`."""
        self._places = list(_places(f"leakguard-sd-{os.getpid()}"))
        self.units = folder / "units"
        self.units.mkdir()
        for name, text in BUS.items():
            (self.units / name).write_text(text)
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        own = [self.units, *(runtime / "systemd" / d for d in ("user.control", "transient"))]
        self.environ = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "XDG_RUNTIME_DIR": str(runtime),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
            "SYSTEMD_UNIT_PATH": ":".join(map(str, [*own, UNITS])),
        }
        self._log = (folder / "systemd.log").open("wb")
        self._manager = subprocess.Popen(
            ["sh", "-ec", ENTER, INSIDE, *map(str, self._places)],
            env=self.environ,
            stdout=self._log,
            stderr=self._log,
        )
        until((runtime / "systemd/private").exists)
        until(lambda: self.systemctl("is-active", "lab.target", check=False) == "active")
        until(lambda: "org.freedesktop.systemd1 " in self._names())

    def systemctl(self, *words: str, check: bool = True) -> str:
        """Ask this manager; gives what it prints."""
        done = subprocess.run(
            ["systemctl", "--user", *words],
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert not (check and done.returncode), f"systemctl {words}: {done.stderr}{done.stdout}"
        return done.stdout.strip()

    def write(self, name: str, service: str, unit: str = "") -> None:
        """Write a service and have it read."""
        (self.units / name).write_text(f"[Unit]\n{unit}\n[Service]\n{service}\n")
        self.systemctl("daemon-reload")

    def show(self, name: str, key: str) -> str:
        """Ask for one property."""
        return self.systemctl("show", "--property", key, "--value", name)

    def pid(self, name: str) -> int:
        """Give the main process of a unit."""
        return int(self.show(name, "MainPID"))

    def hang_up(self) -> None:
        """End the bus: the machine has none then."""
        self.systemctl("stop", "dbus.socket", "dbus.service")

    def end(self) -> None:
        """Kill everything of it and take its cgroups away."""
        self._manager.kill()
        self._manager.wait(PATIENCE_S)
        for place in self._places:
            until(partial(_removed, place))
        self._log.close()

    def _names(self) -> str:
        """Ask the bus who is on it; systemd comes when the bus has started."""
        ask = ["busctl", "--user", "--no-pager", "--no-legend", "--unique", "--acquired", "list"]
        done = subprocess.run(
            ask, env=self.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        return done.stdout


def _places(name: str) -> Iterator[Path]:
    """Make a group in every hierarchy that systemd uses."""
    tops = [CGROUPS / kind for kind in HIERARCHIES if (CGROUPS / kind / "cgroup.procs").exists()]
    for top in tops or [CGROUPS]:
        (top / name).mkdir()
        yield top / name


def _removed(top: Path) -> bool:
    if not top.exists():
        return True
    groups = sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True)
    for group in (*groups, top):
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            group.rmdir()
    return not top.exists()
