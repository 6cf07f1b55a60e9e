"""The FPGA families: which tools make a bitstream, with which arguments, and how their cells are counted. One row each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgeloop_components.fpga.parts import Needs

__all__ = ["FAMILIES", "Family", "needs_of", "used"]

SEED = "1"


@dataclass(frozen=True, kw_only=True)
class Family:
    """`cells` and `report` say which cells of yosys and which rows of nextpnr's report are what, with a weight each.

    `low` and `high`: how many packed cells there are for one counted (research/fpga.md, 5.2): of logic with carry chains.
    """

    nextpnr: str
    pack: str
    pin_flag: str
    pin_prefix: str = ""
    package_flag: bool
    placed: str  # what nextpnr writes: the placed design, with block RAM contents in text
    placed_flag: Sequence[str]
    suffix: str
    pack_arguments: Sequence[str]
    cells: Mapping[str, Mapping[str, int]]
    report: Mapping[str, Sequence[str]]
    low: float
    high: float
    top_down: bool = True  # row 0 of tiles is at the top


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "ice40": Family(
            nextpnr="nextpnr-ice40",
            pack="icepack",
            pin_flag="--pcf",
            package_flag=True,
            placed="placed.asc",
            placed_flag=("--asc", "placed.asc"),
            suffix="bin",
            pack_arguments=("new.asc", "bitstream.bin"),
            cells={
                "luts": {"SB_LUT4": 1, "SB_CARRY": 1},
                "ffs": {"SB_DFF": 1},
                "brams": {"SB_RAM40_4K": 1},
                "dsps": {"SB_MAC16": 1},
            },
            report={"luts": ("ICESTORM_LC",), "brams": ("ICESTORM_RAM",), "dsps": ("ICESTORM_DSP",)},
            low=0.8,
            high=1.15,
            top_down=False,
        ),
        "ecp5": Family(
            nextpnr="nextpnr-ecp5",
            pack="ecppack",
            pin_flag="--lpf",
            package_flag=True,
            placed="placed.config",
            placed_flag=("--textcfg", "placed.config"),
            suffix="bit",
            pack_arguments=("--compress", "new.config", "bitstream.bit"),
            cells={
                "luts": {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
                "ffs": {"TRELLIS_FF": 1},
                "brams": {"DP16KD": 1, "PDPW16KD": 1},
                "dsps": {"MULT18X18D": 1},
            },
            report={"luts": ("TRELLIS_COMB",), "ffs": ("TRELLIS_FF",), "brams": ("DP16KD",), "dsps": ("MULT18X18D",)},
            low=0.97,
            high=1.31,
        ),
        "gowin": Family(
            nextpnr="nextpnr-himbaechel-gowin",
            pack="gowin_pack",
            pin_flag="--vopt",
            pin_prefix="cst=",
            package_flag=False,
            placed="placed.json",
            placed_flag=(),
            suffix="fs",
            pack_arguments=("-d", "GW2A-18", "-o", "bitstream.fs", "new.json"),
            cells={
                "luts": {"LUT": 1, "ALU": 1},
                "ffs": {"DFF": 1},
                "brams": {"SP": 1, "SDP": 1, "DP": 1, "pROM": 1},
                "dsps": {"MULT": 1},
            },
            report={"luts": ("LUT4", "ALU"), "ffs": ("DFF",), "brams": ("BSRAM",), "dsps": ("MULT9X9", "MULT18X18")},
            low=0.8,
            high=1.31,
        ),
    }
)
_PREFIXES = frozenset(("SB_DFF", "SB_RAM40_4K", "LUT", "DFF", "SP", "SDP", "DP", "pROM", "MULT"))  # with variants


def needs_of(cells: Mapping[str, int], family: Family) -> Needs:
    """The cells that yosys counted (type -> number), by kind; logic as it is before packing."""
    return Needs(**{kind: sum(_count(cells, name) * weight for name, weight in row.items())
                    for kind, row in family.cells.items()})  # fmt: skip


def _count(cells: Mapping[str, int], name: str) -> int:
    if name not in _PREFIXES:
        return cells.get(name, 0)
    return sum(number for cell, number in cells.items() if cell.startswith(name))


def used(report: Mapping[str, Mapping[str, int]], family: Family, synthesised: Needs) -> Needs:
    """What the placed design takes, as nextpnr reports it; what it has no row for, as yosys counted it."""
    counted = {
        kind: sum(report[row]["used"] for row in family.report.get(kind, ()) if row in report)
        if kind in family.report
        else getattr(synthesised, kind)
        for kind in ("luts", "ffs", "brams", "dsps")
    }
    return Needs(**counted)
