"""What may be chosen about the Verilog of a design."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Front", "RtlError", "RtlOptions"]

Front = Literal["uart", "spi", "wishbone"]


class RtlError(ValueError):
    """A design or an option that cannot be made into a core. Says what, expected and found."""


@dataclass(frozen=True, kw_only=True)
class RtlOptions:
    """`clock_hz` and `baud` in Hz; `multipliers` of the core for perceptrons; a frame is broken off after `quiet_s` seconds.

    A forest may keep comparators in up to `tables` block RAMs of `table_words` x `table_width` bits, which spares logic.
    """

    front: Front = "uart"
    clock_hz: int = 12_000_000
    baud: int = 115_200
    multipliers: int = 4
    quiet_s: float = 0.02
    tables: int = 0
    table_words: int = 256
    table_width: int = 16

    def __post_init__(self) -> None:
        if self.front not in ("uart", "spi", "wishbone"):
            raise RtlError(f"front: expected uart, spi or wishbone, found {self.front!r}")
        if self.multipliers < 1:
            raise RtlError(f"multipliers: expected at least 1, found {self.multipliers}")
        if self.front == "uart":
            self._check_baud()
        if not 1 <= self.quiet_bits <= 40:
            raise RtlError(f"quiet_s: expected 2 to 2^40 clocks, found {self.quiet_s} s of {self.clock_hz} Hz")

    def _check_baud(self) -> None:
        exact = self.clock_hz / self.baud
        if self.divider < 4 or abs(self.divider / exact - 1) > 0.02:
            raise RtlError(
                f"baud: expected clock_hz / baud of at least 4 and within 2 % of a whole number, "
                f"found {self.clock_hz} / {self.baud} = {exact:.2f}"
            )

    @property
    def divider(self) -> int:
        """Clocks of a bit on the serial line."""
        return round(self.clock_hz / self.baud)

    @property
    def quiet_bits(self) -> int:
        """The shell's timer counts 2^quiet_bits clocks: at least `quiet_s`, and twenty bytes of the serial line."""
        clocks = max(self.quiet_s * self.clock_hz, 200 * self.divider if self.front == "uart" else 0)
        return max(1, (int(clocks) - 1).bit_length())
