"""Judge forecasts of recorded services: the verdict, and the kill against [p05, p95].

Each recording gives two series. `NAME/own` is the service's own memory (anon + shmem + swap), its
limit the room that it really has: the cgroup's limit less what else is charged there and cannot be
dropped (kernel memory, page tables; the most of it in the life). On it the verdict is judged: that
of a leak must be `leaking`, with an alarm, 30 % of the leak's life or five minutes before the kill,
whichever is less, and not before the leak began; a service that does not leak must never alarm.
`NAME/domain` is the use of the memory domain (usage less file pages that can be dropped) with the
limit of the cgroup, because that is what the kernel kills by and what the daemon forecasts on. On
it the time of the kill is judged, at 50 % and 80 % of the way from the beginning of the leak to the
kill and when the alarm first came: by the last forecast that was made until then. A forecast that
foresees nothing counts as one that missed.
"""

import csv
import gzip
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.real_recorder import Recording, load_recording

INSIDE_SHARE = 0.85
LEAST_EACH = 12
LEAD_SHARE, LEAD_S = 0.30, 300.0
HALF, FAR, ALARM = "50 %", "80 %", "alarm"
PLACES = (HALF, FAR, ALARM)


@dataclass(frozen=True, slots=True)
class Said:
    """One line of `leakguard forecast --json`."""

    t: float
    verdict: str
    alarm: bool
    early_s: float | None
    """None: nothing is foreseen."""
    median_s: float
    late_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Foretold:
    """A forecast at one place of the way, in seconds from then; None: nothing was foreseen."""

    early_s: float | None
    median_s: float | None
    late_s: float | None
    killed_s: float

    @property
    def inside(self) -> bool:
        """Whether the kill came inside of [p05, p95]."""
        if self.early_s is None or self.late_s is None:
            return False
        return self.early_s <= self.killed_s <= self.late_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One service."""

    name: str
    leak: bool
    shape: str
    life_s: float
    alarm_s: float | None
    """When it first alarmed, from the start."""
    right: bool
    why_not: str
    foretold: Mapping[str, Foretold]

    def plain(self) -> dict[str, Any]:
        """Give it for JSON."""
        places = {
            place: {**asdict(one), "inside": one.inside} for place, one in self.foretold.items()
        }
        return {**asdict(self), "foretold": places}


def recordings(folder: Path) -> tuple[Recording, ...]:
    """Read all of a folder."""
    return tuple(load_recording(folder, file.stem) for file in sorted(folder.glob("*.json")))


def write_series(recorded: Iterable[Recording], series: Path, limits: Path) -> None:
    """Write what a forecaster may see: `series_id,t_seconds,value` and `series_id,limit`."""
    with (
        gzip.open(series, "wt", newline="", encoding="ascii") as values,
        limits.open("w", newline="", encoding="ascii") as rooms,
    ):
        to_values = csv.writer(values, lineterminator="\n")
        to_rooms = csv.writer(rooms, lineterminator="\n")
        to_values.writerow(("series_id", "t_seconds", "value"))
        to_rooms.writerow(("series_id", "limit"))
        for one in recorded:
            own, domain = f"{one.name}/own", f"{one.name}/domain"
            to_values.writerows((own, row.t_seconds, row.value) for row in one.rows)
            to_values.writerows((domain, row.t_seconds, row.used) for row in one.rows)
            beside = max(row.used - row.value for row in one.rows)
            to_rooms.writerow((own, one.limit_bytes - max(0, beside)))
            to_rooms.writerow((domain, one.limit_bytes))


def foretell(series: Path, limits: Path, into: Path) -> None:
    """Have `leakguard forecast` evaluate the series."""
    command = [sys.executable, "-m", "leakguard", "forecast", str(series)]
    options = ["--limits", str(limits), "--unit", "bytes", "--json"]
    with into.open("wb") as file:
        code = subprocess.run([*command, *options], stdout=file, check=False).returncode
    if code != 0:
        raise SystemExit(f"`{' '.join([*command[1:], *options])}` ended with code {code}")


def read_predictions(lines: Iterable[str]) -> dict[str, list[Said]]:
    """Give what was said of each series, in order."""
    said: dict[str, list[Said]] = {}
    for line in lines:
        made = json.loads(line)
        times = made.get("time_to_limit_s") or {}
        p05, p50, p95 = (times.get(name) for name in ("p05", "p50", "p95"))
        foreseen = p05 is not None or p50 is not None
        one = Said(
            t=made["t"],
            verdict=made["verdict"],
            alarm=made["alarm"],
            early_s=(p05 or 0.0) if foreseen else None,
            median_s=math.inf if p50 is None else p50,
            late_s=math.inf if p95 is None else p95,
        )
        said.setdefault(made["series"], []).append(one)
    return said


def judge(one: Recording, said: Mapping[str, Sequence[Said]]) -> Judged:
    """Judge one service by what was said of it."""
    own, domain = said.get(f"{one.name}/own", ()), said.get(f"{one.name}/domain", ())
    alarm = next((each for each in own if each.alarm), None)
    why_not = _why_not(one, own, alarm)
    places = {}
    if one.leak and one.ended == "killed":
        way_s = one.life_s - one.onset_s
        moments = {HALF: one.onset_s + 0.5 * way_s, FAR: one.onset_s + 0.8 * way_s}
        if alarm is not None:
            moments[ALARM] = alarm.t
        places = {place: _at(domain, t, one.life_s) for place, t in moments.items()}
    return Judged(
        name=one.name, leak=one.leak, shape=one.shape, life_s=one.life_s,
        alarm_s=None if alarm is None else alarm.t, right=not why_not, why_not=why_not,
        foretold=places,
    )  # fmt: skip


def _why_not(one: Recording, own: Sequence[Said], alarm: Said | None) -> str:
    """Say what is wrong with the verdict, "" when nothing is."""
    if one.ended != ("killed" if one.leak else "time"):
        return f"the recording ended by {one.ended}"
    if not own:
        return "nothing was said of it"
    if not one.leak:
        return "" if alarm is None else "called a leak"
    lead_s = min(LEAD_SHARE * (one.life_s - one.onset_s), LEAD_S)
    if alarm is None:
        return "never called a leak"
    if alarm.t < one.onset_s:
        return "called a leak before it began"
    called = any(
        each.alarm and each.verdict == "leaking" and each.t <= one.life_s - lead_s for each in own
    )
    return "" if called else f"called a leak {one.life_s - alarm.t:.0f} s before, not {lead_s:.0f}"


def _at(domain: Sequence[Said], t: float, killed: float) -> Foretold:
    before = [each for each in domain if each.t <= t]
    if not before or before[-1].early_s is None:
        killed_s = killed - (before[-1].t if before else t)
        return Foretold(early_s=None, median_s=None, late_s=None, killed_s=killed_s)
    last = before[-1]
    return Foretold(
        early_s=last.early_s, median_s=last.median_s, late_s=last.late_s, killed_s=killed - last.t
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the bar is held against."""

    leaks: int
    leaks_right: int
    benign: int
    benign_right: int
    inside: Mapping[str, int]
    errors: Mapping[str, float | None]
    """Median of |p50 - truth| / truth, of those that have a p50."""
    widths: Mapping[str, float | None]
    """Median of (p95 - p05) / truth; an interval without an end is infinitely wide."""

    def problems(self) -> list[str]:
        """Say where the bar is missed; nothing when all is well."""
        found = []
        if min(self.leaks, self.benign) < LEAST_EACH:
            found.append(f"fewer than {LEAST_EACH} leaks or {LEAST_EACH} benign services recorded")
        if wrong := self.leaks - self.leaks_right + self.benign - self.benign_right:
            found.append(f"{wrong} verdicts are wrong")
        for place, inside in self.inside.items():
            if inside < INSIDE_SHARE * self.leaks:
                found.append(f"{place}: only {inside} of {self.leaks} kills inside of [p05, p95]")
        return found


def add_up(judged: Sequence[Judged]) -> Totals:
    """Count what is right."""
    leaks = [one for one in judged if one.leak]
    benign = [one for one in judged if not one.leak]
    told = {p: [one.foretold[p] for one in leaks if p in one.foretold] for p in PLACES}
    return Totals(
        leaks=len(leaks),
        leaks_right=sum(one.right for one in leaks),
        benign=len(benign),
        benign_right=sum(one.right for one in benign),
        inside={place: sum(each.inside for each in told[place]) for place in PLACES},
        errors={place: _median(_errors(told[place])) for place in PLACES},
        widths={place: _median(_widths(told[place])) for place in PLACES},
    )


def _errors(told: Iterable[Foretold]) -> Iterator[float]:
    for each in told:
        if each.median_s is not None and math.isfinite(each.median_s):
            yield abs(each.median_s - each.killed_s) / each.killed_s


def _widths(told: Iterable[Foretold]) -> Iterator[float]:
    for each in told:
        if each.early_s is not None and each.late_s is not None:
            yield (each.late_s - each.early_s) / each.killed_s


def _median(numbers: Iterable[float]) -> float | None:
    known = list(numbers)
    return statistics.median(known) if known else None


HEADER = (
    f"{'service':16} {'life s':>7} {'alarm':>6} {'verdict':8}"
    + "".join(f"{f'at {place}: p05 < kill < p95':>31}" for place in PLACES)
    + "  shape"
)


def line(one: Judged) -> str:
    """Give one service as a line of the table."""
    alarm = "-" if one.alarm_s is None else f"{one.alarm_s / one.life_s:.0%}"
    cells = "".join(f"{_cell(one.foretold.get(place)):>31}" for place in PLACES)
    why_not = f"  ({one.why_not})" if one.why_not else ""
    verdict = "right" if one.right else "WRONG"
    return f"{one.name:16} {one.life_s:7.0f} {alarm:>6} {verdict:8}{cells}  {one.shape}{why_not}"


def _cell(told: Foretold | None) -> str:
    if told is None:
        return "-"
    if told.early_s is None or told.late_s is None:
        return f"nothing < {told.killed_s:.0f} OUT"
    inside = "in" if told.inside else "OUT"
    return f"{told.early_s:.0f} < {told.killed_s:.0f} < {told.late_s:.0f} {inside:>3}"


def summary(totals: Totals) -> str:
    """Give the totals as lines."""
    leaks = f"{totals.leaks_right} of {totals.leaks} leaks"
    lines = [f"verdict right: {leaks}, {totals.benign_right} of {totals.benign} benign"]
    for place in PLACES:
        error, width = totals.errors[place], totals.widths[place]
        lines.append(
            f"at {place:5}: kill inside of [p05, p95] in {totals.inside[place]} of {totals.leaks}"
            + (f"; median error of p50 {error:.0%}" if error is not None else "")
            + (f"; median width {width:.0%} of the time left" if width is not None else "")
        )
    return "\n".join(lines)
