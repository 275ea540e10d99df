"""A back-test over a real Prometheus server that holds a leak of known slope."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from leakguard.core.units import MIB

START_S = 1_799_971_200
"""2027-01-15T04:00:00Z."""
HOURS, STEP_S = 50, 60
READY_S = 60.0
POLICY = "defaults: {restart: {threshold: 80%, forecast: off}}\n"

pytestmark = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="no prometheus: apt install prometheus",
)


def leak_mib(t: float) -> float:
    """From 100 MiB at 20.6 MiB an hour, killed after 20 hours."""
    return 100 + 20.6 * (t % 72_000) / 3600


def backfill(folder: Path) -> None:
    """Write two services into a server's storage: one that leaks and one that does not."""
    lines = ["# TYPE app_memory_bytes gauge"]
    for i in range(HOURS * 3600 // STEP_S):
        at = START_S + i * STEP_S
        lines.append(f'app_memory_bytes{{service="worker"}} {leak_mib(i * STEP_S) * MIB:.0f} {at}')
        lines.append(f'app_memory_bytes{{service="steady"}} {200 * MIB} {at}')
    (folder / "in.txt").write_text("\n".join([*lines, "# EOF", ""]))
    subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", "in.txt", "data"],
        cwd=folder, check=True, capture_output=True, timeout=120,
    )  # fmt: skip


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(address: str) -> bool:
    """Ask whether it answers."""
    host, _, port = address.partition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), timeout=2)) as connection:
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False


@pytest.fixture(name="prometheus", scope="module")
def a_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server over the two series, and give its address."""
    folder = tmp_path_factory.mktemp("prometheus")
    backfill(folder)
    (folder / "prometheus.yml").write_text("scrape_configs: []\n")
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                "--storage.tsdb.retention.time=100y", f"--web.listen-address={address}",
            ],
            cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        waited, pause = 0.0, Event()
        while not is_ready(address):
            if server.poll() is not None or waited > READY_S:
                pytest.fail((folder / "log").read_text()[-2000:])
            waited += 0.2
            pause.wait(0.2)
        yield f"http://{address}"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def backtest(*args: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as people do."""
    command = [sys.executable, "-m", "leakguard", "backtest", *args]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip


def test_range_of_a_real_server(prometheus: str, tmp_path: Path) -> None:
    """15.03 hours to four fifths: three restarts in 50 hours; the service that is steady, none."""
    (tmp_path / "B.yaml").write_text(POLICY)
    end = START_S + HOURS * 3600
    done = backtest(
        "--prometheus", prometheus, "--query", "app_memory_bytes", "--start", str(START_S),
        "--end", str(end), "--step", "1m", "--limit", "512MiB", "-c", "B.yaml", "--json",
        folder=tmp_path,
    )  # fmt: skip
    assert done.stderr == ""
    found = json.loads(done.stdout)
    (policy,) = found["policies"]
    assert [d["series"] for d in policy["decisions"]] == ["worker"] * 3
    hours = [(d["t"] - START_S) / 3600 for d in policy["decisions"]]
    assert hours == pytest.approx([15.03, 30.07, 45.1], abs=0.05)
    assert found["left_alone"] == {"oom_kills": 2}


def test_query_that_a_real_server_refuses(prometheus: str, tmp_path: Path) -> None:
    """Its own words, exit code 2."""
    done = backtest("--prometheus", prometheus, "--query", "rate(", folder=tmp_path)
    assert done.returncode == 2
    assert "refuses the query" in done.stderr
    assert "parse error" in done.stderr


def test_range_without_samples_says_so(prometheus: str, tmp_path: Path) -> None:
    """A name that nobody exports is no series."""
    done = backtest("--prometheus", prometheus, "--query", "nobody_has_this", folder=tmp_path)
    assert done.returncode == 2
    assert "has no samples of 'nobody_has_this' in that range" in done.stderr
