"""What processors of a platform may be able to do: instruction sets by name, each with all before it in its row."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["INSTRUCTION_SETS", "SETS_OF"]

SETS_OF: Mapping[str, tuple[str, ...]] = {
    "linux/amd64": ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"),
    "linux/arm64": ("armv8-a", "armv8.1-a", "armv8.2-a", "armv8.4-a"),
    "linux/arm/v7": ("armv7-a",),
    "linux/riscv64": ("rv64gc", "rva20u64", "rva22u64", "rva23u64"),
}
INSTRUCTION_SETS = tuple(SETS_OF.values())
