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
from typing import TypeVar

from edgeloop_contracts import ContractError, ModelVersion, Reference, loads
from edgeloop_contracts.codec import Contract
from edgeloop_node.runtimes import ModelError, Scorer, scorer_for

__all__ = ["Golden", "Model", "UnsoundScoreError", "checked", "load_model", "self_test"]

GOLDEN_LIMIT = 1e-5  # probability; the same graph on another processor differs by about 1e-6
SUM_LIMIT = 1e-6
SOUND_LIMIT = 1e-3  # float32 rounding over thousands of classes stays below; a graph that does not normalise is above

C = TypeVar("C", bound=Contract)


class UnsoundScoreError(ArithmeticError):
    """The model's answer is no probability distribution, or its label is no class."""


@dataclass(frozen=True)
class Golden:
    """Rows and the answers they must get."""

    rows: tuple[tuple[float, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Model:
    """All that a server needs of a model folder."""

    version: ModelVersion
    reference: Reference
    golden: Golden
    scorer: Scorer


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
    """Reads version.json, reference.json, golden.json and the model itself. ModelError names the file that is wrong."""
    version = _contract(ModelVersion, folder / "version.json")
    reference = _contract(Reference, folder / "reference.json")
    golden = _golden(folder / "golden.json")
    scorer = scorer_for(runtime, folder, threads)
    _together(version, reference, scorer)
    return Model(version, reference, golden, scorer)


def checked(label: int, probabilities: list[float]) -> list[float]:
    """The probabilities, summing to 1 within SUM_LIMIT. UnsoundScoreError when they are no distribution at all."""
    total = sum(probabilities)
    if -SUM_LIMIT <= total - 1.0 <= SUM_LIMIT and 0 <= label < len(probabilities) and min(probabilities) >= 0:
        return probabilities
    if not 0 <= label < len(probabilities):
        raise UnsoundScoreError(f"label: expected a class below {len(probabilities)}, got {label}")
    if not (abs(total - 1.0) <= SOUND_LIMIT and min(probabilities) >= 0):
        raise UnsoundScoreError(f"probabilities: expected numbers >= 0 with the sum 1, got the sum {total}")
    return [p / total for p in probabilities]


def _apart(expected: float, got: float) -> float:
    if expected == got or (expected != expected and got != got):  # noqa: PLR0124  NaN is met by NaN
        return 0.0
    return abs(expected - got) if math.isfinite(expected) and math.isfinite(got) else math.inf


def _difference(expected: Sequence[float], got: Sequence[float]) -> float:
    if len(expected) != len(got):
        return math.inf
    return max(map(_apart, expected, got), default=math.inf)


def _same_label(expected: int, got: int, probabilities: Sequence[float]) -> bool:
    if not all(map(math.isfinite, probabilities)):  # no label is right
        return True
    return expected == got or abs(probabilities[expected] - probabilities[got]) <= GOLDEN_LIMIT


def _answers(model: Model) -> tuple[list[int], list[list[float]]]:
    """The model's own answers to the golden rows, checked where a row's golden answer is a distribution."""
    golden = model.golden
    try:
        labels, scores = model.scorer.score(golden.rows)
        sound = [all(map(math.isfinite, row)) for row in golden.probabilities]
        scores = [checked(a, row) if ok else row for a, row, ok in zip(labels, scores, sound, strict=True)]
    except Exception as error:
        raise ModelError(f"self-test: the model cannot score the golden rows: {str(error)[:300]}") from error
    return labels, scores


def self_test(model: Model) -> float:
    """Scores the golden rows; the largest difference of a probability. ModelError names the first row that is wrong."""
    golden, worst = model.golden, 0.0
    labels, scores = _answers(model)
    for i, (wanted, got) in enumerate(zip(golden.probabilities, scores, strict=True)):
        difference = _difference(wanted, got)
        if not difference <= GOLDEN_LIMIT:
            raise ModelError(f"self-test: golden row {i}: expected {list(wanted)} within {GOLDEN_LIMIT}, got {got}")
        if not _same_label(golden.labels[i], labels[i], got):
            raise ModelError(f"self-test: golden row {i}: expected the label {golden.labels[i]}, got {labels[i]}")
        worst = max(worst, difference)
    return worst
