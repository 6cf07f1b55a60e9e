"""Memory images of a design: which block RAMs its Verilog declares, what they hold, and placeholders for place and route.

A design is placed and routed with images of pseudo-random bits, which depend on names and shapes only; the real ones are
patched in afterwards (`blockram`). So the placed design is the same for every version of one shape.
Refuses a memory whose declaration or image cannot be read, naming file, expected and found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeloop_components.fpga import digests

__all__ = ["ImageError", "Memory", "memories_of", "placeholders", "shape_digest", "words_of"]

_LOAD = re.compile(r'\$readmemh\s*\(\s*"([^"]+)"\s*,\s*(\w+)')
_DECLARED = r"reg\s*\[\s*(\d+)\s*:\s*0\s*\]\s*{name}\s*\[\s*0\s*:\s*(\d+)\s*\]"


class ImageError(ValueError):
    """A memory of the design cannot be understood."""


@dataclass(frozen=True)
class Memory:
    """`depth` words of `width` bits, loaded from `file`."""

    file: str
    name: str
    width: int
    depth: int


def memories_of(files: Mapping[str, str]) -> tuple[Memory, ...]:
    """The memories that the Verilog among `files` (name -> text) loads with $readmemh, in order of their files."""
    found = []
    for name, text in sorted(files.items()):
        if not name.endswith(".hex"):
            found += [_memory(name, text, image, memory) for image, memory in _LOAD.findall(text)]
    for memory in found:
        if memory.file not in files:
            raise ImageError(f"memory {memory.name}: expected an image {memory.file}, found none")
    return tuple(sorted(found, key=lambda memory: memory.file))


def _memory(file: str, text: str, image: str, name: str) -> Memory:
    declared = re.search(_DECLARED.format(name=re.escape(name)), text)
    if declared is None:
        raise ImageError(f"{file}: expected `reg [W-1:0] {name} [0:D-1]` with numbers for {image}, found none")
    return Memory(image, name, int(declared[1]) + 1, int(declared[2]) + 1)


def words_of(memory: Memory, text: str) -> list[int]:
    """The words of an image, zeros after its end. ImageError when there are too many, or one is too wide."""
    words = []
    for line, word in enumerate(text.split(), 1):
        try:
            value = int(word.replace("_", ""), 16)
        except ValueError:
            raise ImageError(f"{memory.file}:{line}: expected a hexadecimal word, found {word[:20]!r}") from None
        if value >> memory.width:
            raise ImageError(f"{memory.file}:{line}: expected at most {memory.width} bits, found {word[:40]}")
        words.append(value)
    if len(words) > memory.depth:
        raise ImageError(f"{memory.file}: expected at most {memory.depth} words, found {len(words)}")
    return words + [0] * (memory.depth - len(words))


def placeholders(memories: Sequence[Memory]) -> dict[str, str]:
    """Images of pseudo-random words, the same for the same names and shapes."""
    return {memory.file: _placeholder(memory) for memory in memories}


def _placeholder(memory: Memory) -> str:
    size = (memory.width + 7) // 8
    seed = f"edgeloop {memory.file} {memory.width} {memory.depth}".encode()
    stream = hashlib.shake_256(seed).digest(size * memory.depth)
    mask, digits = (1 << memory.width) - 1, (memory.width + 3) // 4
    words = (int.from_bytes(stream[place : place + size], "big") & mask for place in range(0, len(stream), size))
    return "".join(f"{word:0{digits}x}\n" for word in words)


def shape_digest(files: Mapping[str, str]) -> str:
    """What place and route depend on: all text but the images, and the shapes of those. Equal digests can be patched."""
    return digests.of_texts({**files, **placeholders(memories_of(files))})
