"""The web server: the control socket and the TCP port, each with a loop and workers of its own.

A shared pool could not keep the control socket answering: waitress queues tasks first in, first
out, so a flood over TCP would stand before `leakguard status`. Two loops, one worker for TCP and
two for the control socket (a `restart` waits in one for the engine while `health` asks the
other) make five threads. More workers would only compete with the guard for the interpreter.
"""

import logging
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from waitress.server import create_server
from waitress.task import ThreadedTaskDispatcher

from leakguard.core.plan import HttpPlan
from leakguard.web import listen
from leakguard.web.access import Access
from leakguard.web.app import MAX_BODY_BYTES, WebApp
from leakguard.web.base import Back
from leakguard.web.metrics import Metrics

TCP_WORKERS = 1
CONTROL_WORKERS = 2
CLOSE_WITHIN_S = 1

SETTINGS: dict[str, Any] = {
    "asyncore_use_poll": True,  # select() dies at descriptor 1024, and we keep many
    "asyncore_loop_timeout": 10,  # its trigger wakes it; this is only how often it tidies up
    "connection_limit": 64,
    "channel_timeout": 30,
    "cleanup_interval": 10,
    "max_request_header_size": 16384,
    "max_request_body_size": MAX_BODY_BYTES,
    "outbuf_overflow": 16 * 1024 * 1024,  # answers stay in memory: the disk may be full
    "ident": None,
}

log = logging.getLogger("leakguard.web")


class WebServer:
    """Serves a Back on the control socket and, when `http.listen` says so, over TCP."""

    def __init__(self, back: Back, http: HttpPlan, socket_path: str = "") -> None:
        """Prepare; `socket_path` empty: no control socket."""
        self._back = back
        self._http = http
        self._socket_path = socket_path
        self._listeners: list[_Listener] = []
        self._inode = 0
        self.address: tuple[str, int] | None = None
        """Host and port that TCP is served on, once started."""
        self.warnings: tuple[str, ...] = ()
        """What the operator must be told at every start, once started."""

    def start(self) -> None:
        """Open the sockets and serve; on an error nothing stays open.

        Raises:
            ConfigError, DaemonError, PermissionRefused: a socket cannot be opened; says the fix.
        """
        logging.getLogger("waitress").setLevel(logging.ERROR)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a line per queued request
        metrics = Metrics(self._back.status)
        try:
            if self._socket_path:
                self._serve_unix(metrics)
            if self._http.listen:
                self._serve_tcp(metrics)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop serving; no thread that is left behind can hold the exit."""
        for listener in self._listeners:
            listener.stop_accepting()
        for listener in self._listeners:
            listener.close(CLOSE_WITHIN_S)
        self._listeners.clear()
        if self._inode:
            listen.remove(self._socket_path, self._inode)
            self._inode = 0
        self.address = None

    def _serve_unix(self, metrics: Metrics) -> None:
        opened = listen.unix(self._socket_path)
        self._inode = Path(self._socket_path).stat().st_ino
        app = WebApp(self._back, Access(trusted=True), metrics)
        self._listeners.append(_Listener("control", app, opened, CONTROL_WORKERS))

    def _serve_tcp(self, metrics: Metrics) -> None:
        opened = listen.tcp(self._http.listen)
        name = opened.getsockname()
        self.address = (str(name[0]), int(name[1]))
        access = Access(
            loopback=listen.is_loopback(opened),
            token=self._http.token,
            open_metrics=self._http.open_metrics,
            allow_no_token=self._http.allow_no_token,
            host=listen.split(self._http.listen)[0],
        )
        self.warnings = warnings(self._http, loopback=access.loopback)
        app = WebApp(self._back, access, metrics)
        self._listeners.append(_Listener("http", app, opened, TCP_WORKERS))


def warnings(http: HttpPlan, *, loopback: bool) -> tuple[str, ...]:
    """Say what is dangerous, or cannot work, about a TCP listener."""
    if http.token is not None:
        return ()
    if http.allow_no_token:
        who = "every process on this machine" if loopback else "everybody who reaches it"
        how = f"http.allow_no_token: {who} can restart services over {http.listen}"
        return (f"{how}; set http.token_file instead",)
    if not loopback:
        free = "/healthz, /readyz and /metrics" if http.open_metrics else "/healthz and /readyz"
        what = f"http.listen {http.listen} is beyond loopback and no http.token_file is set"
        return (f"{what}: only {free} are answered",)
    return ()


class _Listener:
    """One socket with its loop thread and its workers."""

    def __init__(self, name: str, app: WebApp, opened: socket.socket, workers: int) -> None:
        self._name = name
        self._workers = ThreadedTaskDispatcher()
        self._map: dict[int, Any] = {}  # waitress' own channels
        self._server: Any = create_server(  # the stubs give a union that does not fit
            app, map=self._map, _dispatcher=self._workers, sockets=[opened], **SETTINGS
        )
        self._workers.set_thread_count(workers)
        self._loop = threading.Thread(target=self._run, name=f"leakguard-{name}", daemon=True)
        self._loop.start()

    def stop_accepting(self) -> None:
        """Refuse new connections; those in work go on."""
        self._in_loop(self._server.del_channel, self._server.socket.close)

    def close(self, within_s: int) -> None:
        """End workers, connections and loop; a worker that hangs keeps its loop (both daemons)."""
        self._workers.shutdown(cancel_pending=True, timeout=within_s)
        if self._workers.threads:
            log.warning("event=WebWorkersLeft listener=%s", self._name)
            return
        self._in_loop(self._let_go)
        self._loop.join(within_s)
        if not self._loop.is_alive():
            self._server.trigger.close()

    def _in_loop(self, *calls: Callable[[], object]) -> None:
        for call in calls:
            self._server.trigger.pull_trigger(call)

    def _let_go(self) -> None:
        """Empty the map, which ends the loop; the trigger's pipe stays open.

        Its writer may be between leaving this call and writing, and the descriptor's number
        could be another file by then.
        """
        trigger = self._server.trigger
        for channel in list(self._map.values()):
            if channel is trigger:
                channel.del_channel()
            else:
                channel.close()

    def _run(self) -> None:
        try:
            self._server.run()
        except Exception:  # the edge of a thread: a dead listener must be seen in the log
            log.exception("event=WebListenerFailed listener=%s", self._name)
