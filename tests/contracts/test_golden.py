"""golden.json of a model without classes: what is read comes back, and what does not fit is named."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from edgeloop_contracts import ContractError
from edgeloop_contracts.golden import class_tensors, golden_tensors, texts_of

DOCUMENT: dict[str, Any] = {
    "rows": [[0.5, None], ["inf", 2]],
    "input": {"name": "X", "shape": [2]},
    "outputs": [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "scale": 40, "data": [[1, None], ["-inf", 2.5]]},
        {"name": "state", "datatype": "INT64", "shape": [], "texts": ["off", "on"], "data": [[1], [0]]},
    ],
}


def test_rows_and_answers_are_read() -> None:
    """Null is NaN, the texts are infinities; tensors describe themselves as the Open Inference Protocol does."""
    golden = golden_tensors(DOCUMENT)
    assert golden.rows[1] == (math.inf, 2.0)
    assert math.isnan(golden.rows[0][1])
    assert golden.input.metadata() == {"name": "X", "datatype": "FP32", "shape": [-1, 2]}
    assert [tensor.metadata()["shape"] for tensor in golden.outputs] == [[-1, 1, 2], [-1]]
    assert golden.answers[0][1] == (-math.inf, 2.5)
    assert golden.answers[1] == ((1,), (0,))
    assert texts_of(golden.outputs) == {"state": ["off", "on"]}
    assert [tensor.scale for tensor in golden.outputs] == [40.0, 1.0]


def test_a_document_without_scales_is_as_before() -> None:
    """Written by an older version: differences are measured against the row itself, absolutely up to 1."""
    document = copy.deepcopy(DOCUMENT)
    del document["outputs"][0]["scale"]
    assert golden_tensors(document).outputs[0].scale == 1.0


def test_a_classifiers_outputs() -> None:
    """A label without an axis, and a probability for each class."""
    assert [(t.name, t.datatype, t.shape, t.width) for t in class_tensors(3)] == [
        ("label", "INT64", (), 1),
        ("probabilities", "FP32", (3,), 3),
    ]


WRONG: list[tuple[list[Any], Any, str]] = [
    ([], [1], "input: expected a JSON object"),
    (["input"], None, "input: expected a JSON object"),
    (["input", "shape"], [2, 0], "input.shape: expected sizes above 0"),
    (["input", "shape"], [3], "rows[0]: expected 3 values, as the shape [3] says, got 2"),
    (["rows"], [], "rows: expected at least one row"),
    (["rows", 1], [1.0, "many"], "rows[1][1]: expected a number, null"),
    (["rows", 1], [1.0, True], "rows[1][1]: expected a number, null"),
    (["outputs"], [], "outputs: expected at least one, each name once, got none"),
    (["outputs", 0], 3, "outputs[0]: expected an object"),
    (["outputs", 0, "name"], "state", "outputs: expected at least one, each name once, got state, state"),
    (["outputs", 0, "name"], "", "outputs[0].name: expected text"),
    (["outputs", 0, "datatype"], "FP64", "outputs[0].datatype: expected one of FP32, INT64, got 'FP64'"),
    (["outputs", 0, "data"], [[1, 2]], "outputs[0].data: expected 2 rows, as many as rows, got 1"),
    (["outputs", 0, "data", 1], [1], "outputs[0].data[1]: expected 2 values, as the shape [1, 2] says, got 1"),
    (["outputs", 1, "data", 1], [0.5], "outputs[1].data[1][0]: expected a whole number of 64 bits, got 0.5"),
    (["outputs", 1, "data", 1], [2**63], "outputs[1].data[1][0]: expected a whole number of 64 bits"),
    (["outputs", 0, "scale"], 0.5, "outputs[0].scale: expected a finite number from 1 on, got 0.5"),
    (["outputs", 0, "scale"], math.nan, "outputs[0].scale: expected a finite number from 1 on, got nan"),
    (["outputs", 0, "scale"], math.inf, "outputs[0].scale: expected a finite number from 1 on, got inf"),
    (["outputs", 0, "scale"], None, "outputs[0].scale: expected a finite number from 1 on, got None"),
    (["outputs", 0, "scale"], True, "outputs[0].scale: expected a finite number from 1 on, got True"),
    (["outputs", 1, "scale"], 2.0, "outputs[1].scale: expected none of INT64, whose values must be equal, got 2.0"),
    (["outputs", 1, "texts"], [1], "outputs[1].texts: expected a list of texts"),
]


@pytest.mark.parametrize(("path", "value", "says"), WRONG)
def test_what_does_not_fit_is_named(path: list[Any], value: Any, says: str) -> None:
    """The place, what was expected, and what was found."""
    document = copy.deepcopy(DOCUMENT) if path else value
    at = document
    for key in path[:-1]:
        at = at[key]
    if path:
        at[path[-1]] = value
    with pytest.raises(ContractError) as raised:
        golden_tensors(document)
    assert says in str(raised.value)
