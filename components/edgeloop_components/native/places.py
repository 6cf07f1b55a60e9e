"""Where each buffer of a row lies: in the caller's output, in a local variable, or in the caller's scratch memory.

A buffer that an output shows is that output, so that nothing is copied. The others are locals as long as all together are
small, which compilers do best with; else all lie in scratch, where buffers that are not needed at the same time share a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeloop_components.native.values import C_TYPES, Value
from edgeloop_components.native.writer import Buffer, Writer
from edgeloop_components.runtimes import ModelError

__all__ = ["Places", "placed"]

MOST_LOCAL_BYTES = 32 << 10
MOST_SCRATCH_BYTES = 1 << 28


@dataclass(frozen=True)
class Places:
    """Declarations that begin the row's function, copies that end it, and how much scratch memory it needs."""

    declarations: tuple[str, ...]
    copies: tuple[str, ...]
    scratch_bytes: int


def placed(writer: Writer, outputs: Sequence[Value]) -> Places:
    """Places all buffers. ModelError when they need more scratch memory than any device should give."""
    shown: dict[str, int] = {}
    for place, value in enumerate(outputs):
        if value.constant is None and value.name in writer.buffers:
            shown.setdefault(value.name, place)
    copies = [_copy(writer, value, i) for i, value in enumerate(outputs) if shown.get(value.name) != i]
    declared = [f"{C_TYPES[writer.buffers[name].kind]} *const {name} = y{i};" for name, i in shown.items()]
    rest = [buffer for buffer in writer.buffers.values() if buffer.name not in shown]
    if sum(buffer.size_bytes for buffer in rest) <= MOST_LOCAL_BYTES:
        return Places((*declared, *map(_local, rest)), tuple(copies), 0)
    offsets, total = _offsets(rest)
    if total > MOST_SCRATCH_BYTES:
        raise ModelError(f"expected a model that needs at most {MOST_SCRATCH_BYTES} bytes of memory, got {total}")
    return Places((*declared, *(_in_scratch(buffer, offsets[buffer.name]) for buffer in rest)), tuple(copies), total)


def _copy(writer: Writer, value: Value, place: int) -> str:
    return f"for (int i = 0; i < {value.width}; ++i) y{place}[i] = {writer.at(value)}[i];"


def _local(buffer: Buffer) -> str:
    return f"{C_TYPES[buffer.kind]} {buffer.name}[{buffer.width}]; (void){buffer.name};"  # a result may have no reader


def _in_scratch(buffer: Buffer, offset: int) -> str:
    c_type = C_TYPES[buffer.kind]
    return f"{c_type} *const restrict {buffer.name} = ({c_type} *)(void *)((char *)scratch + {offset});"


def _offsets(buffers: Iterable[Buffer]) -> tuple[dict[str, int], int]:
    """First fit: each buffer at the lowest offset that no buffer has which is needed at the same time."""
    live: list[tuple[int, int, int]] = []  # offset, end, last step
    offsets, total = {}, 0
    for buffer in sorted(buffers, key=lambda one: one.first):
        live = sorted(one for one in live if one[2] >= buffer.first)
        offset = 0
        for start, end, _ in live:
            if offset + buffer.size_bytes <= start:
                break
            offset = max(offset, end)
        offsets[buffer.name] = offset
        live.append((offset, offset + buffer.size_bytes, buffer.last))
        total = max(total, offset + buffer.size_bytes)
    return offsets, total
