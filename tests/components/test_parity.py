"""Parity: what counts as the same answer, for every runtime in the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_components.compile.golden import Estimator, Golden
from edgeloop_components.compile.parity import ParityError, compare, same_everywhere
from edgeloop_contracts import Loop, ParityResult, from_json

LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "small"},
        "data": {"source": "x.csv", "label": "y", "features": ["a", "b"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
    },
)
LIMIT = 1e-5
ROWS = np.array([[0.0, 1.0], [2.0, np.nan], [4.0, 5.0]], dtype=np.float32)
PROBABILITIES = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
LABELS = np.array([0, 0, 1])


def compared(labels: Any = LABELS, probabilities: Any = PROBABILITIES) -> ParityResult:
    """The comparison with a runtime that gives these answers, asked row by row."""
    answers = {row.tobytes(): (label, p) for row, label, p in zip(ROWS, labels, probabilities, strict=True)}

    def score(rows: Any) -> Any:
        found = [answers[row.tobytes()] for row in rows]
        return np.array([label for label, _ in found]), np.array([p for _, p in found], dtype=np.float64)

    return compare(LOOP, LOOP.targets[0], Golden(ROWS, PROBABILITIES, LABELS), score, LIMIT)


def test_equal_answers_pass() -> None:
    """No difference at all, and every row was looked at."""
    result = compared()
    assert (result.passed, result.max_abs_difference, result.label_differences, result.rows) == (True, 0.0, 0, 3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2), st.floats(0, 1e-3))
def test_a_difference_passes_up_to_the_limit(row: int, by: float) -> None:
    """The limit is on the largest difference of any probability, and the worst row is named."""
    moved = PROBABILITIES.copy()
    moved[row] += [by, -by]
    if by <= LIMIT * 0.99:
        assert compared(probabilities=moved).max_abs_difference == pytest.approx(by, abs=1e-12)
    elif by > LIMIT * 1.01:
        with pytest.raises(ParityError) as caught:
            compared(probabilities=moved)
        assert caught.value.result.worst_row == row


def test_labels_may_differ_at_ties_only() -> None:
    """Two classes of equal probability may be named either way; others not."""
    assert compared(labels=np.array([1, 0, 1])).passed
    with pytest.raises(ParityError, match="in 1 labels of 3 golden rows") as caught:
        compared(labels=np.array([0, 1, 1]))
    assert caught.value.result.label_differences == 1
    assert caught.value.result.worst_row == 1


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_fails(label: int) -> None:
    """Also where the reference has a tie."""
    with pytest.raises(ParityError):
        compared(labels=np.array([label, 0, 1]))


def test_a_number_that_is_none_fails() -> None:
    """NaN is the largest difference there is, and the result can still be said in JSON."""
    broken = PROBABILITIES.copy()
    broken[2, 0] = np.nan
    with pytest.raises(ParityError) as caught:
        compared(probabilities=broken)
    assert (caught.value.result.max_abs_difference, caught.value.result.worst_row) == (1.0, 2)


def test_another_number_of_classes_fails() -> None:
    """Three probabilities in the place of two are no answer."""
    with pytest.raises(ParityError):
        compared(probabilities=np.full((3, 3), 1 / 3))


def test_the_message_shows_the_worst_row() -> None:
    """Row, missing values as null, both answers."""
    moved = PROBABILITIES.copy()
    moved[1] = [0.7, 0.3]
    with pytest.raises(
        ParityError, match=r"row 1, \[2\.0, None\]: expected \[0\.9, 0\.1\] and label 0, got \[0\.7, 0\.3\]"
    ):
        compared(probabilities=moved)


def test_every_platforms_bits_must_be_the_same() -> None:
    """Equal digests are kept in the result; another one stops the package and names the platform."""
    passed = same_everywhere(compared(), "sha256:a", {"linux/arm64": "sha256:a"})
    assert (passed.passed, passed.output_digest, passed.platforms) == (True, "sha256:a", {"linux/arm64": "sha256:a"})
    with pytest.raises(ParityError, match=r"linux/riscv64 gives other bits.*sha256:a, got sha256:b") as caught:
        same_everywhere(compared(), "sha256:a", {"linux/arm64": "sha256:a", "linux/riscv64": "sha256:b"})
    assert not caught.value.result.passed


def beside(moved: float, power: float = 1.0) -> ParityResult:
    """Answers that are the reference's own, with an estimator that said `moved` more to the first class of row 1."""
    own = PROBABILITIES.copy()
    own[1] += [moved, -moved]
    golden = Golden(ROWS, PROBABILITIES, LABELS, Estimator(own[:2], 2e-6))
    answers = iter(PROBABILITIES)

    def score(rows: Any) -> Any:
        answer = next(answers)
        return np.array([answer.argmax()]), answer[None]

    return compare(LOOP, LOOP.targets[0], golden, score, LIMIT, power=power)


def test_the_estimator_itself_is_looked_at() -> None:
    """Its distance is in the result; beyond 2e-6 the model is refused, though it answers as the reference does."""
    result = beside(1.5e-6)
    assert (result.max_abs_difference, result.estimator_limit) == (0.0, 2e-6)
    assert result.estimator_difference == pytest.approx(1.5e-6, rel=1e-6)
    with pytest.raises(
        ParityError, match=r"from the estimator by 3e-06 \(limit 2e-06\) on golden row 1, \[2.0, None\]"
    ) as told:
        beside(3e-6)
    assert (told.value.result.passed, told.value.result.worst_row) == (False, 1)
    assert compared().estimator_difference is None, "of an ONNX file no estimator is known"


def test_a_calibration_that_sharpens_widens_the_estimators_limit() -> None:
    """As decision 0007 says: with the slope of the calibration, up to 1e-5 and no further."""
    assert beside(3e-6, power=0.5).estimator_limit == pytest.approx(1e-5)
    with pytest.raises(ParityError, match="from the estimator"):
        beside(1.1e-5, power=0.5)
