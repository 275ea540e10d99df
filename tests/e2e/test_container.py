"""The image and the compose file, on a real Docker engine and without a network."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import base_image

REPOSITORY = Path(__file__).parents[2]
SOURCES = (
    "Dockerfile",
    ".dockerignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "constraints.txt",
)
APP_LIMIT = "128m"
UID = "10001:10001"
LOCKED_DOWN = ["--user", UID, "--network", "none", "--read-only", "--cap-drop", "ALL"]
GUARD_ENV = {
    "LEAKGUARD_SERVICES__APP__MODE": "act",
    "LEAKGUARD_SERVICES__APP__TARGET__CMDLINE": r"^python3 /app/leak\.py",
    "LEAKGUARD_SERVICES__APP__LIMIT": "128MiB",
    "LEAKGUARD_SERVICES__APP__RESTART__DRIVER__SIGNAL__RESPAWNED_BY": "docker",
    "LEAKGUARD_SERVICES__APP__RESTART__THRESHOLD__ABOVE": "60%",
    "LEAKGUARD_SERVICES__APP__RESTART__GRACE": "5s",
}

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The docker command, bound to one engine; `image` was built on it for these tests."""

    host: str
    image: str = ""

    def __call__(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run one docker command and give its output; a failure shows what docker said."""
        done = subprocess.run(
            ["docker", *arguments],
            env=os.environ | {"DOCKER_HOST": self.host, "DOCKER_BUILDKIT": "0"},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"docker {arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def log(self, name: str) -> str:
        """Give all that a container has said."""
        done = subprocess.run(
            ["docker", "logs", name],
            env=os.environ | {"DOCKER_HOST": self.host},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout

    def remove(self, *arguments: str) -> None:
        """Run a removing command; what is not there needs no removing."""
        subprocess.run(
            ["docker", *arguments],
            env=os.environ | {"DOCKER_HOST": self.host},
            capture_output=True,
            check=False,
            timeout=60,
        )


def make_wheels(folder: Path) -> None:
    """Fill wheels/ as docs/containers.md says: outside of the build, from the pinned versions."""
    locked = (REPOSITORY / "constraints.txt").read_text("utf-8").partition("# part 2:")[0]
    requirements = folder.parent / "requirements.txt"
    requirements.write_text(locked, "utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "-q"]
    others = ["--require-hashes", "-r", str(requirements)]
    itself = ["--no-deps", "--no-build-isolation", str(folder.parent)]
    for what in (others, itself):
        subprocess.run([*pip, "-w", str(folder), *what], check=True, timeout=300)


@pytest.fixture(scope="module")
def engine(
    docker_host: str, tmp_path_factory: pytest.TempPathFactory
) -> Generator[Engine, None, None]:
    """An engine that built the image from wheels, on a base made of this machine's Python."""
    folder = tmp_path_factory.mktemp("image")
    base, image = (f"leakguard-test-{kind}:{os.getpid()}" for kind in ("base", "image"))
    docker = Engine(host=docker_host, image=image)
    base_image.write(folder / "base.tar")
    context = folder / "context"
    context.mkdir()
    for name in SOURCES:
        shutil.copy(REPOSITORY / name, context)
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "leakguard", context / "leakguard", ignore=skip)
    make_wheels(context / "wheels")
    path = "ENV PATH=/usr/local/bin:/usr/bin"
    docker("import", "--change", path, str(folder / "base.tar"), base)
    argument = ["--build-arg", f"BASE={base}"]
    try:
        docker("build", "--network", "none", *argument, "-t", image, str(context), timeout_s=300)
        yield docker
    finally:
        docker.remove("rmi", "-f", image, base)


def wait_until(true: Callable[[], bool], within_s: float, why: Callable[[], str]) -> None:
    """Poll twice a second; fail with `why` when the time is over."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, why()
        time.sleep(0.5)


def events(log: str) -> list[str]:
    """Give the names of the events among the lines of a log."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line["event"] for line in lines]


def run_in_background(engine: Engine, name: str, *arguments: str) -> None:
    """Start a container that is locked down as docs/containers.md advises."""
    engine("run", "-d", "--name", name, *LOCKED_DOWN, *arguments)


def environment(values: dict[str, str]) -> Sequence[str]:
    """Give `-e` options."""
    return [part for key, value in values.items() for part in ("-e", f"{key}={value}")]


def test_image_runs_as_nobody_with_a_read_only_root(engine: Engine) -> None:
    """Without root, capabilities, network and a writable root the program starts."""
    said = engine("run", "--rm", *LOCKED_DOWN, engine.image, "--version")
    assert said.startswith("leakguard ")


def test_image_is_described_and_stoppable(engine: Engine) -> None:
    """User, stop signal, health check, volume and labels are those that the docs promise."""
    config = json.loads(engine("inspect", engine.image))[0]["Config"]
    assert config["User"] == UID
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "leakguard", "health"]
    assert list(config["Volumes"]) == ["/var/lib/leakguard"]
    assert config["Labels"]["org.opencontainers.image.title"] == "leakguard"


def test_image_is_byte_compiled(engine: Engine) -> None:
    """Nothing has to be compiled at start, when nothing can be written."""
    code = "import leakguard.core.units as u, os; print(os.path.exists(u.__cached__))"
    run = ["run", "--rm", *LOCKED_DOWN, "--entrypoint", "python3", engine.image]
    assert engine(*run, "-c", code) == "True\n"


def test_leaking_app_is_restarted_before_its_own_limit(engine: Engine, tmp_path: Path) -> None:
    """An app in leakguard's PID namespace, same UID, no capability, is stopped in time."""
    guard, app = (f"leakguard-test-{kind}-{os.getpid()}" for kind in ("guard", "app"))
    script = tmp_path / "leak.py"
    shutil.copy(REPOSITORY / "tests" / "workloads" / "leak.py", script)
    script.chmod(0o644)
    try:
        run_in_background(
            engine, guard, "--init", *environment(GUARD_ENV), engine.image, "run", "--json"
        )
        wait_until(
            lambda: "DaemonStarted" in events(engine.log(guard)),
            60,
            lambda: engine.log(guard),
        )
        placed = ["--pid", f"container:{guard}", "--memory", APP_LIMIT, "--restart", "always"]
        mounted = ["-v", f"{script}:/app/leak.py:ro", "--entrypoint", "python3", engine.image]
        leak = ["/app/leak.py", "--rate", "6MiB", "--to", "300MiB"]
        run_in_background(engine, app, *placed, *mounted, *leak)
        wait_until(
            lambda: "RestartSucceeded" in events(engine.log(guard)),
            90,
            lambda: engine.log(guard),
        )
        engine("exec", guard, "leakguard", "health")
        seen = json.loads(engine("inspect", app))[0]
        assert seen["RestartCount"] >= 1
        assert seen["State"]["OOMKilled"] is False
        assert "OomKillObserved" not in events(engine.log(guard))
        engine("stop", "-t", "20", guard)
        assert json.loads(engine("inspect", guard))[0]["State"]["ExitCode"] == 0
    finally:
        engine.remove("rm", "-f", "-v", app, guard)


def compose(file: str = "compose.yaml") -> list[str]:
    """Give the command for a shipped compose file: the old program, or the plug-in of docker."""
    command = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
    return [*command, "-f", str(REPOSITORY / "config" / "docker" / file)]


def run_compose(host: str, *command: str, timeout_s: float = 120) -> str:
    """Run it and give what it said; a failure shows that too."""
    done = subprocess.run(
        command,
        env=os.environ | {"DOCKER_HOST": host},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_compose_file_loads(docker_host: str) -> None:
    """docker-compose 1.29 and later read the shipped file: the app joins leakguard's namespace."""
    assert "pid: service:leakguard" in run_compose(docker_host, *compose(), "config")


def test_compose_file_with_labels_loads(docker_host: str) -> None:
    """leakguard in the host's PID namespace, and an app that carries the label."""
    said = run_compose(docker_host, *compose("labels.yaml"), "config")
    assert ("pid: host" in said, "leakguard.enable" in said) == (True, True)


def test_compose_restarts_its_leaking_app(engine: Engine, tmp_path: Path) -> None:
    """The shipped file, with this image and an earlier threshold, guards its app as it is."""
    override = tmp_path / "override.yaml"
    override.write_text(
        f"""\
version: "2.4"
services:
  leakguard:
    image: {engine.image}
    network_mode: none
    environment: {{LEAKGUARD_SERVICES__APP__RESTART__THRESHOLD__ABOVE: 20%}}
  app: {{image: "{engine.image}", network_mode: none}}
""",
        "utf-8",
    )
    project = [*compose(), "-f", str(override), "-p", f"leakguard-test-{os.getpid()}"]

    def log() -> str:
        return run_compose(engine.host, *project, "logs", "--no-color")

    try:
        run_compose(engine.host, *project, "up", "-d", "--no-build")
        wait_until(lambda: "event=RestartSucceeded service=app" in log(), 90, log)
    finally:
        run_compose(engine.host, *project, "down", "-v", "-t", "10")
