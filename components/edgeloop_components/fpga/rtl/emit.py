"""A design as Verilog: readable modules and the images of their memories, by name.

`top` is the outermost module, `device` the one with bytes in and out that simulations drive. Everything is text; a folder that
holds the files under their names is all that a tool needs.
"""

from __future__ import annotations

from edgeloop_components.fpga.rtl.forest import forest_files
from edgeloop_components.fpga.rtl.frames import reply_bytes, request_bytes
from edgeloop_components.fpga.rtl.options import RtlError, RtlOptions
from edgeloop_components.fpga.rtl.perceptron import perceptron_files
from edgeloop_components.fpga.rtl.text import fixed, image
from edgeloop_components.fpga.rtl.top import FRONTS, device, top
from edgeloop_contracts.codec import digest_of
from edgeloop_contracts.fpga import FpgaDesign

__all__ = ["PROTOCOL", "emit"]

PROTOCOL = 1
FIXED = ("shell.v", "crc8.v", "identity.v")


def emit(design: FpgaDesign, options: RtlOptions) -> dict[str, str]:
    """File name: text, sorted by name. RtlError says what of the design or the options cannot be."""
    front = FRONTS[options.front]
    files = {
        **{name: fixed(name) for name in (*FIXED, front)},
        **_core_files(design, options),
        "identity.hex": _identity(design),
        "device.v": device(request_bytes(design), reply_bytes(design), options.quiet_bits),
        "top.v": top(options),
    }
    return dict(sorted(files.items()))


def _core_files(design: FpgaDesign, options: RtlOptions) -> dict[str, str]:
    if design.perceptron is not None and design.forest is None:
        return perceptron_files(design, design.perceptron, options.multipliers)
    if design.forest is not None and design.perceptron is None:
        return forest_files(design, design.forest, options)
    found = "neither" if design.forest is None else "both"
    raise RtlError(f"design: expected a perceptron or a forest, found {found}")


def _identity(design: FpgaDesign) -> str:
    """What ID answers, the last byte at address 1."""
    answer = bytes([PROTOCOL]) + bytes.fromhex(digest_of(design).removeprefix("sha256:"))
    return image([0, *reversed(answer)], 8)
