"""Boards: the pins of clock and link, and the constraint file that nextpnr reads. One row a board.

Sources of the pins (facts, read in public board files): iCEBreaker: YosysHQ/icestorm, examples/icebreaker/icebreaker.pcf;
iCE40-HX8K-B-EVN: pin files of that breakout board (clock J3, the FTDI's RX B10 and TX B12, as its user guide has them);
ULX3S: emard/ulx3s, doc/constraints/ulx3s_v20.lpf; Tang Primer 20K: litex-hub/litex-boards,
platforms/sipeed_tang_primer_20k.py. Names are those of the core: `tx` is what the FPGA sends. None was tried on a board.
SPI is on the first pins of a free header: iCEBreaker PMOD 1A, ULX3S GP/GN 0 to 3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgeloop_components.fpga.parts import Part, PartUnknown, part_of

__all__ = ["BOARDS", "SUFFIXES", "Board", "board_of", "constraints"]


@dataclass(frozen=True, kw_only=True)
class Board:
    """`links` maps a front end of the core to its ports and pins; `loader` is openFPGALoader's name of the board."""

    name: str
    title: str
    part: str
    clock_mhz: float
    clock_pin: str
    links: Mapping[str, Mapping[str, str]]
    loader: str


_ULX3S = {"uart": {"rx": "M1", "tx": "L4"}, "spi": {"sck": "B11", "cs_n": "C11", "mosi": "A10", "miso": "A11"}}
_ROWS = (
    Board(
        name="icebreaker",
        title="iCEBreaker 1.0",
        part="ice40-up5k",
        clock_mhz=12,
        clock_pin="35",
        links={"uart": {"rx": "6", "tx": "9"}, "spi": {"sck": "4", "cs_n": "2", "mosi": "47", "miso": "45"}},
        loader="ice40_generic",
    ),
    Board(
        name="hx8k-evn",
        title="iCE40-HX8K-B-EVN breakout board",
        part="ice40-hx8k",
        clock_mhz=12,
        clock_pin="J3",
        links={"uart": {"rx": "B10", "tx": "B12"}},
        loader="ice40_generic",
    ),
    *(
        Board(
            name=f"ulx3s-{size}f",
            title=f"ULX3S {size}F",
            part=f"ecp5-{size}k",
            clock_mhz=25,
            clock_pin="G2",
            links=_ULX3S,
            loader="ulx3s",
        )
        for size in (25, 45, 85)
    ),
    Board(
        name="tang-primer-20k",
        title="Sipeed Tang Primer 20K",
        part="gw2a-18",
        clock_mhz=27,
        clock_pin="H11",
        links={"uart": {"rx": "T13", "tx": "M11"}},
        loader="tangprimer20k",
    ),
)
BOARDS: Mapping[str, Board] = MappingProxyType({board.name: board for board in _ROWS})
SUFFIXES: Mapping[str, str] = MappingProxyType({"ice40": "pcf", "ecp5": "lpf", "gowin": "cst"})


def board_of(part: Part, name: str = "", front: str = "uart") -> Board:
    """The board of that name, else the part's own. PartUnknown when it carries another part or has no such link."""
    board = BOARDS.get(name or part.board)
    if board is None:
        fitting = [one.name for one in _ROWS if one.part == part.name]
        raise PartUnknown(f"board: expected one of {', '.join(BOARDS)}, found {name!r}", f"{part.name}: {fitting[0]}")
    if board.part != part.name:
        raise PartUnknown(f"board {board.name}: expected one with {part.name}, found {board.part}")
    if front not in board.links:
        known = ", ".join(board.links)
        raise PartUnknown(f"board {board.name}: expected a link of {known}, found {front!r}")
    return board


def constraints(board: Board, front: str = "uart") -> str:
    """The text of the board's pin file, for the ports `clk` and those of the link.

    It asks for no frequency: nextpnr aims at the part's `goal_mhz`, above the clock, and Fmax is compared with the clock after.
    """
    return _FORMS[part_of(board.part).family](board, {"clk": board.clock_pin, **board.links[front]})


def _pcf(board: Board, pins: Mapping[str, str]) -> str:
    lines = [f"set_io {port} {pin}" for port, pin in pins.items()]
    return "\n".join([f"# {board.title}, clk: {board.clock_mhz:g} MHz", *lines]) + "\n"


def _lpf(board: Board, pins: Mapping[str, str]) -> str:
    lines = [f"# {board.title}, clk: {board.clock_mhz:g} MHz"]
    for port, pin in pins.items():
        pull = "NONE" if port == "clk" else "UP"
        lines += [f'LOCATE COMP "{port}" SITE "{pin}";', f'IOBUF PORT "{port}" PULLMODE={pull} IO_TYPE=LVCMOS33;']
    return "\n".join(lines) + "\n"


def _cst(board: Board, pins: Mapping[str, str]) -> str:
    lines = [f"// {board.title}, clk: {board.clock_mhz:g} MHz"]
    for port, pin in pins.items():
        lines += [f'IO_LOC "{port}" {pin};', f'IO_PORT "{port}" IO_TYPE=LVCMOS33;']
    return "\n".join(lines) + "\n"


_FORMS: Mapping[str, Callable[[Board, Mapping[str, str]], str]] = {"ice40": _pcf, "ecp5": _lpf, "gowin": _cst}
