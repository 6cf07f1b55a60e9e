"""The validation as one small HTML page that needs nothing else: tables, and plots as inline SVG. Pure: text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from edgeloop_components.validate.curves import Confusion, ReliabilityBin, Roc
from edgeloop_contracts import GateResult, Metric

__all__ = ["page"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } td, th { padding: .25rem .75rem; text-align: right; }
th { font-weight: 600; border-bottom: 1px solid #8a94a3; } td:first-child, th:first-child { text-align: left; }
.no { color: #b3261e; } .yes { color: #1a7f37; } .plots { display: flex; flex-wrap: wrap; gap: 2rem; }
svg { width: 18rem; height: 18rem; } figure { margin: 0; } figcaption { font-size: 13px; color: #5b6573; max-width: 18rem; }
"""
_COLOURS = ("#1f5fbf", "#c2571a", "#1a7f37", "#8a3ffc", "#b3261e", "#5b6573", "#0f7c86", "#a8740a")
_LEFT, _TOP, _SIDE = 30, 10, 250


def page(
    title: str,
    *,
    accepted: bool,
    metrics: Sequence[Metric],
    gates: Sequence[GateResult],
    confusion: Confusion,
    rocs: Mapping[str, Roc],
    reliability: Sequence[ReliabilityBin],
) -> str:
    """The whole page. Every text from outside is escaped."""
    answer = "accepted" if accepted else "rejected"
    parts = [
        f"<h1>{escape(title)}: <span class='{'yes' if accepted else 'no'}'>{answer}</span></h1>",
        "<h2>Gates</h2>" + _gates(gates),
        "<h2>Metrics on held-out rows</h2>" + _metrics(metrics),
        "<h2>Confusion</h2>" + _confusion(confusion),
        f"<div class='plots'>{_reliability(reliability)}{_rocs(rocs)}</div>",
    ]
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _gates(gates: Sequence[GateResult]) -> str:
    if not gates:
        return "<p>The loop asks for nothing.</p>"
    words = {True: "<span class='yes'>passed</span>", False: "<span class='no'>failed</span>"}
    rows = [[escape(g.gate), words[g.passed], escape(g.expected), escape(g.got)] for g in gates]
    return _table(("gate", "", "expected", "got"), rows)


def _metrics(metrics: Sequence[Metric]) -> str:
    rows = [
        [escape(m.slice or "all rows"), escape(m.name), f"{m.value:.4f}", f"{m.low:.4f} .. {m.high:.4f}", f"{m.rows:,}"]
        for m in metrics
    ]
    return _table(("rows of", "metric", "value", "95 % interval", "rows"), rows)


def _confusion(confusion: Confusion) -> str:
    lines = zip(confusion.classes, confusion.matrix, strict=True)
    rows = [[escape(name), *(_shaded(count, sum(line)) for count in line)] for name, line in lines]
    return _table(("true, down; predicted, across", *confusion.classes), rows)


def _shaded(count: int, of: int) -> str:
    share = count / of if of else 0.0
    return f"<span style='background:rgba(31,95,191,{share * 0.6:.2f});padding:0 .4rem'>{count:,}</span>"


def _point(x: float, y: float) -> str:
    return f"{_LEFT + x * _SIDE:.1f},{_TOP + (1 - y) * _SIDE:.1f}"


def _line(points: Sequence[tuple[float, float]], colour: str, extra: str = "") -> str:
    path = " ".join(_point(x, y) for x, y in points)
    return f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2' {extra}/>"


def _plot(body: str, caption: str) -> str:
    frame = f"<rect x='{_LEFT}' y='{_TOP}' width='{_SIDE}' height='{_SIDE}' fill='none' stroke='#8a94a3'/>"
    diagonal = _line([(0, 0), (1, 1)], "#c5ccd6", "stroke-dasharray='4 4'")
    ticks = "".join(
        f"<text x='{_LEFT + v * _SIDE:.0f}' y='{_TOP + _SIDE + 16}' text-anchor='middle'>{v:g}</text>"
        f"<text x='{_LEFT - 4}' y='{_TOP + (1 - v) * _SIDE + 4:.0f}' text-anchor='end'>{v:g}</text>"
        for v in (0, 0.5, 1)
    )
    picture = f"<svg viewBox='0 0 290 290' font-size='11' fill='#5b6573'>{frame}{diagonal}{body}{ticks}</svg>"
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _reliability(bins: Sequence[ReliabilityBin]) -> str:
    most = max((b.rows for b in bins), default=1)
    dots = "".join(_dot(b.confidence, b.right, 2 + 6 * (b.rows / most) ** 0.5) for b in bins)
    return _plot(
        _line([(b.confidence, b.right) for b in bins], _COLOURS[0]) + dots,
        "Reliability: how often it is right (up) against how sure it is (right). On the dashed line the two agree.",
    )


def _dot(x: float, y: float, radius: float) -> str:
    left, top = _point(x, y).split(",")
    return f"<circle cx='{left}' cy='{top}' r='{radius:.1f}' fill='{_COLOURS[0]}'/>"


def _rocs(rocs: Mapping[str, Roc]) -> str:
    pairs = [(name, roc, _COLOURS[i % len(_COLOURS)]) for i, (name, roc) in enumerate(rocs.items())]
    lines = "".join(_line(list(zip(roc.fpr, roc.tpr, strict=True)), colour) for _, roc, colour in pairs)
    names = ", ".join(
        f"<span style='color:{colour}'>{escape(name)} {roc.area:.3f}</span>" for name, roc, colour in pairs
    )
    return _plot(lines, f"ROC, each class against the rest: true (up) against false positives (right). Area: {names}")
