"""The FPGAs that a bitstream can be made for: what each one has, and how its tools are called. One row a part.

Capacities are those that nextpnr 0.11.1 reports as available (`--report`, "utilization"). A part that is `experimental` has
tools that the lock does not hold, and a timing that was never checked against anything.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["PARTS", "Needs", "Part", "PartUnknown", "part_of"]


class PartUnknown(ValueError):  # noqa: N818 - it is read as a sentence
    """There is no such part or board. `hint` names the nearest one."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Cells that a design takes, or that a part has: logic (LUT with carry), flip-flops, block RAMs, multipliers."""

    luts: int
    ffs: int
    brams: int
    dsps: int

    def beyond(self, capacity: Needs) -> dict[str, tuple[int, int]]:
        """What exceeds `capacity`: name -> (needed, available)."""
        pairs = {name: (getattr(self, name), getattr(capacity, name)) for name in ("luts", "ffs", "brams", "dsps")}
        return {name: pair for name, pair in pairs.items() if pair[0] > pair[1]}


@dataclass(frozen=True, kw_only=True)
class Part:
    """One FPGA. `goal_mhz` is what nextpnr is told to aim at, not what is promised."""

    name: str
    family: str  # a row of families.FAMILIES
    device: tuple[str, ...]  # nextpnr's flags
    package: str
    packages: tuple[str, ...]
    has: Needs
    grid: tuple[int, int]  # columns and rows of tiles
    synth: str
    goal_mhz: float
    board: str  # where the pins are taken from unless another board is named
    experimental: str = ""  # why, for people
    netlist: str = ""  # the synthesis whose netlist is simulated, where cells of `synth` have no models
    tables: int = 0  # block RAMs that may hold comparators of trees; the rest is for identity and to spare
    table_words: int = 256
    table_width: int = 16


_ECP5_PACKAGES = ("CABGA256", "CABGA381", "CSFBGA285")
_ROWS = (
    Part(
        name="ice40-up5k",
        family="ice40",
        device=("--up5k",),
        package="sg48",
        packages=("sg48", "uwg30"),
        has=Needs(luts=5280, ffs=5280, brams=30, dsps=8),
        grid=(26, 32),
        synth="synth_ice40 -device u -dsp",
        goal_mhz=48,
        tables=26,
        board="icebreaker",
    ),
    Part(
        name="ice40-hx8k",
        family="ice40",
        device=("--hx8k",),
        package="ct256",
        packages=("ct256", "cb132", "cm225", "bg121"),
        has=Needs(luts=7680, ffs=7680, brams=32, dsps=0),
        grid=(34, 34),
        synth="synth_ice40 -device hx",
        goal_mhz=100,
        tables=28,
        board="hx8k-evn",
    ),
    Part(
        name="ecp5-25k",
        family="ecp5",
        device=("--25k",),
        package="CABGA381",
        packages=_ECP5_PACKAGES,
        has=Needs(luts=24288, ffs=24288, brams=56, dsps=28),
        grid=(73, 51),
        synth="synth_ecp5",
        goal_mhz=100,
        tables=40,
        table_words=512,
        table_width=36,
        board="ulx3s-25f",
    ),
    Part(
        name="ecp5-45k",
        family="ecp5",
        device=("--45k",),
        package="CABGA381",
        packages=(*_ECP5_PACKAGES, "CABGA554"),
        has=Needs(luts=43848, ffs=43848, brams=108, dsps=72),
        grid=(91, 72),
        synth="synth_ecp5",
        goal_mhz=100,
        tables=40,
        table_words=512,
        table_width=36,
        board="ulx3s-45f",
    ),
    Part(
        name="ecp5-85k",
        family="ecp5",
        device=("--85k",),
        package="CABGA381",
        packages=(*_ECP5_PACKAGES, "CABGA554", "CABGA756"),
        has=Needs(luts=83640, ffs=83640, brams=208, dsps=156),
        grid=(127, 96),
        synth="synth_ecp5",
        goal_mhz=100,
        tables=40,
        table_words=512,
        table_width=36,
        board="ulx3s-85f",
    ),
    Part(
        name="gw2a-18",
        family="gowin",
        device=("--device", "GW2A-LV18PG256C8/I7", "--vopt", "family=GW2A-18"),
        package="PG256",
        packages=("PG256",),
        has=Needs(luts=20736, ffs=15552, brams=46, dsps=48),
        grid=(56, 55),
        synth="synth_gowin -family gw2a",
        goal_mhz=100,
        board="tang-primer-20k",
        experimental="Gowin's timing comes from a model that nobody has checked: Fmax is unverified",
        netlist="synth_gowin -family gw2a -nobram -nodsp -noiopads",
    ),
)
PARTS: Mapping[str, Part] = MappingProxyType({part.name: part for part in _ROWS})


def part_of(name: str) -> Part:
    """A part by name. PartUnknown names the nearest."""
    if name in PARTS:
        return PARTS[name]
    raise PartUnknown(f"part: expected one of {', '.join(PARTS)}, found {name!r}", _nearest(name, list(PARTS)))


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.4)
    return f"did you mean {near[0]}?" if near else ""
