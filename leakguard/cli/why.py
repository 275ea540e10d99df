"""`leakguard why`: what was seen of a service, what was decided, what is next, what changes it."""

import textwrap
from collections.abc import Iterable
from typing import Any

import click

from leakguard.cli import _words
from leakguard.cli._client import Client, service_path
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import GAP, UNKNOWN, emit_json, local_time, paint
from leakguard.core.units import format_bytes, format_duration, format_rate

EPILOG = """\b
Examples:
  leakguard why worker
  leakguard why worker --json
"""
WIDTH = 92
EVENTS = 5

Plain = dict[str, Any]  # a JSON object is untyped


@click.command("why", epilog=EPILOG)
@click.argument("service", metavar="SERVICE")
@json_option()
@socket_option
def command(service: str, as_json: bool, socket_path: str | None) -> None:  # noqa: FBT001  click calls it by name
    """Explain one service: what was seen, what was decided, what is next."""
    client = Client(socket_path)
    facts = client.get(service_path(service))
    events = client.get("/api/v1/events", service=service, limit=EVENTS)["events"]
    text = " ".join(sentences(facts))
    if as_json:
        emit_json({"service": facts, "events": events, "text": text, "changes": changes(facts)})
        return
    print(textwrap.fill(text, WIDTH, break_on_hyphens=False, break_long_words=False))
    _list("What would change it", changes(facts))
    _list("Evidence", [f"{name:<18}{GAP}{value}" for name, value in evidence(facts)])
    _list("Lately", [f"{local_time(e['at'])}{GAP}{e['message']}" for e in reversed(events)])


def sentences(facts: Plain) -> Iterable[str]:
    """Say in whole sentences what is known of a service and what follows from it."""
    yield _what_is_seen(facts)
    yield _what_it_means(facts)
    if facts["last_decision"]:
        yield f"The last decision: {_ended(facts['last_decision'])}"
    else:
        yield "Nothing has called for a restart yet."
    yield _what_is_next(facts)


def changes(facts: Plain) -> list[str]:
    """Say what a person can do to change what leakguard does next."""
    name, found = facts["name"], []
    if facts["paused"]:
        found.append(f"it is {facts['paused']}: `leakguard resume {name}` ends that")
    if facts["breaker_open"]:
        found.append(
            f"it had too many restarts: look into it, then `leakguard resume {name}`, "
            "or wait until they are long enough ago"
        )
    if facts["mode"] == "observe":
        found.append("it is only observed: `mode: act` lets leakguard restart it")
    if not facts["driver"]:
        found.append("nobody can restart it: give it a `restart.driver`")
    found.extend(facts["cannot_act"])
    if facts["value_bytes"] is not None and facts["nearest"] is None:
        found.append("no limit is known: `limit: SIZE` gives the forecast something to reach")
    if facts["threshold_bytes"] is None:
        found.append("it has no threshold: `restart.threshold` would restart it at a size")
    found.append(f"`leakguard restart {name}` restarts it now")
    return found


def evidence(facts: Plain) -> Iterable[tuple[str, str]]:
    """Give the numbers behind the text, with their units."""
    near = facts["nearest"]
    yield f"memory ({facts['measure']})", _size(facts["value_bytes"])
    for part in ("rss", "anon", "file", "shmem", "swap"):
        if facts[f"{part}_bytes"] is not None:
            yield part, _size(facts[f"{part}_bytes"])
    yield "slope", _words.slope(facts)
    yield "verdict", f"{facts['verdict']}: {facts['verdict_reason'] or UNKNOWN}"
    for limit in facts["limits"] or ([near] if near else []):
        place = f" {limit['path']}" if limit["path"] else ""
        room = f"{_size(limit['headroom_bytes'])} of {_size(limit['limit_bytes'])} left"
        yield f"limit ({limit['kind']})", f"{room}{place}"
    yield "limit reached", _words.full_at(facts)
    if facts["threshold_bytes"] is not None:
        yield "threshold", _size(facts["threshold_bytes"])
    yield "restarts left", str(facts["restarts_left"])
    for restart in facts["restarts"]:
        yield "restart", f"{local_time(restart['at'])} ({restart['reason']})"


def _what_is_seen(facts: Plain) -> str:
    name, phase = facts["name"], facts["phase"]
    if facts["value_bytes"] is None:
        return f"{name} is {phase.replace('_', ' ')}; its memory is not known now."
    who = f"pid {facts['pid']}" if facts["pid"] else "its processes"
    age = f", {format_duration(facts['age_s'])} old," if facts["age_s"] else ""
    size = format_bytes(facts["value_bytes"])
    when = f" at {local_time(facts['sampled_at'])}" if facts["sampled_at"] else ""
    return f"{name} ({who}{age} {phase.replace('_', ' ')}) held {size} ({facts['measure']}){when}."


def _what_it_means(facts: Plain) -> str:
    rate, near = facts["slope_bytes_per_s"], facts["nearest"]
    verdict = facts["verdict"].replace("_", " ")
    because = f" ({facts['verdict_reason']})" if facts["verdict_reason"] else ""
    growth = (
        ""
        if rate is None
        else f", {'growing' if rate >= 0 else 'shrinking'} by {format_rate(abs(rate))}"
    )
    text = f"It is judged {verdict}{because}{growth}."
    if near is None:
        return f"{text} No limit is known for it."
    where = f" of {near['path']}" if near["path"] else ""
    room = f"{format_bytes(near['headroom_bytes'])} are left below the {near['kind']} limit{where}"
    full = _words.full_at(facts)
    return f"{text} {room}, {'with no end in sight' if full == UNKNOWN else f'gone by {full}'}."


def _what_is_next(facts: Plain) -> str:
    if facts["in_flight"]:
        return f"A restart is in flight ({facts['in_flight']})."
    plans = []
    if facts["threshold_bytes"] is not None and facts["value_bytes"] is not None:
        gap = facts["threshold_bytes"] - facts["value_bytes"]
        where = f"{format_bytes(gap)} away" if gap > 0 else "crossed"
        plans.append(f"the threshold of {format_bytes(facts['threshold_bytes'])} is {where}")
    if facts["next_schedule"]:
        plans.append(f"the next scheduled restart is {local_time(facts['next_schedule'])}")
    plans.append(f"{facts['restarts_left']} restarts are left before the breaker opens")
    verb = (
        "would be alerted of, not carried out" if facts["mode"] == "observe" else "is carried out"
    )
    return f"Next: {', '.join(plans)}; a restart {verb}."


def _list(title: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        print(f"\n{paint(title, 'bold')}")
        print("\n".join(f"{GAP}{line}" for line in found))


def _size(size: int | None) -> str:
    return UNKNOWN if size is None else f"{format_bytes(size)} ({size} B)"


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
