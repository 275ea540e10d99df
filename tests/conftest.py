"""What tests may need from the machine: markers that skip with a reason, and no skip in CI.

Property tests draw the same examples in every run, so that a red run is the change's own fault;
`make fuzz` (`LG_TEST_FUZZ=1`) draws new ones.
"""

import contextlib
import functools
import http.client
import os
import platform
import shutil
import socket
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("fuzz", print_blob=True)
settings.load_profile("fuzz" if os.environ.get("LG_TEST_FUZZ") == "1" else "same")

REQUIRE_ALL = os.environ.get("LG_TEST_REQUIRE_ALL") == "1"
CGROUP_ROOT = Path("/sys/fs/cgroup")
DEFAULT_DOCKER_HOST = "unix:///var/run/docker.sock"
PING_TIMEOUT_S = 5.0
NOBODY = 65534


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PING_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Open the socket file instead of a TCP connection."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _memory_cgroup() -> Path | None:
    """The folder whose children are limited in memory: version 1 or 2, or none."""
    if (CGROUP_ROOT / "memory" / "memory.limit_in_bytes").is_file() or (
        CGROUP_ROOT / "memory" / "tasks"
    ).is_file():
        return CGROUP_ROOT / "memory"
    controllers = CGROUP_ROOT / "cgroup.controllers"
    if controllers.is_file() and "memory" in controllers.read_text().split():
        return CGROUP_ROOT
    return None


@functools.cache
def lacks_root() -> str | None:
    """Why a test marked `root` cannot run here, or None."""
    if os.geteuid() != 0:
        return f"needs uid 0, runs as uid {os.geteuid()}"
    parent = _memory_cgroup()
    if parent is None:
        return f"no memory controller under {CGROUP_ROOT}"
    probe = parent / f"leakguard-test-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError as error:
        return f"cannot make a cgroup in {parent}: {error.strerror}"
    probe.rmdir()
    return None


@functools.cache
def lacks_docker() -> str | None:
    """Why a test marked `docker` cannot run here, or None."""
    host = os.environ.get("LG_TEST_DOCKER_HOST") or DEFAULT_DOCKER_HOST
    if not host.startswith("unix://"):
        return f"LG_TEST_DOCKER_HOST is not a unix:// address: {host}"
    with contextlib.closing(_UnixConnection(host.removeprefix("unix://"))) as engine:
        try:
            engine.request("GET", "/_ping")
            answer = engine.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException) as error:
            return f"no Docker engine at {host}: {error}"
    return None if answer.status == http.client.OK else f"{host} answers {answer.status}"


@functools.cache
def lacks_systemd() -> str | None:
    """Why a test marked `systemd` cannot run here, or None."""
    if not Path("/lib/systemd/systemd").is_file():
        return "systemd is not installed"
    return None if shutil.which("dbus-daemon") else "dbus-daemon is not installed"


POOL_PROGRAMS = {
    "/usr/bin/gunicorn": "gunicorn",
    "/usr/bin/uwsgi": "uwsgi-core uwsgi-plugin-python3",
    "/usr/lib/python3/dist-packages/celery/__init__.py": "python3-celery",
    "/usr/bin/puma": "puma",
}


@functools.cache
def lacks_pools() -> str | None:
    """Why a test marked `pools` cannot run here, or None."""
    missing = [package for path, package in POOL_PROGRAMS.items() if not Path(path).is_file()]
    return f"apt install {' '.join(missing)}" if missing else None


@functools.cache
def lacks_supervisord() -> str | None:
    """Why a test marked `supervisord` cannot run here, or None."""
    return None if shutil.which("supervisord") else "no supervisord: apt install supervisor"


VM_PROGRAMS = {
    "apt-get": "a Debian system",
    "busybox": "apt install busybox-static",
    "cpio": "apt install cpio",
    "debootstrap": "apt install debootstrap",
    "gcc": "apt install gcc libc6-dev",
    "mke2fs": "apt install e2fsprogs",
    "qemu-system-x86_64": "apt install qemu-system-x86",
}


@functools.cache
def lacks_vm() -> str | None:
    """Why a test marked `vm` cannot run here, or None."""
    if os.geteuid() != 0:
        return f"debootstrap needs uid 0, runs as uid {os.geteuid()}"
    if platform.machine() != "x86_64":
        return f"the virtual machine is an x86_64, this one is {platform.machine()}"
    for program, remedy in VM_PROGRAMS.items():
        if shutil.which(program) is None:
            return f"no {program}: {remedy}"
    return None


@functools.cache
def lacks_podman() -> str | None:
    """Why a test marked `podman` cannot run here, or None."""
    if shutil.which("podman") is None or shutil.which("docker") is None:
        return "no podman with a docker command: apt install podman docker.io"
    return lacks_root()


LACKS: dict[str, Callable[[], str | None]] = {
    "root": lacks_root,
    "docker": lacks_docker,
    "pools": lacks_pools,
    "supervisord": lacks_supervisord,
    "podman": lacks_podman,
    "systemd": lacks_systemd,
    "vm": lacks_vm,
}


@pytest.fixture(scope="session")
def docker_host() -> str:
    """The address of the engine for tests marked `docker`, as `DOCKER_HOST` wants it."""
    return os.environ.get("LG_TEST_DOCKER_HOST") or DEFAULT_DOCKER_HOST


@pytest.fixture
def hidden(tmp_path: Path) -> Iterator[Path]:
    """A folder that may not be entered; root is somebody else for the time."""
    folder, me = tmp_path / "hidden", os.geteuid()
    folder.mkdir()
    folder.chmod(0)
    if me == 0:
        os.seteuid(NOBODY)
    yield folder
    os.seteuid(me)
    folder.chmod(0o700)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose marker names something that this machine lacks."""
    for marker, lacks in LACKS.items():
        if item.get_closest_marker(marker) and (reason := lacks()):
            pytest.skip(f"{marker}: {reason}")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"LG_TEST_REQUIRE_ALL=1 allows no skip, and this one was: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With LG_TEST_REQUIRE_ALL=1, a skipped test is a failed one."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """With LG_TEST_REQUIRE_ALL=1, a skipped module is a failed one."""
    report = yield
    _refuse_skip(report)
    return report
