"""Infinite golden rows: which are kept, how golden.json says them, who reads them; and limits behind a calibration."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.compile.golden import read_golden
from edgeloop_components.compile.tolerance import MOST, row_limits
from edgeloop_components.runtimes import ModelError
from edgeloop_components.train.golden import golden_document
from edgeloop_node.server import model as node

ROWS = np.array([[0.5, 2.0], [math.nan, 1.0]], dtype=np.float32)


def step(rows: Any) -> tuple[Any, Any]:
    """As a tree: infinity is far to the right."""
    first = np.where(rows[:, 0] <= 1.0, 0.25, 0.75)
    probabilities = np.stack([first, 1 - first], axis=1).astype(np.float32)
    return probabilities.argmax(axis=1), probabilities


def softmax(rows: Any) -> tuple[Any, Any]:
    """As a linear model: a sum that meets infinity is NaN."""
    with np.errstate(all="ignore"):
        shifted = rows - rows.max(axis=1, keepdims=True)
        probabilities = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    return np.zeros(len(rows), np.int64), probabilities.astype(np.float32)


def test_a_tree_keeps_its_infinite_rows_and_everyone_reads_them(tmp_path: Path) -> None:
    """Both signs, as texts in JSON, infinities again for the compile step and for the node."""
    document = golden_document(ROWS, step)
    assert document["rows"][1][0] is None
    assert {value for row in document["rows"] for value in row if isinstance(value, str)} == {"inf", "-inf"}
    path = tmp_path / "golden.json"
    path.write_text(json.dumps(document, allow_nan=False))
    golden = read_golden(path)
    assert np.isposinf(golden.rows).any()
    assert np.isneginf(golden.rows).any()
    assert (golden.probabilities == step(golden.rows)[1]).all()
    assert np.array(node._golden(path).rows, dtype=np.float32).tobytes() == golden.rows.tobytes()


def test_what_has_no_sound_answer_is_left_out() -> None:
    """A softmax of infinity is NaN; such rows are no golden rows, and the others stay."""
    document = golden_document(np.array([[0.5, 2.0]], dtype=np.float32), softmax)
    assert len(document["rows"]) == len(document["labels"]) == len(document["probabilities"])
    for row, answer in zip(document["rows"], document["probabilities"], strict=True):
        assert all(math.isfinite(p) for p in answer), row


def test_other_texts_are_no_numbers(tmp_path: Path) -> None:
    """Only inf and -inf."""
    (tmp_path / "golden.json").write_text('{"rows": [["1.5"]], "probabilities": [[1.0]], "labels": [0]}')
    with pytest.raises(ModelError, match="expected rows, probabilities and labels"):
        read_golden(tmp_path / "golden.json")


def test_limits_grow_with_what_calibration_multiplies() -> None:
    """Without one they are the runtime's; near 0 behind a power below 1 they are larger, and never above the self-test's."""
    rows = np.array([[0.5, 0.5], [0.99, 0.01], [1.0, 0.0]])
    assert row_limits(rows, 1.0, 1e-6).tolist() == [1e-6] * 3
    plain, small, none = row_limits(rows, 0.5, 1e-6)
    assert plain == 1e-6
    assert 1e-6 < small <= none == MOST
    assert row_limits(rows, 2.0, 1e-6).tolist() == [2e-6] * 3
