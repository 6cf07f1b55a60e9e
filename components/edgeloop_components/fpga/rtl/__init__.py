"""Verilog of quantised models: a core, the shell around it, a front end to the line."""

from edgeloop_components.fpga.rtl.emit import PROTOCOL, emit
from edgeloop_components.fpga.rtl.options import Front, RtlError, RtlOptions

__all__ = ["PROTOCOL", "Front", "RtlError", "RtlOptions", "emit"]
