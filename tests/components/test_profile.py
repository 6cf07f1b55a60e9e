"""Profile: what is measured, and what follows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.profile.core import (
    BudgetError,
    ProfileError,
    profile,
    resources,
    sample_rows,
    within_budget,
)
from edgeloop_components.profile.measure import Measurement, percentile
from edgeloop_contracts import CalibrationMap, FeatureReference, Loop, Reference, dumps, from_json
from edgeloop_contracts.loop import Budget

FEATURES = (
    FeatureReference(name="a", kind="number", edges=(0.0, 1.0), minimum=-5.0, maximum=9.0),
    FeatureReference(name="k", kind="category", categories=("x", "y")),
)
FOUND = Measurement(rows=1000, latency_p50_ms=0.1, latency_p99_ms=0.4, cpu_ms=0.2, memory_peak_mib=60.0, load_ms=20.0)


def make_loop(**budget: float) -> Loop:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "small"},
        "data": {"source": "x.csv", "label": "y", "features": ["a", "k"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}, "budget": budget}],
    }
    return from_json(Loop, document)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real model with its reference."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[1.0, -1.0], [0.5, 0.25]], np.float32), "W")
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder = tmp_path_factory.mktemp("compiled")
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    reference = Reference(
        loop="small",
        schema_hash="0" * 16,
        rows=10,
        features=FEATURES,
        classes=("no", "yes"),
        calibration=CalibrationMap(x=(0.5,), y=(0.5,)),
    )
    (folder / "reference.json").write_text(dumps(reference))
    return folder


def test_a_real_process_is_measured(compiled: Path) -> None:
    """The figures hang together, the resources cover them, and the method says how it was measured."""
    loop = make_loop()
    found = profile(loop, loop.targets[0], compiled)
    assert 0 < found.latency_p50_ms <= found.latency_p99_ms < 1000
    assert found.load_ms > 0
    assert found.extra["rows"] >= 1000
    assert 20 < found.memory_peak_mib < found.memory_request_mib < found.memory_limit_mib
    assert found.memory_request_mib % 16 == found.memory_limit_mib % 16 == 0
    assert 1 <= found.cpu_request_m <= found.cpu_limit_m == 1000
    assert "in-process on the build machine, quick" in found.method


def test_memory_is_that_of_the_model_and_not_of_who_measures(compiled: Path) -> None:
    """A parent of 400 MiB does not make the model larger: the trap of getrusage after fork and exec."""
    loop = make_loop()
    ballast = np.ones(400 * 2**17)
    found = profile(loop, loop.targets[0], compiled, measure_s=0.01)
    assert ballast.sum() == 400 * 2**17
    assert found.memory_peak_mib < 200


def test_a_budget_is_refused_with_numbers(compiled: Path) -> None:
    """Every part that is broken is named, with what is allowed and what is needed."""
    loop = make_loop(memory_mib=32, latency_p99_ms=0.000001)
    with pytest.raises(
        BudgetError, match=r"latency_p99_ms: at most 1e-06, needs .*; memory_mib: at most 32, needs \d+"
    ):
        profile(loop, loop.targets[0], compiled, measure_s=0.01)


def test_a_model_that_cannot_be_measured_says_why(tmp_path: Path, compiled: Path) -> None:
    """The last words of the measuring process are in the message."""
    (tmp_path / "reference.json").write_bytes((compiled / "reference.json").read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    loop = make_loop()
    with pytest.raises(ProfileError, match="expected a model that onnxruntime can load"):
        profile(loop, loop.targets[0], tmp_path)


@given(
    st.floats(1, 4000),
    st.floats(0.001, 50),
    st.floats(0, 100),
    st.none() | st.floats(1, 5000),
    st.none() | st.floats(1, 4000),
)
def test_limits_are_never_below_requests(
    peak: float, cpu_ms: float, server: float, memory: float | None, cpu: float | None
) -> None:
    """Kubernetes refuses a request above its limit; and the request covers peak and server."""
    measured = Measurement(**{**FOUND.__dict__, "memory_peak_mib": peak, "cpu_ms": cpu_ms})
    found = resources(measured, Budget(memory_mib=memory, cpu_m=cpu), server)
    assert peak + server <= found.memory_request_mib <= found.memory_limit_mib
    assert 0 < found.cpu_request_m <= found.cpu_limit_m


def test_limits_keep_to_the_budget_where_the_model_does() -> None:
    """Head-room is cut at the budget, not the request."""
    found = resources(FOUND, Budget(memory_mib=100, cpu_m=250), server_mib=24)
    assert found == resources(FOUND, Budget(memory_mib=100.5, cpu_m=250.5), server_mib=24)
    assert (found.memory_request_mib, found.memory_limit_mib, found.cpu_request_m, found.cpu_limit_m) == (
        96,
        100,
        40,
        250,
    )


@pytest.mark.parametrize(("name", "most"), [("latency_p99_ms", 0.4), ("memory_mib", 96), ("cpu_m", 40)])
def test_a_budget_may_be_used_up_but_not_exceeded(name: str, most: float) -> None:
    """Exactly the budget passes; a little less is refused by its name."""
    for allowed, passes in ((most, True), (most * 0.99, False)):
        target = make_loop(**{name: allowed}).targets[0]
        wanted = resources(FOUND, target.budget, server_mib=24)
        if passes:
            within_budget(target, FOUND, wanted, 24)
        else:
            with pytest.raises(BudgetError, match=f"{name}: at most"):
                within_budget(target, FOUND, wanted, 24)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_a_percentile_is_a_value_that_was_seen(values: list[float]) -> None:
    """At least the share of the values does not exceed it, and fewer would not do."""
    for share in (0.5, 0.99):
        found = percentile(values, share)
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) - 1e-9
        assert sum(value < found for value in values) < share * len(values)


def test_sampled_rows_are_distinct_and_within_the_reference() -> None:
    """Branch prediction flatters a model that is asked the same again and again."""
    rows: list[list[Any]] = sample_rows(FEATURES, seed=1)
    assert len({json.dumps(row) for row in rows}) == len(rows) == 256
    assert all(-5.0 <= a <= 9.0 and k in (0.0, 1.0) for a, k in rows)
    assert sum(0.0 <= a <= 1.0 for a, _ in rows) > 40  # every bin equally often, not every length
