"""A built design as one HTML page that needs nothing else: figures, proof, widths tried, and where it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from edgeloop_components.fpga.picture import bars, floor_plan

__all__ = ["latency_us", "page", "rows_of"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; } td, th { padding: .25rem .75rem; text-align: right; }
th { font-weight: 600; border-bottom: 1px solid #8a94a3; } td:first-child, th:first-child { text-align: left; }
td.text { text-align: left; overflow-wrap: anywhere; } .note { color: #5b6573; } svg { max-width: 100%; height: auto; }
svg text { font: 13px system-ui, sans-serif; fill: #1c2430; } .all { fill: #e4e8ee; } .used, .tile { fill: #1f5fbf; }
.kept td { font-weight: 600; } .warn { border-left: 4px solid #c2571a; padding-left: .75rem; }
"""


def latency_us(cycles: float, mhz: float) -> float:
    """Microseconds of the core alone."""
    return cycles / mhz


def page(title: str, certificate: Mapping[str, Any], widths: Mapping[str, Any], floor: Sequence[Any]) -> str:
    """The whole page. Every text from outside is escaped."""
    figures = certificate["bitstream"]
    parts = [
        f"<h1>{escape(title)} on {escape(figures['part'])}</h1>",
        f"<p class='warn'>{escape(certificate['hardware'])}.</p>",
        "<h2>Figures</h2>" + _pairs(rows_of(certificate, widths)),
        "<h2>What it takes</h2>" + bars(figures["used"], figures["available"]),
        "<h2>Where it stands</h2><p class='note'>Cells on each tile after place and route.</p>"
        + floor_plan([(x, y, cells) for x, y, cells in floor]),
        "<h2>Widths tried</h2>" + _widths(widths),
        "<h2>Proof</h2>" + _pairs(_flat(certificate["proof"])),
        "<h2>Digests</h2>" + _pairs(_digests(certificate)),
        "<h2>Time and memory of the build</h2>" + _pairs(_effort(figures)),
    ]
    head = f"<meta charset='utf-8'><title>{escape(title)}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def rows_of(certificate: Mapping[str, Any], widths: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The figures that people ask for first, each with what it is."""
    figures = certificate["bitstream"]
    cycles = certificate["proof"].get("cycles", {}).get("most")
    rows = [
        ("Part, board", f"{figures['part']}, {figures['board']}, {figures['clock_mhz']:g} MHz"),
        (
            "Bitstream",
            f"{figures['bitstream']}, {figures['bytes']:,} bytes" + (", patched" if figures["patched"] else ""),
        ),
        ("Fmax", f"{figures['fmax_mhz']:g} MHz ({figures['timing']})"),
    ]
    if cycles:
        at_fmax, at_clock = (latency_us(cycles, figures[name]) for name in ("fmax_mhz", "clock_mhz"))
        rows += [
            ("Cycles", f"{cycles:,}, simulated: last byte of the row in, first byte of the answer out"),
            (
                "Core latency",
                f"{at_fmax:.3g} us at Fmax, {at_clock:.3g} us at the board's clock (static timing, excluding the link)",
            ),
        ]
    kept = next((one for one in widths.get("tried", ()) if one["kept"]), None)
    if kept:
        rows.append(("Agreement", f"{kept['agreement']:.2%} of {kept['rows']:,} rows have the float model's label"))
    if kept and kept["accuracy_loss"] is not None:
        rows.append(("Accuracy lost", f"{100 * kept['accuracy_loss']:+.2f} points"))
    return rows


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td>{escape(name)}</td><td class='text'>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{body}</table>"


def _flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested document as lines of name and value."""
    rows: list[tuple[str, str]] = []
    for name, value in document.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}: ")
        else:
            rows.append((f"{prefix}{name}".replace("_", " "), str(value)))
    return rows


def _digests(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures = certificate["bitstream"]
    own = [("design (the core's answer to ID)", certificate["design"]), (figures["bitstream"], figures["sha256"])]
    return [*own, ("placed shape", figures["shape"]), *certificate["sources"].items()]


def _effort(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    steps = [
        (name, f"{seconds:g} s ({figures['cpu_seconds'][name]:g} s CPU)")
        for name, seconds in figures["seconds"].items()
    ]
    return [*steps, ("memory at most", f"{figures['peak_mib']:g} MiB"), *figures["tools"].items()]


def _widths(widths: Mapping[str, Any]) -> str:
    head = "".join(
        f"<th>{name}</th>" for name in ("bits", "agreement", "accuracy lost", "code bits", "score bits", "size", "")
    )
    body = "".join(
        f"<tr class='{'kept' if one['kept'] else ''}'>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in _width(one))
        + "</tr>"
        for one in widths.get("tried", ())
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _width(one: Mapping[str, Any]) -> list[str]:
    if one["problem"]:
        return [str(one["bits"]), one["problem"], "", "", "", "", ""]
    loss = "not known" if one["accuracy_loss"] is None else f"{100 * one['accuracy_loss']:+.2f} points"
    size = (
        f"{one['weights']:,} weights"
        if one["weights"]
        else f"{one['comparisons']:,} comparisons, {one['leaves']:,} leaves"
    )
    kept = "kept" if one["kept"] else ""
    return [
        str(one["bits"]),
        f"{one['agreement']:.2%}",
        loss,
        str(one["code_bits"]),
        str(one["score_bits"]),
        size,
        kept,
    ]
