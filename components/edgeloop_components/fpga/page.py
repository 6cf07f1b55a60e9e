"""A built design as one HTML page that needs nothing else: figures, proof, widths tried, and where it stands. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from edgeloop_components.fpga.chosen import GIVEN, SEARCHED, TAKEN_OVER
from edgeloop_components.fpga.families import FAMILIES
from edgeloop_components.fpga.parts import part_of
from edgeloop_components.fpga.picture import bars, floor_plan

__all__ = ["latency_us", "page", "rows_of"]

TIMING = "static timing, excluding the link"
CHOSEN = MappingProxyType(
    {
        SEARCHED: "Kept: the fewest bits with {held}.",
        TAKEN_OVER: "The width is taken over from the design that was patched and holds {held}; no other was tried.",
        GIVEN: "The width was given and holds {held}; no other was tried.",
    }
)


def latency_us(cycles: float, mhz: float) -> float:
    """Microseconds of the core alone."""
    return cycles / mhz


def page(title: str, certificate: Mapping[str, Any], widths: Mapping[str, Any], floor: Sequence[Any]) -> str:
    """The whole page. Every text from outside is escaped."""
    figures = certificate["bitstream"]
    parts = [
        f"<h1>{escape(title)} on {escape(figures['part'])}</h1>",
        f"<p class='warn'>{escape(_sentence(certificate['hardware']))}.</p>",
        "<h2>Figures</h2>" + _pairs(rows_of(certificate, widths)),
        "<h2>What it takes</h2>" + bars(figures["used"], figures["available"]),
        "<h2>Where it stands</h2>" + _floor(figures["part"], [(x, y, cells) for x, y, cells in floor]),
        "<h2>Widths tried</h2>" + _widths(widths),
        "<h2>Proof</h2>" + _pairs(_proof(certificate["proof"])),
        "<h2>Digests</h2>" + _pairs(_digests(certificate), "text mono"),
        "<h2>Time and memory of the build</h2>" + _pairs(_effort(certificate)),
    ]
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    head = (
        "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)} on {escape(figures['part'])}</title><style>{style}</style>"
    )
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _floor(part: str, tiles: Sequence[tuple[int, int, int]]) -> str:
    if not tiles:
        return "<p class='note'>The tools tell no places for this part.</p>"
    row = part_of(part)
    cells = [number for _, _, number in tiles]
    note = (
        f"{sum(cells):,} cells on {len(tiles):,} tiles after place and route, up to {max(cells)} on one: the more, the "
        "stronger. The frame is the chip."
    )
    return f"<p class='note'>{note}</p>{floor_plan(tiles, row.grid, top_down=FAMILIES[row.family].top_down)}"


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
                f"{at_fmax:.3g} us at {_fmax(figures)}, {at_clock:.3g} us at the board's clock ({TIMING})",
            ),
        ]
    kept = next((one for one in widths.get("tried", ()) if one["kept"]), None)
    if kept:
        rows.append(("Agreement", f"{kept['agreement']:.2%} of {kept['rows']:,} rows have the float model's label"))
    if kept and kept["accuracy_loss"] is not None:
        rows.append(("Accuracy lost", f"{100 * kept['accuracy_loss']:+.2f} points"))
    return rows


def _fmax(figures: Mapping[str, Any]) -> str:
    return "Fmax" if figures.get("timing_verified", True) else "an Fmax that is unverified"


def _pairs(rows: Sequence[tuple[str, str]], kind: str = "text") -> str:
    body = "".join(f"<tr><td>{escape(name)}</td><td class='{kind}'>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table class='pairs'>{body}</table>"


def _proof(proof: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was compared with the integer model, bit for bit; steps that were left out are not there."""
    exact = "{exact:,} of {rows:,} rows: label and raw scores"
    rows = [("Circuit, by bytes", exact.format(exact=proof["exact"], rows=proof["rows"] + proof.get("golden_rows", 0)))]
    if "rows_given" in proof:
        rows.append(("Of them given", f"{proof['rows_given']:,} rows; the others have their values, mixed"))
    if "front" in proof:
        rows.append((f"Pins of {proof['front']['kind']}", exact.format(**proof["front"])))
    if "netlist" in proof:
        rows.append((f"Netlist of {proof['netlist']['synthesis']}", exact.format(**proof["netlist"])))
    if proof.get("blocks"):
        rows.append(("Arithmetic blocks, by SAT", ", ".join(proof["blocks"])))
    return rows


def _digests(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures, proof = certificate["bitstream"], certificate["proof"]
    own = [("design (the core's answer to ID)", certificate["design"]), (figures["bitstream"], figures["sha256"])]
    proven = [
        (name, place["digest"]) for name, place in proof.items() if isinstance(place, Mapping) and "digest" in place
    ]
    return [*own, ("placed shape", figures["shape"]), *proven, *certificate["sources"].items()]


def _effort(certificate: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures, proof = certificate["bitstream"], certificate["proof"]
    steps = [
        (name, f"{seconds:g} s ({figures['cpu_seconds'][name]:g} s CPU)")
        for name, seconds in figures["seconds"].items()
    ]
    proven = [("proof", f"{proof['seconds']:g} s")] if "seconds" in proof else []
    tools = {**figures["tools"], **proof.get("tools", {})}
    return [*steps, *proven, ("memory at most", f"{figures['peak_mib']:g} MiB"), *tools.items()]


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
    return f"<p class='note'>{escape(_floors(widths))}</p><div class='wide'><table><tr>{head}</tr>{body}</table></div>"


def _floors(widths: Mapping[str, Any]) -> str:
    """Which rows the widths were judged on, and what the kept one had to hold."""
    found, floors = f"Rows: {widths.get('rows', 'not known')}.", widths.get("floors")
    if not floors:
        return found
    loss = f"at most {100 * floors['accuracy_loss']:g} points of accuracy lost, where labels are known"
    held = f"an agreement of at least {floors['agreement']:.4g}, and {loss}"
    return f"{found} {CHOSEN[widths.get('chosen', SEARCHED)].format(held=held)}"


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
