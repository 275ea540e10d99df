"""The page at `/`: one plain table for people, without a script, readable on paper."""

import base64
import hashlib
from collections.abc import Iterable

from leakguard.core.status import ServiceStatus, Status
from leakguard.core.units import format_bytes, format_duration, format_rate
from leakguard.web.base import HttpResponse

STYLE = """
:root { color-scheme: light dark; font: 16px/1.45 system-ui, sans-serif; }
body { margin: 2rem auto; padding: 0 1rem; max-width: 78rem; }
h1 { font-size: 1.3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0;
  border-bottom: 1px solid color-mix(in srgb, currentColor 25%, transparent); }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
.bad { font-weight: 700; }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
REFRESH_S = 10
UNKNOWN = "–"

COLUMNS = (
    "Service", "State", "Memory", "Limit", "Slope", "Limit reached in", "Restarts left", "Decision",
)  # fmt: skip

_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
"""As in `html.escape`, whose module brings 2,231 names of characters along: 0.4 MiB."""


def escape(text: str) -> str:
    """Make text safe inside an element or an attribute of HTML."""
    return text.translate(_ESCAPES)


def render(status: Status) -> HttpResponse:
    """Draw the page; every text in it is escaped."""
    body = "".join(_lines(status)).encode()
    return HttpResponse(
        body=body,
        content_type="text/html; charset=utf-8",
        headers={"Content-Security-Policy": POLICY},
    )


def _lines(status: Status) -> Iterable[str]:
    host = escape(status.host)
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f"<title>leakguard on {host}</title>\n"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<meta http-equiv="refresh" content="{REFRESH_S}">\n<style>{STYLE}</style>\n</head>\n'
    yield f"<body>\n<h1>leakguard on {host}</h1>\n"
    for problem in _problems(status):
        yield f'<p class="bad">{escape(problem)}</p>\n'
    yield f'<div class="wide"><table>\n<caption>{escape(_caption(status))}</caption>\n<thead><tr>'
    yield "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    yield "</tr></thead>\n<tbody>\n"
    for service in status.services:
        yield _row(service)
    yield "</tbody>\n</table></div>\n</body>\n</html>\n"


def _caption(status: Status) -> str:
    count = len(status.services)
    return f"{count} service{'' if count == 1 else 's'} at {status.at}, leakguard {status.version}"


def _problems(status: Status) -> Iterable[str]:
    if not status.ready:
        yield f"Not ready: {status.not_ready_because or 'not known why'}"
    if status.store != "ok":
        yield f"State file: {status.store}"
    if not status.config_ok:
        yield "The last reload was refused: the configuration before it is still in force."


def _row(service: ServiceStatus) -> str:
    state = f"{service.phase}, {service.mode}: {service.verdict}"
    held = (service.paused, service.bent)
    said = filter(None, (*held, service.last_decision, *service.cannot_act))
    decision = "; ".join(said)
    cells = (
        _size(service.value_bytes, f" ({service.measure})"),
        _limit(service),
        UNKNOWN if service.slope_bytes_per_s is None else format_rate(service.slope_bytes_per_s),
        _time(service),
        str(service.restarts_left),
    )
    numbers = "".join(f'<td class="n">{escape(cell)}</td>' for cell in cells)
    return (
        f'<tr><th scope="row">{escape(service.name)}</th><td>{escape(state)}</td>'
        f"{numbers}<td>{escape(decision or UNKNOWN)}</td></tr>\n"
    )


def _size(size: int | None, suffix: str = "") -> str:
    return UNKNOWN if size is None else format_bytes(size) + suffix


def _limit(service: ServiceStatus) -> str:
    if service.nearest is None:
        return _size(service.effective_limit_bytes)
    return _size(service.nearest.limit_bytes, f" ({service.nearest.kind})")


def _time(service: ServiceStatus) -> str:
    times = service.nearest.time_to_limit if service.nearest else None
    if times is None or times.p50_s is None:
        return UNKNOWN
    early = UNKNOWN if times.p05_s is None else format_duration(times.p05_s)
    late = "over 30d" if times.p95_s is None else format_duration(times.p95_s)
    return f"{format_duration(times.p50_s)} ({early} to {late})"
