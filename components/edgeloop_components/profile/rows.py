"""The rows that a server is measured with, made of the reference alone: distinct, and spread as the training data were. Pure."""

from __future__ import annotations

import json
import random

from edgeloop_contracts import FeatureReference, Reference

__all__ = ["ROWS", "request_bodies", "sample_rows"]

ROWS = 256


def sample_rows(features: tuple[FeatureReference, ...], seed: int, rows: int = ROWS) -> list[list[float]]:
    """Distinct rows [rows][features] as the training data had them: every bin of a feature equally often."""
    draw = random.Random(seed)
    return [[_value(feature, draw) for feature in features] for _ in range(rows)]


def _value(feature: FeatureReference, draw: random.Random) -> float:
    if feature.kind == "category":
        return float(draw.randrange(len(feature.categories)) if feature.categories else -1)
    limits = [feature.minimum, *feature.edges, feature.maximum]
    place = draw.randrange(len(limits) - 1)
    return draw.uniform(limits[place], limits[place + 1])


def request_bodies(reference: Reference, seed: int) -> list[bytes]:
    """One inference request (Open Inference Protocol V2) for each sample row."""
    tensor = {"name": "X", "shape": [1, len(reference.features)], "datatype": "FP32"}
    rows = sample_rows(reference.features, seed)
    return [json.dumps({"inputs": [{**tensor, "data": [round(v, 6) for v in row]}]}).encode() for row in rows]
