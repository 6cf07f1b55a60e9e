"""The front ends at their pins: which bench drives the module `top` of a design's files."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgeloop_components.fpga.proof.verilate import Bench

__all__ = ["front_bench"]

BOARDS = {
    "uart.v": ("uart", "board_uart.h"),
    "spi_slave.v": ("spi", "board_spi.h"),
    "wishbone.v": ("wishbone", "board_wishbone.h"),
}


def front_bench(files: Mapping[str, str]) -> tuple[str, Bench]:
    """The front end's name and its bench. ValueError where the files hold none."""
    kind, board = next((BOARDS[name] for name in BOARDS if name in files), ("", ""))
    if not kind:
        raise ValueError(f"front end: expected one of {', '.join(BOARDS)} among the files, found none")
    defines = {"QUIET_BITS": _number(files["device.v"], r"parameter QUIET_BITS = (\d+)")}
    if kind == "uart":
        defines["DIVIDER"] = _number(files["top.v"], r"\.DIVIDER\((\d+)\)")
    return kind, Bench(board, "top", defines)


def _number(text: str, pattern: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"sources: expected {pattern}, found none")
    return int(found[1])
