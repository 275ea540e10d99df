"""The outbox under kill -9: a real process, a real receiver, real sockets."""

import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from leakguard.store.base import DeliveryState
from leakguard.store.sqlite import SqliteStore
from leakguard.testing.clock import FakeClock

KILLS = 12

SENDER = """
import sys, threading
from leakguard.notifiers.base import NotifierContext
from leakguard.notifiers.webhook import Options, WebhookNotifier
from leakguard.runtime.clock import SystemClock
from leakguard.runtime.dispatcher import Dispatcher
from leakguard.store.guarded import GuardedStore
from leakguard.testing.notifiers import alert
from leakguard.testing.ticks import tick
path, url, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
clock = SystemClock()
store = GuardedStore(path, clock)
notifier = WebhookNotifier(Options(url=url), NotifierContext(channel="ops", clock=clock))
dispatcher = Dispatcher(store, {"ops": notifier}, clock, print, seed=first)
for n in range(first, first + 1000):
    store.commit(tick(clock.now(), alerts=(alert(f"i-{n}", wall_s=clock.now().wall_s),)))
    assert store.last_commit_durable
    print(n, flush=True)
    dispatcher.dispatch_due(5)
"""


def test_kill_at_any_moment_loses_nothing(httpserver: HTTPServer, tmp_path: Path) -> None:
    """Every alert that was committed arrives; at most one duplicate a kill, with the same id."""
    got: Counter[str] = Counter()

    def take(request: Request) -> Response:
        got[json.loads(request.get_data())["id"]] += 1
        return Response("ok")

    httpserver.expect_request("/hook").respond_with_handler(take)
    path, url = str(tmp_path / "state.db"), httpserver.url_for("/hook")
    rng, following = random.Random(7), 0
    for _ in range(KILLS):
        following = _run_and_kill(path, url, following, rng.randint(1, 6))
    store = SqliteStore(path, FakeClock())
    committed = {d.alert.id for d in store.deliveries(limit=10_000)}
    pending = {d.alert.id for d in store.deliveries([DeliveryState.PENDING])}
    store.close()
    assert committed - set(got) <= pending
    assert set(got) <= committed
    assert {f"i-{n}" for n in range(following)} <= committed
    assert sum(got.values()) - len(got) <= KILLS


def _run_and_kill(path: str, url: str, first: int, after: int) -> int:
    """Let a sender commit and send a few, kill it without warning, and give the next number."""
    with subprocess.Popen(
        [sys.executable, "-c", SENDER, path, url, str(first)], stdout=subprocess.PIPE, text=True
    ) as sender:
        assert sender.stdout is not None
        said = [int(sender.stdout.readline()) for _ in range(after)]
        sender.kill()
        said += [int(line) for line in sender.stdout.read().split()]
    return said[-1] + 1
