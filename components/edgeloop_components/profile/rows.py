"""The rows that a server is measured with, made of the reference alone: distinct, and spread as the training data were.

A model's input is `X` [N, features], but where its reference has no classes: then golden.json says what it takes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

from edgeloop_contracts import FeatureReference, Reference, loads
from edgeloop_contracts.golden import Tensor, golden_tensors

__all__ = ["ROWS", "bodies_for", "request_bodies", "sample_rows"]

ROWS = 256


def sample_rows(features: tuple[FeatureReference, ...], seed: int, rows: int = ROWS) -> list[list[float]]:
    """Distinct rows [rows][features] as the training data had them: every bin of a feature equally often.

    A feature of a lone file has no bins where no tree tells them: its values lie around the one that is known.
    """
    draw = random.Random(seed)
    return [[_value(feature, draw) for feature in features] for _ in range(rows)]


def _value(feature: FeatureReference, draw: random.Random) -> float:
    if feature.kind == "category":
        return float(draw.randrange(len(feature.categories)) if feature.categories else -1)
    if feature.minimum == feature.maximum:
        return draw.gauss(feature.minimum, feature.std)
    limits = [feature.minimum, *feature.edges, feature.maximum]
    place = draw.randrange(len(limits) - 1)
    return draw.uniform(limits[place], limits[place + 1])


def bodies_for(compiled: Path, seed: int) -> list[bytes]:
    """The requests for the model of a compiled folder. OSError, ContractError."""
    reference = loads(Reference, (compiled / "reference.json").read_bytes())
    if reference.classes:
        return request_bodies(reference, seed)
    return request_bodies(reference, seed, golden_tensors(json.loads((compiled / "golden.json").read_bytes())).input)


def request_bodies(reference: Reference, seed: int, given: Tensor | None = None) -> list[bytes]:
    """One inference request (Open Inference Protocol V2) for each sample row; `given` is the input of a graph without classes."""
    given = given or Tensor("X", "FP32", (len(reference.features),))
    tensor = {"name": given.name, "shape": [1, *given.shape], "datatype": given.datatype}
    rows = sample_rows(reference.features, seed)
    return [json.dumps({"inputs": [{**tensor, "data": [round(v, 6) for v in row]}]}).encode() for row in rows]
