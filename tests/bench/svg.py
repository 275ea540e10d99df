"""Small charts as SVG, readable on light and dark pages, the same bytes for the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

STYLE = """
svg{--page:#ffffff;--ink:#1f2328;--soft:#59636e;--grid:#d8dee4;--value:#0969da;--floor:#1a7f37;
--ceiling:#8250df;--limit:#cf222e;--leaking:#cf222e;--warming_up:#bf8700;--stable:#2da44e;
--unknown:#afb8c1}
@media (prefers-color-scheme:dark){svg{--page:#0d1117;--ink:#e6edf3;--soft:#9198a1;--grid:#30363d;
--value:#58a6ff;--floor:#3fb950;--ceiling:#bc8cff;--limit:#ff7b72;--leaking:#ff7b72;
--warming_up:#d29922;--stable:#2ea043;--unknown:#6e7681}}
text{font:13px system-ui,sans-serif;fill:var(--ink)}.soft{fill:var(--soft)}
.head{font-weight:600;font-size:14px}.end{text-anchor:end}.middle{text-anchor:middle}
path{fill:none;stroke-width:1.5;stroke-linejoin:round}.thin{stroke-width:.8}.thick{stroke-width:2.2}
.dash{stroke-dasharray:5 4}.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--soft)}
"""
NAMES = (
    "ink", "soft", "value", "floor", "ceiling", "limit", "leaking", "warming_up", "stable",
    "unknown",
)  # fmt: skip
COLOURS = "".join(
    f".line-{n}{{stroke:var(--{n})}}.fill-{n}{{fill:var(--{n});stroke:none}}" for n in NAMES
)


def number(value: float) -> str:
    """Write a coordinate, to a tenth of a pixel."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def text(x: float, y: float, words: str, style: str = "") -> str:
    """Give a text."""
    kind = f' class="{style}"' if style else ""
    return f'<text x="{number(x)}" y="{number(y)}"{kind}>{escape(words)}</text>'


def rectangle(box: tuple[float, float, float, float], style: str, opacity: float = 1.0) -> str:
    """Give a filled rectangle from x, y, width and height."""
    x, y, wide, high = (number(v) for v in box)
    faint = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" class="{style}"{faint}/>'


def document(size: tuple[int, int], title: str, parts: Sequence[str]) -> str:
    """Give a whole file; `title` is what is read out loud."""
    wide, high = size
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}"'
    lines = [
        f'{head} height="{high}" role="img" aria-label="{escape(title)}">',
        f"<style>{STYLE.strip()}\n{COLOURS}</style>",
        f'<rect width="{wide}" height="{high}" style="fill:var(--page)"/>',
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Where numbers are on the page: a box of pixels, and the ranges that it shows."""

    box: tuple[float, float, float, float]
    """x, y, width, height."""
    xs: tuple[float, float]
    ys: tuple[float, float]

    def x(self, value: float) -> float:
        """Give the place of a value, kept inside."""
        left, _, wide, _ = self.box
        low, high = self.xs
        return left + wide * (min(max(value, low), high) - low) / (high - low)

    def y(self, value: float) -> float:
        """Give the place of a value, kept inside."""
        _, top, _, tall = self.box
        low, high = self.ys
        return top + tall * (1 - (min(max(value, low), high) - low) / (high - low))

    def line(self, points: Points, style: str) -> str:
        """Give a line through points."""
        return f'<path class="{style}" d="{self._way(points)}"/>'

    def area(self, low: Points, high: Points, style: str, opacity: float) -> str:
        """Give the area between two lines."""
        way = self._way([*low, *reversed(high)])
        return f'<path class="{style}" opacity="{opacity:g}" d="{way}Z"/>'

    def _way(self, points: Points) -> str:
        steps = (f"{number(self.x(x))} {number(self.y(y))}" for x, y in points)
        return "M" + "L".join(steps)

    def axes(self, xs: Sequence[tuple[float, str]], ys: Sequence[tuple[float, str]]) -> list[str]:
        """Give grid and labels of ticks."""
        left, top, wide, tall = self.box
        parts = [
            f'<path class="axis thin" d="M{number(left)} {number(top + tall)}h{number(wide)}"/>'
        ]
        for value, words in ys:
            y = self.y(value)
            parts += [
                f'<path class="grid" d="M{number(left)} {number(y)}h{number(wide)}"/>',
                text(left - 8, y + 4, words, "soft end"),
            ]
        parts += [text(self.x(v), top + tall + 18, words, "soft middle") for v, words in xs]
        return parts

    def upright(self, value: float, style: str) -> str:
        """Give a line from top to bottom."""
        _, top, _, tall = self.box
        return f'<path class="{style}" d="M{number(self.x(value))} {number(top)}v{number(tall)}"/>'
