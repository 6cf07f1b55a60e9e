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
Section = tuple[int, int]  # its first line, and the line after its last
Place = tuple[Section, int, int, int]  # section, stride, first word, bit


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
    blocks = {at: _columns(form.read(lines[slice(*at)]), form.bits) for at in _sections(lines, form)}
    places = _places(blocks, form)
    contents = {at: [list(column) for column in columns] for at, columns in blocks.items()}
    taken: dict[Place, str] = {}
    for memory in memories:
        before, after = (_columns(words_of(memory, images[memory.file]), memory.width) for images in (old, new))
        for bit in range(memory.width):
            for place, rows in _found(memory, bit, before[bit], places, form):
                if place in taken:
                    raise NotPatchable(f"memory {memory.name}, bit {bit}: is where {taken[place]} is")
                taken[place] = f"{memory.name}, bit {bit}"
                at, stride, first, own = place
                contents[at][own][first::stride] = _slice(after[bit], rows)
    for at, columns in contents.items():
        lines[slice(*at)] = form.write([int("".join(bits), 2) for bits in zip(*reversed(columns), strict=True)])
    return "\n".join(lines)


def _columns(words: Sequence[int], width: int) -> list[str]:
    """Of each bit, the lowest first: what it is in each word."""
    texts = [f"{word:0{width}b}" for word in words]
    return ["".join(bits) for bits in zip(*texts, strict=True)][::-1]


def _sections(lines: Sequence[str], form: Form) -> Iterator[Section]:
    """Where the words of each block RAM stand."""
    for place, line in enumerate(lines):
        if form.head.match(line):
            end = place + 1
            while end < len(lines) and lines[end] and not lines[end].startswith("."):
                end += 1
            yield place + 1, end


def _places(blocks: Mapping[Section, Sequence[str]], form: Form) -> dict[str, list[Place]]:
    """Every column of the block RAMs, and where it is."""
    found: dict[str, list[Place]] = {}
    for at, columns in blocks.items():
        for bit, stride in itertools.product(range(form.bits), form.strides):
            for first in range(stride):
                found.setdefault(columns[bit][first::stride], []).append((at, stride, first, bit))
    return found


def _found(
    memory: Memory, bit: int, column: str, places: Mapping[str, list[Place]], form: Form
) -> Iterator[tuple[Place, range]]:
    """Where each slice of a memory's column lies, with the words of the memory that it holds."""
    for stride, share in itertools.product(form.strides, form.shares):
        slices = list(_slices(memory.depth, form.rows // stride, share))
        hits = [places.get(_slice(column, rows), []) for rows in slices]
        if all(len(hit) == 1 for hit in hits):
            yield from ((hit[0], rows) for hit, rows in zip(hits, slices, strict=True))
            return
    raise NotPatchable(
        f"memory {memory.name} ({memory.file}), bit {bit}: expected it once in the block RAMs, found it nowhere or twice"
    )


def _slice(column: str, rows: range) -> str:
    """The bits of these words, zeros after the memory's end."""
    return column[rows.start : rows.stop : rows.step].ljust(len(rows), "0")


def _slices(depth: int, rows: int, share: int) -> Iterator[range]:
    """The words of a memory that one column of a block RAM holds, for all its columns that hold any."""
    for start in range(0, depth, rows * share):
        end = start + rows * share
        yield from (range(first, end, share) for first in range(start, min(start + share, depth)))


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
