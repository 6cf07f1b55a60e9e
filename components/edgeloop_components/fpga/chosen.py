"""Which width a design gets: the one given, that of a placed design that it can be patched into, or the fewest bits that hold.

One rule for a lone build, whose predecessor lies in its folder, and for the pipeline, whose predecessors are in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeloop_components.fpga.quantise import Evidence, Floors, Found, Tried, search
from edgeloop_components.fpga.rtl import RtlError
from edgeloop_components.onnxgraph import Graph
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga import FpgaDesign

__all__ = ["GIVEN", "SEARCHED", "TAKEN_OVER", "Chosen", "choose"]

SEARCHED, TAKEN_OVER, GIVEN = "searched", "taken over", "given"
Base = TypeVar("Base")


@dataclass(frozen=True)
class Chosen(Generic[Base]):
    """What was found, how its width came about, and what it is patched into (None: nothing)."""

    found: Found
    how: str
    base: Base | None = None


def choose(
    graph: Graph,
    evidence: Evidence,
    floors: Floors,
    *,
    bits: int = 0,
    earlier: Iterable[int] = (),
    base_of: Callable[[FpgaDesign], Base | None] = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> Chosen[Base]:
    """`bits`, where that is not 0; else a width of `earlier` whose design holds the floors and has a base; else all are tried.

    ModelError, Unsupported.
    """

    def say(tried: Tried) -> None:
        progress(str(tried))

    if bits:
        return Chosen(search(graph, evidence, floors, bits=[bits], progress=say), GIVEN)
    for width in earlier:
        try:
            found = search(graph, evidence, floors, bits=[width])
            base = base_of(found.design)
        except (ModelError, RtlError):  # too few bits for this model, or no circuit of so many
            continue
        if base is not None:
            progress(
                f"{width} bits keep the shape of what is placed already: agreement {found.tried[-1].agreement:.4f}"
            )
            return Chosen(found, TAKEN_OVER, base)
    return Chosen(search(graph, evidence, floors, progress=say), SEARCHED)
