"""A loop around a lone ONNX file, which has none: what measures and packs the model of a loop takes it, too. Pure.

Its data and training are stand-ins that nobody reads; name and targets are real.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_contracts import Loop, from_json

__all__ = ["loop_around"]


def loop_around(name: str, targets: Sequence[Mapping[str, Any]]) -> Loop:
    """A loop of these targets, each in a node group of its own name. ContractError where a target is none."""
    return from_json(
        Loop,
        {
            "apiVersion": "edgeloop.dev/v1alpha1",
            "kind": "Loop",
            "metadata": {"name": name},
            "data": {"source": "none", "label": "label", "features": ["x0"]},
            "train": {"onnx": "model.onnx"},
            "targets": [{"nodes": {"group": target["name"]}, **target} for target in targets],
        },
    )
