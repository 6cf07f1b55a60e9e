"""An FPGA board on this node: the serial link, the driver of the core behind it, loading a bitstream, and boards simulated.

Standard library only. Errors form one tree: `DeviceError` is all that can go wrong with a board, and says what and where.
"""

from __future__ import annotations

__all__ = ["BusyError", "DeviceError", "DeviceLostError", "IdentityError", "LinkError", "LoadError"]


class DeviceError(RuntimeError):
    """A board cannot be used. The message says what, where, what was expected and what was found."""


class BusyError(DeviceError):
    """Another process holds the device."""


class DeviceLostError(DeviceError):
    """The device is gone: unplugged, switched off, or its simulation has ended."""


class LinkError(DeviceError):
    """The device is there, and no sound answer came over the link however often it was asked."""


class IdentityError(DeviceError):
    """Another core answers than the one that the design's digest names."""


class LoadError(DeviceError):
    """The bitstream could not be loaded. `hint` says what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
