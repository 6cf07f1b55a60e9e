"""A small line chart as SVG text: dates on the x axis, shares on the y axis, a legend, marks for events. No dependency.

The chart carries its own style for light and dark, so it can stand in a page or alone in a file. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from math import ceil, floor, log10

__all__ = ["Curve", "Mark", "chart", "date_ticks", "value_ticks"]

LEFT, RIGHT, TOP, BOTTOM = 52, 16, 44, 30  # margins, in pixels
DAY_S = 86_400
STYLE = """\
<style>
.el text{font:12px system-ui,sans-serif;fill:#4a5568}.el .t{font-weight:600;fill:#1a202c}.el .g{stroke:#e2e8f0}
.el .m{stroke:#a0aec0;stroke-dasharray:3 3}.el path{fill:none;stroke-width:2;stroke-linejoin:round}
.el .c0{stroke:#718096}.el .c1{stroke:#d97706}.el .c2{stroke:#2563eb}.el .bg{fill:#fff}
@media (prefers-color-scheme:dark){.el text{fill:#a0aec0}.el .t{fill:#f7fafc}.el .g{stroke:#2d3748}.el .m{stroke:#718096}
.el .c0{stroke:#a0aec0}.el .c1{stroke:#f59e0b}.el .c2{stroke:#60a5fa}.el .bg{fill:#16191f}}
</style>"""


@dataclass(frozen=True)
class Curve:
    """One line: its name, and (Unix seconds, value) points in order. A value of None breaks the line."""

    name: str
    points: Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Mark:
    """A vertical line at a time, with a short text."""

    at_s: float
    text: str


@dataclass(frozen=True)
class _Frame:
    width: int
    height: int
    start_s: float
    end_s: float
    low: float
    high: float

    def x(self, at_s: float) -> float:
        return LEFT + (at_s - self.start_s) / (self.end_s - self.start_s) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)


def value_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that cover low..high, at most about `most` of them. `high` may equal `low`."""
    span = max(high - low, 1e-9)
    raw = span / (most - 1)
    size = 10.0 ** floor(log10(raw))
    step = next(size * f for f in (1, 2, 2.5, 5, 10) if size * f >= raw * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [round(step * i, 10) for i in range(first, max(last, first + 1) + 1)]


def date_ticks(start_s: float, end_s: float) -> list[tuple[float, str]]:
    """(Unix seconds, text) of month or year starts, about ten of them; days where the span is short."""
    days = (end_s - start_s) / DAY_S
    if days < 45:
        step_s = max(1, round(days / 8)) * DAY_S
        first = ceil(start_s / DAY_S) * DAY_S
        count = int((end_s - first) // step_s) + 1
        return [(at := first + i * step_s, f"{datetime.fromtimestamp(at, UTC):%d %b}") for i in range(count)]
    months = next(m for m in (1, 2, 3, 6, 12, 24, 60, 120, 240) if days / 30.4 / m <= 12)
    return _months(start_s, end_s, months)


def _months(start_s: float, end_s: float, months: int) -> list[tuple[float, str]]:
    first, ticks = datetime.fromtimestamp(start_s, UTC), []
    years = max(1, months // 12)
    for number in range((first.year // years * years) * 12, 12 * 10_000, months):
        at = datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
        if at.timestamp() > end_s:
            break
        if at.timestamp() >= start_s:
            ticks.append((at.timestamp(), f"{at:%Y}" if months >= 12 else f"{at:%b}"))
    return ticks


def chart(
    title: str,
    curves: Sequence[Curve],
    *,
    marks: Sequence[Mark] = (),
    percent: bool = True,
    width: int = 860,
    height: int = 320,
) -> str:
    """The chart as one <svg> element. ValueError when no curve has a point."""
    points = [(at, value) for curve in curves for at, value in curve.points if value is not None]
    if not points:
        raise ValueError(f"chart {title!r}: expected at least one point, found none")
    ticks = value_ticks(min(v for _, v in points), max(v for _, v in points))
    start_s, end_s = min(at for at, _ in points), max(at for at, _ in points)
    frame = _Frame(width, height, start_s, max(end_s, start_s + 1), ticks[0], ticks[-1])
    box = f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}"'
    parts = [
        f'<svg class="el" xmlns="http://www.w3.org/2000/svg" {box}>',
        STYLE,
        f'<rect class="bg" width="{width}" height="{height}" rx="6"/>',
        _text(LEFT, 18, title, css="t"),
        *_grid(frame, ticks, percent=percent),
        *_marks(frame, marks),
        *(_path(frame, curve, i) for i, curve in enumerate(curves)),
        *_legend(frame, curves),
        "</svg>",
    ]
    return "\n".join(parts)


def _text(x: float, y: float, text: str, *, anchor: str = "start", css: str = "") -> str:
    style = f' class="{css}"' if css else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _grid(frame: _Frame, ticks: Sequence[float], *, percent: bool) -> list[str]:
    parts = []
    for value in ticks:
        y = frame.y(value)
        parts.append(_rule(LEFT, y, frame.width - RIGHT, y, "g"))
        parts.append(_text(LEFT - 6, y + 4, f"{100 * value:g} %" if percent else f"{value:,.0f}", anchor="end"))
    for at_s, text in date_ticks(frame.start_s, frame.end_s):
        parts.append(_text(frame.x(at_s), frame.height - 10, text, anchor="middle"))
    return parts


def _marks(frame: _Frame, marks: Sequence[Mark]) -> list[str]:
    parts = []
    for mark in marks:
        if frame.start_s <= mark.at_s <= frame.end_s:
            x = frame.x(mark.at_s)
            parts += [_rule(x, TOP - 4, x, frame.height - BOTTOM, "m"), _text(x + 3, TOP + 6, mark.text)]
    return parts


def _path(frame: _Frame, curve: Curve, number: int) -> str:
    steps, pen = [], "M"
    for at_s, value in curve.points:
        if value is None:
            pen = "M"
            continue
        steps.append(f"{pen}{frame.x(at_s):.1f} {frame.y(value):.1f}")
        pen = "L"
    return f'<path class="c{number}" d="{"".join(steps)}"><title>{escape(curve.name)}</title></path>'


def _legend(frame: _Frame, curves: Sequence[Curve]) -> list[str]:
    parts, x = [], float(frame.width - RIGHT)
    for number, curve in reversed(list(enumerate(curves))):
        x -= 7.0 * len(curve.name)
        parts.append(_text(x, 18, curve.name))
        parts.append(f'<path class="c{number}" d="M{x - 24:.1f} 14L{x - 6:.1f} 14"/>')
        x -= 40
    return parts
