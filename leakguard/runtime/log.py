"""The daemon's own log: one line per change on stderr, key=value, the same words as the events."""

import logging
import sys
import threading

from leakguard.runtime.line_writer import LineWriter

FORMAT = "%(asctime)s level=%(levelname)s %(message)s"
LAST_S = 0.3
"""How long the end waits for a reader of the log that is slow."""


def set_up(level: str) -> None:
    """Log to stderr from `level` on; libraries only when something is wrong."""
    handler: logging.Handler = logging.NullHandler()
    if sys.stderr is not None:  # it is None when its descriptor was closed at the start
        handler = LineHandler(sys.stderr.fileno())
    handler.setFormatter(OneLine(FORMAT))
    threading.excepthook = _note_thread
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    if level == "off":
        logging.disable()
        return
    logging.getLogger("leakguard").setLevel(level.upper())
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    logging.raiseExceptions = False  # a closed stderr must not fill itself with tracebacks


def flush() -> None:
    """Write out what waits, for a moment; to be called before the process ends."""
    for handler in logging.getLogger().handlers:
        handler.flush()


def _note_thread(ended: threading.ExceptHookArgs) -> None:
    """Log a thread that ended by an error: a bare traceback would stand among JSON lines."""
    if ended.exc_value is None or ended.exc_type is SystemExit:
        return
    name = ended.thread.name if ended.thread is not None else "-"
    found = (ended.exc_type, ended.exc_value, ended.exc_traceback)
    logging.getLogger("leakguard").error("thread=%s ended by an error", name, exc_info=found)


class LineHandler(logging.Handler):
    """Hands lines over and never waits for whoever reads them. `logging` flushes it at exit."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._writer = LineWriter(fd, self._dropped)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one line over."""
        try:
            self._writer.put(self.format(record))
        except Exception:  # noqa: BLE001  as every handler: a bad log call must not end its caller
            self.handleError(record)

    def flush(self) -> None:
        """Write out what waits, for a moment."""
        self._writer.flush(LAST_S)

    def _dropped(self, count: int) -> str:
        message = "%d line(s) of the log were dropped: they were not read fast enough"
        record = logging.LogRecord("leakguard", logging.WARNING, "", 0, message, (count,), None)
        return self.format(record)


class OneLine(logging.Formatter):
    """Keeps a message on its line, whatever a service put into it."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        record.levelname = record.levelname.lower()
        return super().format(record).replace("\n", "\\n")
