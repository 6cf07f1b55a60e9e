"""Puts memory images into the block RAMs of a placed design: of iCE40 in icestorm's .asc, of ECP5 in trellis' .config.

The design was placed with known, pseudo-random images, so a column of bits (one bit of consecutive words) is found again
among the columns of the block RAMs, wherever synthesis and placement have put it; it is replaced by the real one's. That is
the idea of icebram and ecpbram, here for any number of memories of any depth at once.
Refuses a column that is nowhere, or in more than one place: then the memory is not in block RAM alone.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from edgeloop_components.fpga.images import Memory, words_of

__all__ = ["FORMS", "Form", "NotPatchable", "patched"]

Block = list[int]  # words of one block RAM
Column = tuple[int, int]  # how many rows it has, and their bits


class NotPatchable(ValueError):  # noqa: N818 - it is read as a sentence
    """A memory is not found in the block RAMs of the placed design."""


@dataclass(frozen=True)
class Form:
    """How a family writes block RAM: the section's head, words of one, the bits of each, and how columns may lie.

    `strides`: a column takes every stride-th word (a wide port of ECP5 spans 2 or 4 words). `shares`: how many words of a
    narrow memory can stand side by side in one word of the block RAM.
    """

    head: re.Pattern[str]
    rows: int
    bits: int
    strides: tuple[int, ...]
    shares: tuple[int, ...]
    read: Callable[[Sequence[str]], Block]
    write: Callable[[Block], list[str]]


def patched(text: str, form: Form, memories: Sequence[Memory], old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """The placed design with the images `new` where it had `old` (file name -> text). NotPatchable."""
    lines = text.split("\n")
    sections = dict(_sections(lines, form))
    blocks = {at: form.read(lines[slice(*at)]) for at in sections}
    places = _places(blocks, form)
    taken: dict[tuple[tuple[int, int], int, int, int], str] = {}
    for memory in memories:
        before, after = (words_of(memory, images[memory.file]) for images in (old, new))
        for bit in range(memory.width):
            for place, rows in _found(memory, bit, before, places, form):
                if place in taken:
                    raise NotPatchable(f"memory {memory.name}, bit {bit}: is where {taken[place]} is")
                taken[place] = f"{memory.name}, bit {bit}"
                _set(blocks[place[0]], place, [after[row] >> bit & 1 if row < memory.depth else 0 for row in rows])
    for at, block in blocks.items():
        lines[slice(*at)] = form.write(block)
    return "\n".join(lines)


def _sections(lines: Sequence[str], form: Form) -> Iterator[tuple[tuple[int, int], str]]:
    """Where the words of each block RAM stand: (first line, line after the last) and its head."""
    for place, line in enumerate(lines):
        if form.head.match(line):
            end = place + 1
            while end < len(lines) and lines[end] and not lines[end].startswith("."):
                end += 1
            yield (place + 1, end), line


_Place = tuple[tuple[int, int], int, int, int]  # section, stride, first word, bit


def _places(blocks: Mapping[tuple[int, int], Block], form: Form) -> dict[Column, list[_Place]]:
    found: dict[Column, list[_Place]] = {}
    for at, block in blocks.items():
        for stride in form.strides:
            for first in range(stride):
                words = block[first::stride]
                for bit in range(form.bits):
                    column = (len(words), _bits(word >> bit & 1 for word in words))
                    found.setdefault(column, []).append((at, stride, first, bit))
    return found


def _bits(values: Iterator[int]) -> int:
    return int("".join(map(str, values)), 2)


def _found(
    memory: Memory, bit: int, words: Sequence[int], places: Mapping[Column, list[_Place]], form: Form
) -> Iterator[tuple[_Place, range]]:
    """Where each slice of a memory's bit lies, with the rows of the memory that it holds."""
    for stride, share in itertools.product(form.strides, form.shares):
        depth = form.rows // stride
        slices = list(_slices(memory.depth, depth, share))
        hits = [places.get((depth, _column(words, bit, rows)), []) for rows in slices]
        if all(len(hit) == 1 for hit in hits):
            yield from ((hit[0], rows) for hit, rows in zip(hits, slices, strict=True))
            return
    raise NotPatchable(
        f"memory {memory.name} ({memory.file}), bit {bit}: expected it once in the block RAMs, found it nowhere or twice"
    )


def _slices(depth: int, rows: int, share: int) -> Iterator[range]:
    """The words of a memory that one column of a block RAM holds, for all its columns that hold any."""
    for start in range(0, depth, rows * share):
        end = start + rows * share
        yield from (range(first, end, share) for first in range(start, min(start + share, depth)))


def _column(words: Sequence[int], bit: int, rows: range) -> int:
    return _bits(words[row] >> bit & 1 if row < len(words) else 0 for row in rows)


def _set(block: Block, place: _Place, values: Sequence[int]) -> None:
    _, stride, first, bit = place
    for row, value in enumerate(values):
        at = first + row * stride
        block[at] = block[at] & ~(1 << bit) | value << bit


def _read_asc(lines: Sequence[str]) -> Block:
    """16 lines of 256 bits: word 16 i + j of a RAM is bits 16 j and up of line i."""
    return [int(line, 16) >> 16 * place & 0xFFFF for line in lines for place in range(16)]


def _write_asc(block: Block) -> list[str]:
    rows = (block[start : start + 16] for start in range(0, len(block), 16))
    return [f"{sum(word << 16 * place for place, word in enumerate(row)):064x}" for row in rows]


def _read_config(lines: Sequence[str]) -> Block:
    """2048 words of 9 bits, eight a line."""
    return [int(word, 16) for line in lines for word in line.split()]


def _write_config(block: Block) -> list[str]:
    return [" ".join(f"{word:03x}" for word in block[start : start + 8]) for start in range(0, len(block), 8)]


FORMS: Mapping[str, Form] = MappingProxyType(
    {
        "ice40": Form(re.compile(r"\.ram_data "), 256, 16, (1,), (1, 2, 4, 8), _read_asc, _write_asc),
        "ecp5": Form(re.compile(r"\.bram_init "), 2048, 9, (1, 2, 4), (1, 2, 4, 8), _read_config, _write_config),
    }
)
