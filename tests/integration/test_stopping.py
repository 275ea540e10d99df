"""A real daemon restarts a real service that is asked, drained and dumped before."""

import json
import sys
from pathlib import Path
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from tests.workloads.guarded import Daemon, until

LEAK = [
    sys.executable, "-S", "-c",
    "import time; kept = []\nwhile True: kept.append(bytearray(2**20)); time.sleep(0.02)",
]  # fmt: skip
WRITE = (
    "import os; print('dump of', os.environ['LEAKGUARD_PID'])\n"
    "open('{output_dir}/heap', 'w').write('{pid}')"
)
DUMP = [sys.executable, "-S", "-c", WRITE]
SMOKE = [sys.executable, "-S", "-c", "import os; print(os.environ['LEAKGUARD_OUTCOME'])"]


def config(server: HTTPServer) -> dict[str, Any]:
    """Give a service that leaks 50 MiB/s and may be restarted at 60 MiB."""
    return {
        "services": {
            "leaker": {
                "target": {"child": {"argv": LEAK}},
                "mode": "act",
                "restart": {
                    "forecast": False,
                    "threshold": "60MiB",
                    "ask": server.url_for("/ask"),
                    "drain": {"http": server.url_for("/drain"), "wait": "5s"},
                    "before": {"command": DUMP, "within": "10s"},
                    "after": {"command": SMOKE},
                },
            }
        }
    }


def test_a_service_is_asked_drained_dumped_and_restarted_in_this_order(
    httpserver: HTTPServer, tmp_path: Path
) -> None:
    """Busy first; then one question, one drain, one dump, one restart, one hook after it."""
    heard: list[tuple[str, str]] = []

    def ask(request: Request) -> Response:
        heard.append(("ask", str(request.get_json()["trigger"])))
        if len(heard) == 1:
            return Response(json.dumps({"busy": True, "again_in": "1s", "reason": "batch"}))
        return Response(status=204)

    def drain(request: Request) -> Response:
        heard.append(("drain", str(request.get_json()["pid"])))
        return Response(status=200)

    httpserver.expect_request("/ask").respond_with_handler(ask)
    httpserver.expect_request("/drain").respond_with_handler(drain)
    with Daemon(tmp_path, config(httpserver)) as daemon:
        held = daemon.wait_for("RestartVetoed", "leaker", limit_s=30)
        done = daemon.wait_for("RestartSucceeded", "leaker", limit_s=30)
        ran = daemon.wait_for("HooksRan", "leaker", limit_s=30)
        kept = Path(done["hook_output"])
        until(lambda: len(list(kept.iterdir())) == 3, 10)
        texts = {file.name: file.read_text() for file in kept.iterdir()}
        assert daemon.stop() == 0
    name = Path(sys.executable).name
    old = texts["heap"]
    assert (held["guard"], "busy: batch" in held["message"]) == ("busy", True)
    assert heard[:3] == [("ask", "threshold"), ("ask", "threshold"), ("drain", old)]
    assert done["prepared"].startswith("drained after ")
    assert (ran["action_id"], ran["hook_output"]) == (done["action_id"], done["hook_output"])
    assert texts == {
        "heap": old,
        f"before-1-{name}.txt": f"dump of {old}",
        f"after-1-{name}.txt": "succeeded",
    }
