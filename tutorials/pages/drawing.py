"""Small charts as SVG text, in the colours of the page's theme: lines over x, and values along one axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT, TOP = 640, 64, 16, 14
NAMES = 190
"""Pixels for the names of rows."""


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str, log: bool = False, said: str = ""
) -> str:
    """Lines with their points; the name of each in a legend.

    Args:
        series: (x, y) by name; at most six.
        x: name of the x axis, with its unit.
        y: name of the y axis, with its unit.
        log: whether x is logarithmic.
        said: what the chart shows, for readers who do not see it.
    """
    points = [point for line in series.values() for point in line]
    legend = 20 * math.ceil(len(series) / 3) if len(series) > 1 else 0
    top, height = TOP + legend, 240 + legend
    across = Axis([p[0] for p in points], (LEFT, WIDTH - RIGHT), log, sorted({p[0] for p in points}))
    up = Axis([0.0 if min(p[1] for p in points) > 0 else min(p[1] for p in points), *(p[1] for p in points)],
              (height - 48, top), False)  # fmt: skip
    parts = [_line(LEFT, up.at(v), WIDTH - RIGHT, up.at(v), "grid") for v in up.ticks]
    parts += [_text(LEFT - 8, up.at(v) + 4, number(v), "end") for v in up.ticks]
    parts += [_text(across.at(v), height - 30, number(v), "middle") for v in across.ticks]
    parts += [_text((LEFT + WIDTH - RIGHT) / 2, height - 8, x, "middle", "axis")]
    parts += [
        f'<text class="axis" transform="translate(14 {(top + height - 48) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y)}</text>'
    ]
    for index, (name, line) in enumerate(series.items()):
        where = [(across.at(a), up.at(b)) for a, b in line]
        drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in where)
        parts.append(f'<polyline class="s{index}" points="{drawn}"/>')
        parts += [f'<circle class="s{index}" cx="{a:.1f}" cy="{b:.1f}" r="3"/>' for a, b in where]
        if legend:
            left, line_y = LEFT + 190 * (index % 3), TOP + 20 * (index // 3)
            parts.append(f'<circle class="s{index}" cx="{left + 5}" cy="{line_y}" r="4"/>')
            parts.append(_text(left + 15, line_y + 4, name))
    return _whole(height, parts, said)


def values(
    rows: Mapping[str, Sequence[float]],
    x: str,
    log: bool = False,
    marks: Mapping[str, float] | None = None,
    said: str = "",
) -> str:
    """One row of dots for each name, its median as a bar; marks are diamonds of another source.

    Args:
        rows: values by name.
        x: name of the axis, with its unit.
        log: whether it is logarithmic.
        marks: one value for some of the rows.
        said: what the chart shows, for readers who do not see it.
    """
    marks = marks or {}
    height = TOP + 34 * len(rows) + 44
    every = [value for row in rows.values() for value in row] + list(marks.values())
    across = Axis(every, (NAMES, WIDTH - RIGHT - 14), log)
    parts = [_line(across.at(v), TOP, across.at(v), height - 44, "grid") for v in across.ticks]
    parts += [_text(across.at(v), height - 28, number(v), "middle") for v in across.ticks]
    parts.append(_text((NAMES + WIDTH - RIGHT) / 2, height - 8, x, "middle", "axis"))
    for index, (name, row) in enumerate(rows.items()):
        middle = TOP + 17 + 34 * index
        parts.append(_text(NAMES - 12, middle + 4, name, "end"))
        parts += [f'<circle class="s0" cx="{across.at(v):.1f}" cy="{middle}" r="4.5"/>' for v in row]
        ordered = sorted(row)
        half = len(ordered) // 2
        median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
        if len(row) > 1:
            parts.append(_line(across.at(median), middle - 11, across.at(median), middle + 11, "median"))
        if name in marks:
            a = across.at(marks[name])
            parts.append(f'<path class="mark" d="M{a:.1f} {middle - 7}l7 7l-7 7l-7 -7z"/>')
    return _whole(height, parts, said)


class Axis:
    """Where values lie in pixels, and round numbers to write along it."""

    def __init__(
        self, found: Sequence[float], pixels: tuple[float, float], log: bool, exact: Sequence[float] = ()
    ) -> None:
        self.log, self.pixels = log, pixels
        low, high = min(found), max(found)
        if log:
            self.ticks = list(exact) or _of_log(low, high)
            self.low, self.high = min([low, *self.ticks]), max([high, *self.ticks])
            return
        step = _step((high - low) or abs(high) or 1.0)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        self.ticks = [index * step for index in range(first, last + 1)]
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def at(self, value: float) -> float:
        """Pixels of a value."""
        low, high, value = (
            (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        share = (value - low) / ((high - low) or 1.0)
        return self.pixels[0] + share * (self.pixels[1] - self.pixels[0])


def _of_log(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; fewer where there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        every = [digit * 10.0**power for power in powers for digit in digits]
        first = max(index for index, value in enumerate(every) if value <= low)
        last = min(index for index, value in enumerate(every) if value >= high)
        if last - first <= 6:
            break
    return every[first : last + 1]


def _step(span: float) -> float:
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= span / 5 - 1e-12)


def number(value: float) -> str:
    """A number of an axis.

    >>> number(30000.0), number(-0.5), number(0.0)
    ('30 000', '-0.5', '0')
    """
    return f"{value:,.10g}".replace(",", "\u202f" if abs(value) >= 10_000 else "").replace("\u202f", " ")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _whole(height: float, parts: Sequence[str], said: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(said, quote=True)}">'
        + "".join(parts)
        + "</svg>"
    )
