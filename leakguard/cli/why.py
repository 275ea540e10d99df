"""`leakguard why`: what was seen of a service, what was decided, what is next, what changes it."""

import textwrap
from collections.abc import Iterable
from typing import Any

import click

from leakguard.cli import _words
from leakguard.cli._client import Client, service_path
from leakguard.cli._options import json_option, socket_option
from leakguard.cli._output import GAP, NARROWEST, UNKNOWN, count, emit_json, local_time, paint
from leakguard.cli._table import terminal_width
from leakguard.core.lasting import MOSTLY
from leakguard.core.units import format_bytes, format_duration, format_rate

EPILOG = """\b
Examples:
  leakguard why worker
  leakguard why worker --json
"""
WIDTH = 92
EVENTS = 5
NEEDS_A_PROCESS = frozenset({"", "child", "pool", "signal"})
"""Drivers that a person cannot start a service with; leakguard starts a `child` by itself."""

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
    print(_filled(text))
    _list("What would change it", changes(facts))
    _list("Evidence", [f"{name:<18}{GAP}{value}" for name, value in evidence(facts)])
    _list("Lately", [f"{local_time(e['at'])}{GAP}{e['message']}" for e in reversed(events)])


def sentences(facts: Plain) -> Iterable[str]:
    """Say in whole sentences what is known of a service and what follows from it."""
    yield _what_is_seen(facts)
    yield _what_it_means(facts)
    yield from _who_would_die(facts)
    yield from _throttled(facts)
    yield from _how_right(facts)
    if (facts["tmpfs_share"] or 0.0) >= MOSTLY:
        share = f"{100 * facts['tmpfs_share']:.0f}%"
        yield (
            f"A restart does not cure that: {share} of the growth is in files of tmpfs, which stay."
        )
    if facts["bent"]:
        yield f"To buy time, {facts['bent']}."
    if facts["futile"]:
        yield f"{facts['futile'][:1].upper()}{facts['futile'][1:]}."
    if facts["waiting"]:
        yield f"Its restart {facts['waiting']['text']}."
    if facts["leave"]:
        yield f"Before a restart {facts['name']} is asked: {facts['leave']}."
    if facts["last_decision"]:
        yield f"The last decision: {_ended(facts['last_decision'])}"
    else:
        yield "Nothing has called for a restart yet."
    yield _what_is_next(facts)


def _how_right(facts: Plain) -> Iterable[str]:
    """Say how well its newest forecasts came out: what the range is worth here."""
    came = facts["outcomes"]
    kept = sum(came.values())
    if kept > 1:
        early = f", {came['early']} came before it" if came["early"] else ""
        yield f"Of its last {kept} forecasts {came['inside']} came inside the range{early}."


def changes(facts: Plain) -> list[str]:
    """Say what a person can do to change what leakguard does next."""
    name, found = facts["name"], []
    if facts["paused"]:
        found.append(f"it is {facts['paused']}: `leakguard resume {name}` ends that")
    if facts["breaker_open"]:
        found.append(
            "it had too many restarts, or came back ill: look into it, then "
            f"`leakguard resume {name}`, or wait until they are long enough ago"
        )
    elif facts["breaker"] == "half-open":
        found.append(f"its next restart is on probation: `leakguard resume {name}` ends that")
    if facts["futile"]:
        found.append(f"restarts were in vain: `leakguard resume {name}` lets them be tried again")
    if facts["mode"] == "observe":
        found.append("it is only observed: `mode: act` lets leakguard restart it")
    if not facts["driver"]:
        found.append("nobody can restart it: give it a `restart.driver`")
    found.extend(facts["cannot_act"])
    if (facts["tmpfs_share"] or 0.0) >= MOSTLY:
        found.append("its growth is in files of tmpfs: remove them, or bound their mount (size=)")
    if facts["value_bytes"] is not None and facts["nearest"] is None:
        found.append("no limit is known: `limit: SIZE` gives the forecast something to reach")
    if facts["threshold_bytes"] is None:
        found.append("it has no threshold: `restart.threshold` would restart it at a size")
    return [*found, *_by_hand(facts)]


def _by_hand(facts: Plain) -> Iterable[str]:
    """Offer what a person can order now, and nothing that would be refused."""
    name, driver = facts["name"], facts["driver"]
    if facts["phase"] == "missing" and driver in NEEDS_A_PROCESS:
        yield f"{name} is not found: it is guarded again once its target matches"
    elif driver and not facts["in_flight"] and not facts["cannot_act"]:
        held = facts["paused"] or facts["breaker_open"] or facts["leave"]
        force = " --force" if held else ""
        yield f"`leakguard restart {name}{force}` restarts it now"


def evidence(facts: Plain) -> Iterable[tuple[str, str]]:
    """Give the numbers behind the text, with their units."""
    near = facts["nearest"]
    yield f"memory ({facts['measure']})", _size(facts["value_bytes"])
    for part in ("rss", "anon", "file", "shmem", "tmpfs", "swap"):
        if facts[f"{part}_bytes"] is not None:
            yield part, _size(facts[f"{part}_bytes"])
    yield "slope", _words.slope(facts)
    yield "verdict", f"{facts['verdict']}: {facts['verdict_reason'] or UNKNOWN}"
    for limit in facts["limits"] or ([near] if near else []):
        place = f" {limit['path']}" if limit["path"] else ""
        yield f"limit ({limit['kind']})", f"{_room(limit)}{place}"
    yield "limit reached", _words.full_at(facts)
    high = facts["throttle"]
    if high is not None:
        yield "throttled from", f"{_size(high['high_bytes'])} (memory.high) {high['path']}"
    if _words.victim(facts) != UNKNOWN:
        yield "kernel would kill", _words.victim(facts)
    if facts["threshold_bytes"] is not None:
        yield "threshold", _size(facts["threshold_bytes"])
    yield "restarts left", str(facts["restarts_left"])
    for restart in facts["restarts"]:
        yield "restart", f"{local_time(restart['at'])} ({restart['reason']})"


def _room(limit: Plain) -> str:
    left, whole = limit["headroom_bytes"], _size(limit["limit_bytes"])
    return f"{whole} passed by {_size(-left)}" if left < 0 else f"{_size(left)} of {whole} left"


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
    full, left = _words.full_at(facts), near["headroom_bytes"]
    if full == _words.PASSED:
        over = format_bytes(-left)
        return f"{text} The {near['kind']} limit{where} is passed by {over}."
    room = f"{format_bytes(left)} are left below the {near['kind']} limit{where}"
    end = {UNKNOWN: "with no end in sight", _words.NOW: "which is full now"}
    return f"{text} {room}, {end.get(full, f'gone by {full}')}."


def _who_would_die(facts: Plain) -> Iterable[str]:
    near = facts["nearest"] or {}
    if near.get("kind") == "commit":
        yield "Then malloc fails (ENOMEM) at CommitLimit, and nobody is killed."
    oom = near.get("oom")
    if oom is None or oom["outcome"] == "nobody":
        return
    if oom["victim"] is None:
        yield f"Then {oom['why_uncertain'] or 'it is not known whom the kernel would kill'}."
        return
    name, victim = facts["name"], oom["victim"]
    itself = victim["service"] == name
    who = f"{name} itself" if itself else f"{_words.suspect(victim)}, not {name}"
    adj = f" (oom_score_adj {victim['oom_score_adj']})" if victim["oom_score_adj"] else ""
    if oom["certain"]:
        yield f"Then the kernel would kill {who}{adj}."
    else:
        why = f": {oom['why_uncertain']}" if oom["why_uncertain"] else ""
        yield f"Then the kernel would probably kill {who}{adj}; that is not certain{why}."


def _throttled(facts: Plain) -> Iterable[str]:
    """Say from where on the kernel slows it down, and when that comes."""
    high = facts["throttle"]
    if high is None:
        return
    size, times = format_bytes(high["high_bytes"]), high["time_to_throttle"] or {}
    for_ever = "" if high["limited"] else ", and it has no limit, so that need not end"
    if high["now"]:
        where = f"memory.high ({size}) of {high['path']}"
        yield f"It is throttled now: it has reached {where}{for_ever}."
    elif times.get("p50_s") is not None:
        about = format_duration(times["p50_s"])
        yield f"From {size} on (memory.high) it is throttled, in about {about}{for_ever}."


def _what_is_next(facts: Plain) -> str:
    if facts["stopped_for"]:
        return f"It is stopped for the restart of {facts['stopped_for']}, and started after it."
    if facts["in_flight"]:
        return f"A restart is in flight ({facts['in_flight']})."
    if facts["phase"] == "missing":
        return f"Next: {_missing(facts)}."
    plans = []
    if facts["threshold_bytes"] is not None and facts["value_bytes"] is not None:
        gap = facts["threshold_bytes"] - facts["value_bytes"]
        where = f"{format_bytes(gap)} away" if gap > 0 else "crossed"
        plans.append(f"the threshold of {format_bytes(facts['threshold_bytes'])} is {where}")
    if facts["due"]:
        plans.append(f"the restart that was due {local_time(facts['due'])} waits for its turn")
    if facts["next_schedule"]:
        plans.append(f"the next scheduled restart is {local_time(facts['next_schedule'])}")
    if not facts["breaker_open"]:
        left = facts["restarts_left"]
        verb = "is" if left == 1 else "are"
        probation = facts["breaker"] == "half-open"
        plans.append(
            "the breaker is half-open: the next restart is on probation"
            if probation
            else f"{count(left, 'restart')} {verb} left before the breaker opens"
        )
    return f"Next: {'; '.join(part for part in (', '.join(plans), _outlook(facts)) if part)}."


def _missing(facts: Plain) -> str:
    if facts["driver"] == "child":
        return "leakguard starts it again, as `restart.respawn` says"
    return "it is looked for again and again, and nothing is restarted while it does not run"


def _outlook(facts: Plain) -> str:
    """Say what would become of a restart that is due."""
    if facts["paused"]:
        return "while it is paused, nothing restarts it"
    if facts["breaker_open"]:
        return "the breaker is open, so a restart would be alerted of, not carried out"
    if facts["futile"]:
        return "restarts for its memory are held back, since they do not help"
    if not facts["driver"]:
        return "without a driver, a restart would be alerted of, not carried out"
    if facts["mode"] == "observe":
        return "a restart would be alerted of, not carried out"
    if facts["cannot_act"]:
        return "a restart would be tried, and fail as things are"
    return "a restart is carried out"


def _list(title: str, lines: Iterable[str]) -> None:
    found = list(lines)
    if found:
        print(f"\n{paint(title, 'bold')}")
        print("\n".join(_filled(line, GAP) for line in found))


def _filled(text: str, indent: str = "") -> str:
    """Fold prose at a readable width, and everything at the terminal's."""
    width = min(WIDTH, terminal_width() or WIDTH) if not indent else terminal_width()
    if width is None or len(indent) + len(text) <= width:
        return indent + text
    return textwrap.fill(
        text, max(width, NARROWEST), initial_indent=indent, subsequent_indent=indent * 2,
        break_on_hyphens=False, break_long_words=False,
    )  # fmt: skip


def _size(size: int | None) -> str:
    return UNKNOWN if size is None else f"{format_bytes(size)} ({size} B)"


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
