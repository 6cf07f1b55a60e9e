"""Loads a model folder and proves it on its golden rows before anybody is served.

Refuses a folder whose parts do not belong together, and a model whose answers differ from the golden ones: a server that
would answer wrongly must not answer at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeloop_contracts import ContractError, ModelVersion, Reference, loads
from edgeloop_contracts.codec import Contract
from edgeloop_contracts.golden import GoldenTensors, Tensor, golden_tensors
from edgeloop_node.runtimes import ModelError, Scorer, scorer_for
from edgeloop_node.server.kinds import Kind, class_kind, tensor_kind
from edgeloop_node.server.sound import (
    GOLDEN_LIMIT,
    VALUE_LIMIT,
    UnsoundScoreError,
    apart,
    checked,
    values_apart,
)

__all__ = ["GOLDEN_LIMIT", "Golden", "Model", "UnsoundScoreError", "checked", "load_model", "self_test"]

C = TypeVar("C", bound=Contract)


@dataclass(frozen=True)
class Golden:
    """A classifier's rows and the answers they must get."""

    rows: tuple[tuple[float, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """All that a server needs of a model folder."""

    version: ModelVersion
    reference: Reference
    golden: Golden | GoldenTensors
    scorer: Scorer

    @property
    def kind(self) -> Kind:
        """What its answers are."""
        golden = self.golden
        return class_kind(self.reference) if isinstance(golden, Golden) else tensor_kind(golden.outputs)

    @property
    def input(self) -> Tensor:
        """What it takes."""
        golden = self.golden
        return Tensor("X", "FP32", (len(self.reference.features),)) if isinstance(golden, Golden) else golden.input


def _contract(cls: type[C], path: Path) -> C:
    try:
        return loads(cls, path.read_bytes())
    except (OSError, ContractError) as error:
        raise ModelError(f"{path.name}: {error}") from error


def _floats(values: Sequence[float | str | None]) -> tuple[float, ...]:
    """Numbers as golden.json writes them: null is NaN, and the texts inf and -inf stand for what JSON has no number for."""
    for value in values:
        if type(value) is str and value not in ("inf", "-inf"):
            raise ValueError(f'expected a number, null, "inf" or "-inf", got {value!r}')
    return tuple(math.nan if value is None else float(value) for value in values)


def _golden(path: Path) -> Golden:
    try:
        document = json.loads(path.read_bytes())
        golden = Golden(
            rows=tuple(_floats(row) for row in document["rows"]),
            probabilities=tuple(_floats(row) for row in document["probabilities"]),
            labels=tuple(int(label) for label in document["labels"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.name}: expected rows, probabilities and labels, got: {error!r}") from error
    sizes = {len(golden.rows), len(golden.probabilities), len(golden.labels)}
    if len(sizes) != 1 or 0 in sizes:
        raise ModelError(f"{path.name}: expected at least one row, and as many answers as rows, got {sorted(sizes)}")
    return golden


def _golden_tensors(path: Path) -> GoldenTensors:
    try:
        return golden_tensors(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name}: {error}") from error


def _together(version: ModelVersion, reference: Reference, scorer: Scorer) -> None:
    expected_got = (
        ("reference.json: loop", version.loop, reference.loop),
        ("reference.json: schema_hash", version.schema_hash or reference.schema_hash, reference.schema_hash),
        ("model.onnx: features", len(reference.features), scorer.features or len(reference.features)),
        ("model.onnx: classes", len(reference.classes), scorer.classes or len(reference.classes)),
    )
    for what, expected, got in expected_got:
        if expected != got:
            raise ModelError(f"{what}: expected {expected!r}, got {got!r}")


def load_model(folder: Path, runtime: str, threads: int = 1) -> Model:
    """Reads version.json, reference.json, golden.json and the model itself. ModelError names the file that is wrong.

    A reference without classes is one of a graph that is no classifier: golden.json says what it takes and gives.
    """
    version = _contract(ModelVersion, folder / "version.json")
    reference = _contract(Reference, folder / "reference.json")
    golden = _golden(folder / "golden.json") if reference.classes else _golden_tensors(folder / "golden.json")
    scorer = scorer_for(runtime, folder, threads, None if isinstance(golden, Golden) else golden)
    _together(version, reference, scorer)
    return Model(version, reference, golden, scorer)


def _same_label(expected: int, got: int, probabilities: Sequence[float]) -> bool:
    if not all(map(math.isfinite, probabilities)):  # no label is right
        return True
    return expected == got or abs(probabilities[expected] - probabilities[got]) <= GOLDEN_LIMIT


def _scored(model: Model) -> list[list[Any]]:
    """The model's own answers to the golden rows, by output."""
    try:
        return [list(output) for output in model.scorer.score(model.golden.rows)]
    except Exception as error:
        raise ModelError(f"self-test: the model cannot score the golden rows: {str(error)[:300]}") from error


def _held(golden: Golden, labels: list[int], scores: list[list[float]]) -> list[list[float]]:
    """The probabilities, checked where a row's golden answer is a distribution."""
    sound = [all(map(math.isfinite, row)) for row in golden.probabilities]
    try:
        return [checked(a, row) if ok else row for a, row, ok in zip(labels, scores, sound, strict=True)]
    except (ValueError, UnsoundScoreError) as error:
        raise ModelError(f"self-test: the model cannot score the golden rows: {str(error)[:300]}") from error


def self_test(model: Model) -> float:
    """Scores the golden rows; the largest difference, of a graph without classes in parts of its row's or output's size.

    ModelError names the first row that is wrong.
    """
    if isinstance(model.golden, Golden):
        return _test_classes(model.golden, _scored(model))
    return max(
        _test_output(*part) for part in zip(model.golden.outputs, model.golden.answers, _scored(model), strict=True)
    )


def _test_classes(golden: Golden, answers: list[list[Any]]) -> float:
    labels, worst = answers[0], 0.0
    scores = _held(golden, labels, answers[1])
    for i, (wanted, got) in enumerate(zip(golden.probabilities, scores, strict=True)):
        difference = apart(wanted, got)
        if not difference <= GOLDEN_LIMIT:
            raise ModelError(f"self-test: golden row {i}: expected {list(wanted)} within {GOLDEN_LIMIT}, got {got}")
        if not _same_label(golden.labels[i], labels[i], got):
            raise ModelError(f"self-test: golden row {i}: expected the label {golden.labels[i]}, got {labels[i]}")
        worst = max(worst, difference)
    return worst


def _test_output(tensor: Tensor, expected: Sequence[Sequence[float]], answers: list[Any]) -> float:
    worst, limit = 0.0, VALUE_LIMIT if tensor.datatype == "FP32" else 0.0
    for i, (wanted, answer) in enumerate(zip(expected, answers, strict=True)):
        got = answer if tensor.shape else [answer]
        difference = values_apart(wanted, got, tensor.scale)
        if not difference <= limit:
            size = f"the row's largest value or {tensor.scale:g}"
            shown = f"expected {list(wanted)[:8]} within {limit} ({size}) of {tensor.name}, got {got[:8]}"
            raise ModelError(f"self-test: golden row {i}: {shown}")
        worst = max(worst, difference)
    return worst
