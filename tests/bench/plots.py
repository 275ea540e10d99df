"""Draw the charts of docs/how-it-decides.md: `python -m tests.bench.plots docs/plots`.

The series are drawn from seeds, the verdicts and times are those of the code that runs live.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from leakguard.core.series import Series
from leakguard.core.trend import Verdict
from leakguard.core.units import MIB
from leakguard.detectors._evidence import Demands, Evidence, weigh
from leakguard.detectors.envelope import EnvelopeDetector, Options
from leakguard.runtime.outlook import Judgement, Outlook
from leakguard.testing.shapes import HOUR_S, MINUTE_S, noise
from tests.bench.svg import Panel, document, rectangle, text

LIMIT = 512.0 * MIB
STEP_S = 5 * MINUTE_S
WIDE = 860
VERDICTS = {
    Verdict.UNKNOWN: "unknown",
    Verdict.WARMING_UP: "warming up",
    Verdict.STABLE: "stable",
    Verdict.LEAKING: "leaking",
}
SHARES = ((0.0, "0"), (0.5, "50 %"), (1.0, "limit"))


def main() -> int:
    """Write every chart into a folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.plots", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in CHARTS.items():
        (folder / name).write_text(draw(), encoding="utf-8")
    return 0


@dataclass(frozen=True, slots=True)
class Told:
    """A series as shares of the limit, and what was said of it."""

    shares: list[float]
    judged: list[Judgement]

    def first_alarm(self, since_s: float = 0.0) -> Judgement | None:
        """Give the first alarm from a moment on."""
        return next((j for j in self.judged if j.alarm and j.t_s >= since_s), None)

    def points(self, every: int = 1) -> list[tuple[float, float]]:
        """Give hours and shares."""
        points = [(i * STEP_S / HOUR_S, share) for i, share in enumerate(self.shares)]
        return points[::every]


def tell(shares: Sequence[float], every_s: float = HOUR_S) -> Told:
    """Run the live code over shares of the limit, up to the limit."""
    full = next((i for i, share in enumerate(shares) if share >= 1), len(shares))
    kept = list(shares[:full])
    outlook = Outlook("chart", EnvelopeDetector(Options()), LIMIT, every_s)
    said = (outlook.add(i * STEP_S, share * LIMIT) for i, share in enumerate(kept))
    return Told(kept, [judgement for judgement in said if judgement is not None])


def drawn(path: Callable[[float], float], hours: float, sigma: float, seed: int) -> list[float]:
    """Give a path by hours with noise, in steps of five minutes."""
    count = int(hours * HOUR_S / STEP_S)
    rough = noise(Random(seed), count, sigma)
    return [path(i * STEP_S / HOUR_S) + rough[i] for i in range(count)]


def saw(hour: float, period: float, height: float) -> float:
    """Give a garbage collector's climb and fall."""
    return height * (hour % period) / period


# A window: floor, ceiling, and where the peaks will be


def window() -> str:
    """Draw floor and ceiling of one window, and the line that they lead to."""
    minutes = int(16 * HOUR_S / MINUTE_S)
    rough = noise(Random(5), minutes, 0.006)
    series = Series()
    for i in range(minutes):
        hour = i * MINUTE_S / HOUR_S
        share = 0.2 + 0.02 * hour + saw(hour, 0.7, 0.17) + rough[i]
        series.append(i * MINUTE_S, share * LIMIT)
    # The buckets of twenty minutes: 48 of them are the sixteen hours that the chart shows.
    index = next(i for i, level in enumerate(series.pyramid.levels) if level.width_s == 1200.0)
    found, level = weigh(series.pyramid, index, (), Demands()), series.pyramid.levels[index]
    width, first = level.width_s / HOUR_S, (level.last or 0) + 1 - len(level)
    panel = Panel(box=(64, 44, 620, 270), xs=(0, 36), ys=(0, 1.08))
    pairs = zip(level.lows, level.highs, strict=True)
    buckets = [
        rectangle(
            _bucket(panel, ((first + i) * width, width), (low / LIMIT, high / LIMIT)),
            "fill-value",
            0.25,
        )
        for i, (low, high) in enumerate(pairs)
    ]
    parts = [
        text(64, 24, "One window: 48 buckets of 20 minutes", "head"),
        *panel.axes([(h, f"{h} h") for h in range(0, 33, 8)], SHARES),
        *buckets,
        panel.line(_stairs(level.lows, first, width), "line-floor"),
        panel.line(_stairs(level.highs, first, width), "line-ceiling"),
        panel.line([(0, 1), (36, 1)], "line-limit"),
        panel.upright(16, "axis thin dash"),
        text(panel.x(16) + 6, 306, "now", "soft"),
        *_ahead(panel, found, (first + len(level)) * width),
    ]
    title = "Floor and ceiling of a window, and when its peaks meet the limit"
    return document((WIDE, 350), title, parts)


def _bucket(
    panel: Panel, time: tuple[float, float], sizes: tuple[float, float]
) -> tuple[float, float, float, float]:
    top, bottom = panel.y(sizes[1]), panel.y(sizes[0])
    return panel.x(time[0]), top, panel.x(time[1]) - panel.x(0), bottom - top


def _stairs(values: Sequence[float], first: int, width: float) -> list[tuple[float, float]]:
    edges = [((first + i) * width, (first + i + 1) * width) for i in range(len(values))]
    return [(x, v / LIMIT) for pair, v in zip(edges, values, strict=True) for x in pair]


def _ahead(panel: Panel, found: Evidence, until: float) -> list[str]:
    """Give the line through the floor and the one through the peaks, from hour `until` on."""
    slope, end = found.slope * HOUR_S / LIMIT, found.end / LIMIT
    over, right = found.peaks / LIMIT, 696.0
    hits, last = until + (1 - end - over) / slope, end + slope * (36 - until)
    return [
        panel.line([(0, end - slope * until), (36, last)], "line-floor dash"),
        panel.line([(until, end + over), (hits, 1.0)], "line-ceiling dash thick"),
        f'<circle cx="{panel.x(hits):.1f}" cy="{panel.y(1.0):.1f}" r="4.5" class="fill-limit"/>',
        text(panel.x(hits), panel.y(1.0) - 10, "a peak is killed here", "middle"),
        text(right, panel.y(1.0) + 4, "limit"),
        text(right, panel.y(last) + 6, "line of the floor"),
        text(panel.x(23), panel.y(0.88), "line of the peaks", "end"),
        *_key(right, panel.y(0.36), "fill-ceiling", "ceiling: highest value"),
        *_key(right, panel.y(0.18), "fill-floor", "floor: lowest value"),
    ]


def _key(x: float, y: float, style: str, words: str) -> list[str]:
    return [
        rectangle((x, y - 6, 11, 3), style),
        text(x + 16, y, words),
        text(x + 16, y + 17, "of each bucket"),
    ]


# Six services and what is said of them


def verdicts() -> str:
    """Draw six services with the verdict under each."""
    cases = (
        ("Warm-up", drawn(lambda h: 0.2 - 0.45 * math.expm1(-h / 9), 96, 0.005, 1)),
        ("Cache that fills", drawn(lambda h: 0.15 + 0.1 * math.log1p(h / 0.8), 96, 0.005, 2)),
        ("Daily cycle", drawn(_day, 96, 0.006, 3)),
        ("Garbage collector", drawn(lambda h: 0.3 + saw(h, 5.3, 0.2), 96, 0.006, 4)),
        ("Leak", drawn(lambda h: 0.25 + 0.75 * h / 84, 96, 0.006, 5)),
        (
            "Leak under a daily cycle",
            drawn(lambda h: _day(h) - 0.15 + 0.65 * h / 96, 110, 0.006, 6),
        ),
    )
    parts, left = [], 64.0
    for verdict, words in VERDICTS.items():
        parts += [rectangle((left, 14, 12, 12), f"fill-{verdict}"), text(left + 18, 24.5, words)]
        left += 118
    parts += [text(left, 24.5, "▼ first alarm", "soft")]
    for number, (name, shares) in enumerate(cases):
        x, y = 64 + (number % 2) * 408, 66 + (number // 2) * 196
        parts += _case(name, tell(shares), (x, y))
    return document((WIDE, 640), "Six services and the verdict on each, hour by hour", parts)


def _day(hour: float) -> float:
    return 0.35 + 0.13 * math.sin(math.tau * (hour - 9) / 24)


def _case(name: str, told: Told, place: tuple[float, float]) -> list[str]:
    x, y = place
    panel = Panel(box=(x, y, 360, 112), xs=(0, 110), ys=(0, 1.08))
    strip = Panel(box=(x, y + 118, 360, 9), xs=(0, 110), ys=(0, 1))
    parts = [
        text(x, y - 8, name, "head"),
        *panel.axes([], SHARES if x < 100 else [(s, "") for s, _ in SHARES]),
        panel.line([(0, 1), (110, 1)], "line-limit thin"),
        panel.line(told.points(3), "line-value"),
    ]
    for verdict, begin, end in _stretches(told.judged):
        at, until = strip.x(begin), strip.x(end)
        parts.append(rectangle((at, y + 118, until - at, 9), f"fill-{verdict}"))
    alarm = told.first_alarm()
    if alarm is not None:
        at = panel.x(alarm.t_s / HOUR_S)
        tip = panel.y(alarm.value_bytes / LIMIT) - 5
        parts.append(f'<path class="fill-leaking" d="M{at - 6:.1f} {tip - 10:.1f}h12l-6 10Z"/>')
    parts += [text(strip.x(h), y + 145, f"{h} h", "soft middle") for h in range(0, 97, 24)]
    return parts


def _stretches(judged: Sequence[Judgement]) -> list[tuple[Verdict, float, float]]:
    """Join neighbours of one verdict; hours from and to."""
    found: list[tuple[Verdict, float, float]] = []
    before = 0.0
    for judgement in judged:
        verdict, now = judgement.trend.verdict, judgement.t_s / HOUR_S
        if found and found[-1][0] is verdict:
            found[-1] = (verdict, found[-1][1], now)
        else:
            found.append((verdict, before, now))
        before = now
    return found


# The band narrows


def band() -> str:
    """Draw the time left as foreseen, hour by hour, against the truth."""
    told = tell(drawn(lambda h: 0.3 + 0.7 * h / 60 + saw(h, 1.9, 0.04), 80, 0.02, 7))
    end = len(told.shares) * STEP_S / HOUR_S
    top = Panel(box=(64, 44, 700, 110), xs=(0, 60), ys=(0, 1.08))
    low = Panel(box=(64, 196, 700, 230), xs=(0, 60), ys=(0, 100))
    hours = [(h, f"{h} h") for h in range(0, 61, 12)]
    foreseen = [
        (j.t_s / HOUR_S, j.foreseen.quantiles()) for j in told.judged if j.foreseen is not None
    ]
    known = [(t, q) for t, q in foreseen if q is not None and q.p50_s is not None]
    early = [(t, (q.p05_s or 0.0) / HOUR_S) for t, q in known]
    mid = [(t, (q.p50_s or 0.0) / HOUR_S) for t, q in known]
    late = [(t, math.inf if q.p95_s is None else q.p95_s / HOUR_S) for t, q in known]
    alarm = told.first_alarm()
    parts = [
        text(64, 24, "A leak with noise", "head"),
        *top.axes([], SHARES),
        top.line([(0, 1), (60, 1)], "line-limit thin"),
        top.line(told.points(), "line-value thin"),
        text(64, 182, "Hours until the limit, as foreseen", "head"),
        *low.axes(hours, [(h, f"{h} h") for h in (0, 25, 50, 75, 100)]),
        low.area(early, late, "fill-value", 0.22),
        low.line(mid, "line-value thick"),
        low.line([(0, end), (end, 0)], "line-ink dash"),
        *_band_words(),
    ]
    if alarm is not None:
        at = alarm.t_s / HOUR_S
        parts += [
            top.upright(at, "line-leaking dash thin"),
            low.upright(at, "line-leaking dash thin"),
            text(low.x(at) + 6, 212, "called a leak from here on"),
        ]
    return document((WIDE, 456), "The foreseen time to the limit narrows towards the truth", parts)


def _band_words() -> list[str]:
    x, y = 600.0, 262.0
    return [
        f'<path class="line-ink dash" d="M{x:g} {y:g}h26"/>',
        text(x + 34, y + 4, "what came"),
        f'<path class="line-value thick" d="M{x:g} {y + 22:g}h26"/>',
        text(x + 34, y + 26, "p50"),
        rectangle((x, y + 37, 26, 12), "fill-value", 0.22),
        text(x + 34, y + 48, "p05 to p95"),
    ]


# The second life of a leak


def lives() -> str:
    """Draw a leak that is restarted twice, and when it is called one in each life."""
    spans, path = (24.0, 21.0, 26.0), list[float]()
    for span in spans:
        path += [0.25 + 0.019 * i * STEP_S / HOUR_S for i in range(int(span * HOUR_S / STEP_S))]
    rough = noise(Random(3), len(path), 0.004)
    told = tell([a + b for a, b in zip(path, rough, strict=True)], STEP_S)
    panel = Panel(box=(64, 60, 760, 230), xs=(0, 72), ys=(0, 1.08))
    parts = [
        text(64, 24, "The second leak of a service is recognised sooner", "head"),
        *panel.axes([(h, f"{h} h") for h in range(0, 73, 12)], SHARES),
        panel.line([(0, 1), (72, 1)], "line-limit thin"),
        panel.line(told.points(), "line-value"),
    ]
    begin = 0.0
    for number, span in enumerate(spans, 1):
        parts += _life(panel, told, number, (begin, begin + span))
        begin += span
    return document((WIDE, 330), "A leak that is restarted twice, and when it is recognised", parts)


def _life(panel: Panel, told: Told, number: int, span: tuple[float, float]) -> list[str]:
    begin, end = span
    # Until a fall is believed, the verdict is still that of the life before.
    alarm = told.first_alarm((begin + 0.5) * HOUR_S)
    middle = panel.x((begin + end) / 2)
    parts = [text(middle, 50, f"life {number}", "soft middle")]
    if begin:
        parts.append(panel.upright(begin, "axis dash thin"))
    if alarm is None or alarm.t_s / HOUR_S >= end:
        return parts
    at, level = alarm.t_s / HOUR_S, alarm.value_bytes / LIMIT
    begun = told.shares[round(begin * HOUR_S / STEP_S)]
    used = (level - begun) / (1 - begun)
    x, y = panel.x(at), panel.y(level)
    parts.append(f'<path class="fill-leaking" d="M{x - 6:.1f} {y - 15:.1f}h12l-6 10Z"/>')
    # Below the curve: to the left of a late alarm, to the right of an early one.
    late = at - begin > (end - begin) / 2
    x, y, style = (x - 12, y + 76, "end") if late else (x + 8, y + 36, "")
    words = (f"leaking after {at - begin:.1f} h", f"at {used * 100:.0f} % of its room")
    return [*parts, text(x, y, words[0], style), text(x, y + 17, words[1], style)]


CHARTS: dict[str, Callable[[], str]] = {
    "window.svg": window,
    "verdicts.svg": verdicts,
    "band.svg": band,
    "lives.svg": lives,
}

if __name__ == "__main__":
    sys.exit(main())
