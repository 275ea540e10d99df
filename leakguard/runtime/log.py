"""The daemon's own log: one line per change on stderr, key=value, the same words as the events."""

import logging
import sys

FORMAT = "%(asctime)s level=%(levelname)s %(message)s"


def set_up(level: str) -> None:
    """Log to stderr from `level` on; libraries only when something is wrong."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(FORMAT))
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


class _OneLine(logging.Formatter):
    """Keeps a message on its line, whatever a service put into it."""

    def format(self, record: logging.LogRecord) -> str:
        record.levelname = record.levelname.lower()
        return super().format(record).replace("\n", "\\n")
