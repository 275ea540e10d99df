"""Pauses that people ask for, and what they end by looking into a service themselves."""

from dataclasses import replace

from leakguard.core import breaker, futility
from leakguard.core.decision import Reply
from leakguard.core.events import EventKind
from leakguard.core.inbox import PauseRequest, ResumeRequest
from leakguard.core.instant import rfc3339
from leakguard.core.severity import Severity
from leakguard.core.state import Pause
from leakguard.core.tick import Tick


def pause(tick: Tick, request: PauseRequest) -> None:
    """Take a service out of automatic restarts."""
    until = tick.now.wall_s + request.for_s if request.for_s is not None else None
    wanted = Pause(by=request.by, reason=request.reason, until_wall_s=until)
    tick.amend(request.service, pause=wanted)
    text = f"paused{f' by {request.by}' if request.by else ''}"
    text += f" until {rfc3339(until)}" if until is not None else " until it is resumed"
    text += f": {request.reason}" if request.reason else ""
    tick.event(
        EventKind.SERVICE_PAUSED, request.service, Severity.INFO, text,
        by=request.by or None, reason=request.reason or None,
        until=rfc3339(until) if until is not None else None,
    )  # fmt: skip
    tick.replies.append(Reply(request_id=request.id, accepted=True, message=text))


def resume(tick: Tick, request: ResumeRequest) -> None:
    """End a pause, and give the breaker its restarts back: a person has looked at it."""
    tick.amend(request.service, pause=None, restarts=(), failures=0, retry_at=None, unhealthy=False)
    text = f"resumed{f' by {request.by}' if request.by else ''}"
    by = request.by or None
    tick.event(EventKind.SERVICE_RESUMED, request.service, Severity.INFO, text, by=by)
    tick.put(replace(tick.service(request.service), last_decision=""))
    if tick.service(request.service).record.breaker_open:
        breaker.close(tick, request.service)
    futility.clear(tick, request.service, "a person resumed it")
    tick.replies.append(Reply(request_id=request.id, accepted=True, message=text))


def expire(tick: Tick, name: str) -> None:
    """End a pause that has lasted for long enough."""
    pause = tick.service(name).record.pause
    if pause is None or pause.until_wall_s is None or tick.now.wall_s < pause.until_wall_s:
        return
    tick.amend(name, pause=None)
    tick.event(EventKind.SERVICE_RESUMED, name, Severity.INFO, "the pause is over")
