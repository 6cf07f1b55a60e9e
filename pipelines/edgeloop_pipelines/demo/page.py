"""The report as one HTML page: no outside asset, light and dark, every text escaped. Made from report.json's document alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import accumulate
from typing import Any

from edgeloop_pipelines.demo.svg import Curve, Mark, chart

__all__ = ["accuracy_chart", "page"]

NAMES = {"left_alone": "left alone", "calendar": "by calendar", "loop": "the loop"}
KEPT_CHARACTERS = 16  # a cell of so many is not broken into lines
CSS = """\
:root{color-scheme:light dark;--ink:#1a202c;--dim:#4a5568;--line:#e2e8f0;--page:#f7fafc;--card:#fff;--good:#15803d;--bad:#b91c1c}
@media (prefers-color-scheme:dark){:root{--ink:#f1f5f9;--dim:#a0aec0;--line:#2d3748;--page:#0f1115;--card:#16191f;
--good:#4ade80;--bad:#f87171}}
body{margin:0 auto;max-width:920px;padding:24px 20px 60px;font:15px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--page)}
h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:34px 0 8px}p{margin:6px 0}.dim{color:var(--dim)}
.big{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}.big div{flex:1 1 150px;background:var(--card);padding:12px 14px;
border:1px solid var(--line);border-radius:8px}.big b{display:block;font-size:24px}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 12px 4px 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--dim)}td.n,th.n{text-align:right}.k{white-space:nowrap}.good{color:var(--good)}.bad{color:var(--bad)}
svg{width:100%;height:auto;margin:8px 0;border:1px solid var(--line);border-radius:8px}ul{padding-left:20px;margin:6px 0}
details summary{cursor:pointer;color:var(--dim)}"""


def page(found: Mapping[str, Any]) -> str:
    """The whole page. KeyError when the document is no report."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<title>{escape(found['loop'])}: the loop, closed</title><style>{CSS}</style></head><body>",
        *_head(found),
        *_accuracy(found),
        *_life(found),
        *_machinery(found),
        *_honesty(found),
        "</body></html>",
    ]
    return "\n".join(parts)


def accuracy_chart(found: Mapping[str, Any]) -> str:
    """Accuracy over time of the three ways of life, with the moments at which a version was on every node."""
    blocks = found["evaluation"]["by_block"]
    curves = [Curve(name, [(b["start_s"], b[arm]) for b in blocks]) for arm, name in NAMES.items()]
    return chart(f"Accuracy by {found['evaluation']['block']}", curves, marks=_marks(found))


def _saved_chart(found: Mapping[str, Any]) -> str:
    """Errors that were avoided so far, against the model left alone."""
    blocks = found["evaluation"]["by_block"]
    curves = []
    for arm, name in NAMES.items():
        saved = accumulate(b["rows"] * (b[arm] - b["left_alone"]) for b in blocks)
        curves.append(Curve(name, [(b["start_s"], s) for b, s in zip(blocks, saved, strict=True)]))
    return chart("Errors avoided since the start", curves, marks=_marks(found), percent=False, height=240)


def _marks(found: Mapping[str, Any]) -> list[Mark]:
    return [
        Mark(rollout["waves"][-1]["finished_s"], f"v{rollout['version']}")
        for rollout in found["rollouts"]
        if rollout["state"] == "done" and rollout["previous"] is not None
    ]


def _percent(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{100 * value:.{digits}f} %"


def _points(difference: Mapping[str, float]) -> str:
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    return f"{value:+.2f} points (95 %: {low:+.2f} to {high:+.2f})"


def _day(at_s: float | None) -> str:
    return "" if not at_s else f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.0f} kB"


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = ()) -> str:
    """A table; `numbers` are the columns that stand to the right."""
    right = set(numbers)

    def cell(tag: str, i: int, text: str) -> str:
        css = "n" if i in right else "k" if len(text) <= KEPT_CHARACTERS else ""
        return f'<{tag} class="{css}">{escape(text)}</{tag}>' if css else f"<{tag}>{escape(text)}</{tag}>"

    def cells(tag: str, values: Sequence[object]) -> str:
        return "".join(cell(tag, i, str(value)) for i, value in enumerate(values))

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table><thead><tr>{cells("th", columns)}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _head(found: Mapping[str, Any]) -> list[str]:
    state = '<b class="good">closed</b>' if found["loop_closed"] else '<b class="bad">not closed</b>'
    started = sum(1 for run in found["runs"] if run["cause"] != "manual")
    boxes = [
        f"<div>{state}the loop</div>",
        f"<div><b>{len(found['served'])}</b>versions that served</div>",
        f"<div><b>{started}</b>runs that evidence started</div>",
        f"<div><b>{found['mass']['rows']:,}</b>rows scored over HTTP</div>",
        f"<div><b>{found['seconds'].get('all', 0):.0f} s</b>in all, on {found['machine']['processors']} processors</div>",
    ]
    missing = [_list(found["missing"])] if found["missing"] else []
    return [
        f"<h1>{escape(found['loop'])}</h1>",
        f'<p class="dim">{escape(found["data"]["source"])}</p>',
        f'<div class="big">{"".join(boxes)}</div>',
        *missing,
        *(f"<p>{escape(line)}</p>" for line in found["story"]),
    ]


def _accuracy(found: Mapping[str, Any]) -> list[str]:
    e = found["evaluation"]
    shifted = [c for c in e["calendars"] if c["shift"]]
    spread = ", ".join(f"{c['shift']:+g}: {_percent(c['accuracy'])}" for c in shifted) or "none"
    how = (
        f"{e['rows']:,} rows; intervals by bootstrap over whole blocks of one {e['block']}. The calendar makes as many runs as "
        f"the loop did, evenly spaced. One calendar is luck; with its dates shifted by a part of the spacing: {spread}."
    )
    arms = [(NAMES[arm], _percent(e[arm])) for arm in NAMES]
    periods = [(p["period"], f"{p['rows']:,}", *(_percent(p[arm], 1) for arm in NAMES)) for p in e["by_period"]]
    nodes = [(n["node"], n["group"], *(_percent(n[arm]) for arm in NAMES)) for n in e["by_node"]]
    return [
        "<h2>Was it worth it?</h2>",
        _table(("on the same rows", "accuracy"), arms, (1,)),
        f"<p>The loop minus the model left alone: <b>{escape(_points(e['loop_minus_left_alone']))}</b></p>",
        f"<p>The loop minus the calendar: <b>{escape(_points(e['loop_minus_calendar']))}</b></p>",
        f'<p class="dim">{escape(how)}</p>',
        accuracy_chart(found),
        _saved_chart(found),
        _table(("period", "rows", *NAMES.values()), periods, range(1, 5)),
        "<h2>By node</h2>",
        _table(("node", "group", *NAMES.values()), nodes, range(2, 5)),
    ]


def _life(found: Mapping[str, Any]) -> list[str]:
    versions = [
        (
            f"v{v['version']}",
            "promoted" if v["promoted"] else v["state"],
            v["cause"],
            _percent((v["held_out_accuracy"] or {}).get("value")),
            f"{v['rows']:,}",
            _size(v["onnx_bytes"]),
            "; ".join(f"{g['gate']}: wanted {g['expected']}, got {g['got']}" for g in v["gates"] if not g["passed"]),
        )
        for v in found["versions"]
    ]
    waves = [
        (
            f"v{r['version']}",
            ", ".join(w["groups"]),
            w["state"],
            _day(w["settled_s"]),
            _day(w["finished_s"]),
            w["evidence"] or "",
        )
        for r in found["rollouts"]
        for w in r["waves"]
    ]
    events = [(_day(e["at_s"]), e["kind"], e["text"]) for e in found["timeline"]]
    return [
        "<h2>Versions</h2>",
        _table(
            ("version", "state", "cause", "held-out accuracy", "rows served", "ONNX", "why not"), versions, (3, 4, 5)
        ),
        "<h2>Waves</h2>",
        _table(("version", "groups", "state", "settled", "finished", "evidence"), waves),
        "<h2>Timeline</h2>",
        _table(("date", "what", "text"), events),
    ]


def _machinery(found: Mapping[str, Any]) -> list[str]:
    runs = [
        (
            r["run_key"],
            r["cause"],
            r["state"],
            f"v{r['version']}" if r["version"] else "",
            _day(r["requested_s"]),
            r["reason"],
        )
        for r in found["runs"]
    ]
    steps = sorted({name for r in found["runs"] for name in r["seconds"]}, key=_first_seen(found["runs"]))
    seconds = [
        (name, *(f"{r['seconds'][name]:.1f}" if name in r["seconds"] else "" for r in found["runs"])) for name in steps
    ]
    serving = [
        (f"v{s['version']}", *(_seconds(s[name]) for name in ("run_ended", "first_nodes", "all_nodes")))
        for s in found["seconds_to_serving"]
    ]
    shipped = [(f"v{s['version']}", s["node"], _size(s["bytes"])) for s in found["shipped"]]
    return [
        "<h2>Runs</h2>",
        _table(("run", "cause", "state", "version", "asked", "reason"), runs),
        "<details><summary>seconds of each step</summary>",
        _table(("step", *(r["run_key"] for r in found["runs"])), seconds, range(1, len(runs) + 1)),
        "</details>",
        "<h2>From evidence to serving (wall seconds)</h2>",
        _table(("version", "run ended", "first nodes", "all nodes, soaking and stream between"), serving, range(1, 4)),
        "<h2>Bytes shipped to the nodes</h2>",
        _table(("version", "node", "bytes that it did not have"), shipped, (2,)),
    ]


def _first_seen(runs: Sequence[Mapping[str, Any]]) -> Any:
    order: dict[str, int] = {}
    for run in runs:
        for name in run["seconds"]:
            order.setdefault(name, len(order))
    return order.__getitem__


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _honesty(found: Mapping[str, Any]) -> list[str]:
    mass = found["mass"]
    verdict = '<b class="good">equal</b>' if mass["equal"] else '<b class="bad">not equal</b>'
    counts = f"({mass['rows']:,} rows, {mass['labelled']:,} labels, {mass['correct']:,} of them right)"
    chaos = [(_day(c["at_s"]), c["part"], c["during"]) for c in found["chaos"]]
    killed = ["<p>Killed with SIGKILL meanwhile:</p>", _table(("date", "part", "during"), chaos)] if chaos else []
    requests = [(name.replace("_", " "), value) for name, value in found["requests"].items()]
    seconds = [(name.replace("_", " "), f"{value:.1f}") for name, value in found["seconds"].items()]
    facts = [(name.replace("_", " "), value) for name, value in found["machine"].items()]
    return [
        "<h2>Is every row counted once?</h2>",
        f"<p>Sums in the fleet service against what was answered and handed back, by version and node: {verdict} {counts}.</p>",
        _list(mass["differences"]) if mass["differences"] else "",
        *killed,
        _table(("requests", ""), requests, (1,)),
        "<h2>What is a stand-in here</h2>",
        _list(found["stand_ins"]),
        "<h2>Where and how long</h2>",
        _table(("machine", ""), facts, (1,)),
        _table(("part of the demo", "seconds"), seconds, (1,)),
        f'<p class="dim">Data: {escape(found["data"]["licence"])}</p>',
    ]
