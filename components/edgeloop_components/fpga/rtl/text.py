"""Pieces of Verilog: the fixed modules of this package, memories loaded from an image, literals."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

__all__ = ["CORE", "bits_of", "depth_of", "fixed", "image", "index_bits", "memory", "width_of"]

CORE = """module core (
    input  wire       clk,
    input  wire       x_clear,
    input  wire       x_valid,
    input  wire [7:0] x_data,
    input  wire       start,
    output wire       done,
    input  wire       y_next,
    input  wire [7:0] y_left,
    output wire [7:0] y_data
);"""  # what every core looks like from the shell
LEAST_DEPTH = 64  # of a memory whose contents are patched; block RAMs are deeper anyway


def fixed(name: str) -> str:
    """The text of a module that no model changes, such as `shell.v`."""
    return files(__package__).joinpath("verilog", name).read_text("utf-8")


def index_bits(count: int) -> int:
    """Bits of an index below `count`: ceil(log2(count)), at least 1."""
    return max(1, (count - 1).bit_length())


def width_of(least: int, most: int) -> int:
    """Bits that hold least..most: two's complement where `least` is negative, else unsigned; at least 1."""
    return max((~least).bit_length(), most.bit_length()) + 1 if least < 0 else max(1, most.bit_length())


def bits_of(value: int, width: int) -> int:
    """Two's complement. ValueError where the value does not fit `width` bits, neither signed nor unsigned."""
    if not -(1 << (width - 1)) <= value < 1 << width:
        raise ValueError(f"expected a number of {width} bits, found {value}")
    return value & ((1 << width) - 1)


def depth_of(words: int) -> int:
    """Words of a memory that holds so many: a power of two. A short column could not be told from others in a placed design."""
    return max(LEAST_DEPTH, 1 << index_bits(words))


def image(words: Sequence[int], width: int) -> str:
    """A memory's contents for $readmemh, zeros after the last word."""
    digits = -(-width // 4)
    return "".join(f"{word:0{digits}x}\n" for word in (*words, *[0] * (depth_of(len(words)) - len(words))))


def memory(name: str, what: str, width: int, words: int) -> str:
    """A module with a read-only memory in block RAM, loaded from `<name>.hex`; `data` comes a clock later."""
    depth = depth_of(words)
    return f"""// {what}
// `data` follows `address` by one clock.
module {name} (
    input  wire        clk,
    input  wire [{index_bits(depth) - 1}:0] address,
    output reg  [{width - 1}:0] data
);
    (* ram_style = "block", rom_style = "block" *)
    reg [{width - 1}:0] memory [0:{depth - 1}];
    initial $readmemh("{name}.hex", memory);

    always @(posedge clk) data <= memory[address];
endmodule
"""
