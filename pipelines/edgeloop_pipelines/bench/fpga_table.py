"""The table of `make bench-fpga`: the same models through edgeloop, conifer and hls4ml, a row each. Pure.

What a row lacks is a dash, with the reason below the table; nothing is left out for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

__all__ = ["COLUMNS", "Row", "documents", "rendered"]

NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model through one tool. Seconds are processor time; None: not measured, and a remark says why."""

    model: str
    tool: str
    numbers: str = ""  # their format
    agreement: float | None = None  # share of held-out rows with the float model's label
    rows: int = 0
    used: Mapping[str, int] | None = None  # luts, ffs, brams, dsps, as placed
    around: str = ""  # what is placed with the core
    fmax_mhz: float | None = None
    convert_s: float | None = None  # from the model to sources, for the chosen width
    simulate_s: float | None = None
    build_s: float | None = None  # synthesis, place and route, pack
    tried: Mapping[str, float] = field(default_factory=dict)  # number format: agreement
    versions: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def _count(kind: str) -> Callable[[Row], str]:
    return lambda row: NOTHING if row.used is None else f"{row.used[kind]:,}"


def _seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1f}"


COLUMNS: Mapping[str, Callable[[Row], str]] = MappingProxyType(
    {
        "model": lambda row: row.model,
        "through": lambda row: row.tool,
        "numbers": lambda row: row.numbers or NOTHING,
        "agreement": lambda row: NOTHING if row.agreement is None else f"{row.agreement:.2%} of {row.rows:,}",
        "LUT": _count("luts"),
        "FF": _count("ffs"),
        "block RAM": _count("brams"),
        "multipliers": _count("dsps"),
        "Fmax MHz": lambda row: NOTHING if row.fmax_mhz is None else f"{row.fmax_mhz:.1f}",
        "convert, s": lambda row: _seconds(row.convert_s),
        "simulate, s": lambda row: _seconds(row.simulate_s),
        "build, s": lambda row: _seconds(row.build_s),
        "placed with the core": lambda row: row.around or NOTHING,
    }
)


def rendered(rows: Sequence[Row]) -> str:
    """A table in Markdown with aligned columns, and the remarks of its rows below it."""
    lines = [list(COLUMNS), *([shown(row) for shown in COLUMNS.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    text.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    remarks = [f"- {row.model}, {row.tool}: {remark}" for row in rows for remark in row.remarks]
    return "\n".join([*text, *(["", *remarks] if remarks else [])])


def documents(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as JSON has them."""
    return [{one.name: _plain(getattr(row, one.name)) for one in fields(row)} for row in rows]


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value
