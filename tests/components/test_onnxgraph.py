"""The ONNX reader: pruned, ordered, folded; whatever is in a file, it is a graph, or refused with a message."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeloop_components.native import Emitted, emit
from edgeloop_components.onnxgraph import Unsupported, graph_of, read_graph
from edgeloop_components.runtimes import ModelError


def model_of(
    nodes: list[Any], *, shape: tuple[Any, ...] = ("N", 3), outputs: tuple[str, ...] = ("Y",), **weights: Any
) -> Any:
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, shape)]
    given_ = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(
        helper.make_graph(nodes, "g", taken, given_, constants), opset_imports=opsets, ir_version=8
    )


def test_only_what_the_outputs_need_is_left_and_in_order() -> None:
    """Nodes in any order come out in one that works; those that nobody needs, and their weights, are gone."""
    nodes = [
        helper.make_node("Neg", ["b"], ["Y"]),
        helper.make_node("Neg", ["unused weight"], ["unused"]),
        helper.make_node("Neg", ["a"], ["b"]),
        helper.make_node("Neg", ["X"], ["a"]),
    ]
    graph = graph_of(model_of(nodes, **{"unused weight": np.ones(3, np.float32)}))
    assert [node.outputs[0] for node in graph.nodes] == ["a", "b", "Y"]
    assert not graph.constants


def test_constants_are_folded() -> None:
    """What depends on constants only is computed once, here."""
    nodes = [
        helper.make_node("Constant", [], ["c"], value_floats=[1.0, 2.0, 3.0]),
        helper.make_node("Cast", ["c"], ["i"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["i", "axes"], ["u"]),
        helper.make_node("Cast", ["u"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["X", "f"], ["Y"]),
    ]
    graph = graph_of(model_of(nodes, axes=np.array([0])))
    assert [node.op for node in graph.nodes] == ["Add"]
    assert graph.constants["f"].tolist() == [[1.0, 2.0, 3.0]]


CONSTANTS: dict[str, tuple[str, dict[str, Any], list[np.ndarray], np.ndarray]] = {
    "Exp": ("", {}, [np.float32([0.5, 2])], np.exp(np.float32([0.5, 2]))),
    "Add": ("", {}, [np.float32([1, 2]), np.float32([3])], np.float32([4, 5])),
    "MatMul": ("", {}, [np.float32([[1, 2]]), np.float32([[3], [4]])], np.float32([[11]])),
    "Tile": ("", {}, [np.int64([1, 2]), np.int64([2])], np.int64([1, 2, 1, 2])),
    "ReduceSum": ("", {"keepdims": 0}, [np.float64([1, 2]), np.int64([0])], np.float64(3)),
    "Transpose": ("", {"perm": [1, 0]}, [np.float32([[1, 2]])], np.float32([[1], [2]])),
    "ConstantOfShape": (
        "",
        {"value": onnx.numpy_helper.from_array(np.int32([7]))},
        [np.int64([3])],
        np.int32([7, 7, 7]),
    ),
    "Scaler": ("ai.onnx.ml", {"offset": [1.0], "scale": [2.0]}, [np.float32([[2, 3]])], np.float32([[2, 4]])),
    "LabelEncoder": (
        "ai.onnx.ml",
        {"keys_int64s": [1, 2], "values_strings": ["a", "b"]},
        [np.int64([2, 1])],
        np.array(["b", "a"], dtype=object),
    ),
}


@pytest.mark.parametrize("op", CONSTANTS)
def test_any_operator_of_constants_is_computed_beforehand(op: str) -> None:
    """Arithmetic, shapes, attributes of every kind, texts: the node is gone, and the constant is what it gives."""
    domain, attributes, inputs, expected = CONSTANTS[op]
    weights = {f"w{place}": array for place, array in enumerate(inputs)}
    folded = helper.make_node(op, list(weights), ["c"], domain=domain, **attributes)
    graph = graph_of(model_of([folded, helper.make_node("Custom", ["X", "c"], ["Y"])], **weights))
    assert [node.op for node in graph.nodes] == ["Custom"]
    found = graph.constants["c"]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if op == "Exp":
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    else:
        assert found.tolist() == expected.tolist()


def test_all_outputs_of_a_node_of_constants_are_computed() -> None:
    """Also those after the first."""
    nodes = [helper.make_node("Split", ["w"], ["a", "b"], axis=0), helper.make_node("Sum", ["X", "a", "b"], ["Y"])]
    graph = graph_of(model_of(nodes, w=np.float32([1, 2])))
    assert (graph.constants["a"].tolist(), graph.constants["b"].tolist()) == ([1.0], [2.0])


def test_constants_are_not_computed_without_bounds() -> None:
    """A few bytes of file that stand for 120 GB are refused before memory is asked for."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["X", "c"], ["Y"])]
    with pytest.raises(ModelError, match=r"ConstantOfShape 'c'.*expected at most 67108864 bytes.*found 120000000000"):
        graph_of(model_of(nodes, s=np.array([100_000, 100_000, 3])))


def test_constants_that_no_operator_takes_are_refused_by_the_node() -> None:
    """Sizes that do not fit are the node's fault, and named so."""
    nodes = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Add", ["X", "c"], ["Y"])]
    with pytest.raises(ModelError, match=r"MatMul 'c': its inputs"):
        graph_of(model_of(nodes, a=np.ones((2, 3), np.float32), b=np.ones((2, 3), np.float32)))


@pytest.mark.parametrize(
    ("op", "inputs"),
    [("RandomNormal", []), ("RandomUniformLike", ["X"]), ("Bernoulli", ["w"]), ("Multinomial", ["w"])],
)
def test_operators_that_draw_are_refused_by_name(op: str, inputs: list[str]) -> None:
    """Of constants and of rows; no runtime is named as a way out, for none could be compared."""
    sizes = {"shape": [3]} if op == "RandomNormal" else {}
    nodes = [helper.make_node(op, inputs, ["c"], **sizes), helper.make_node("Add", ["X", "c"], ["Y"])]
    with pytest.raises(Unsupported, match=rf"ai.onnx.{op} 'c'.*at random") as caught:
        graph_of(model_of(nodes, w=np.full((1, 3), 0.5, np.float32)))
    assert "use the runtime" not in str(caught.value)


def test_some_outputs_can_be_chosen() -> None:
    """What the others need is pruned; an output that is not there is named."""
    nodes = [helper.make_node("Neg", ["X"], ["Y"]), helper.make_node("Abs", ["X"], ["Z"])]
    model = model_of(nodes, outputs=("Y", "Z"))
    assert [node.op for node in graph_of(model, ["Z"]).nodes] == ["Abs"]
    with pytest.raises(ModelError, match="'W'"):
        graph_of(model, ["W"])


NEG = helper.make_node("Neg", ["X"], ["Y"])
REFUSED: dict[str, tuple[Any, str]] = {
    "a cycle": ([helper.make_node("Add", ["X", "Y"], ["a"]), helper.make_node("Neg", ["a"], ["Y"])], "cycle"),
    "a tensor that is not there": ([helper.make_node("Add", ["X", "b"], ["Y"])], "nothing computes"),
    "a tensor twice": ([NEG, helper.make_node("Abs", ["X"], ["Y"])], "already there"),
    "an operator set that is not imported": ([helper.make_node("Neg", ["X"], ["Y"], domain="my.own")], "not imported"),
    "constants that do not fit": (
        [helper.make_node("Reshape", ["w", "s"], ["r"]), helper.make_node("Add", ["X", "r"], ["Y"])],
        "do not fit",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_graphs_that_are_none_are_refused(what: str) -> None:
    """With a message that says what is wrong, and where."""
    nodes, text = REFUSED[what]
    weights = {"w": np.ones(3, np.float32), "s": np.array([2, 2])} if "constants" in what else {}
    with pytest.raises(ModelError, match=text):
        graph_of(model_of(nodes, **weights))


@pytest.mark.parametrize("shape", [("N", "M"), ("N", None), ("N", 0), ()])
def test_rows_need_a_fixed_size(shape: tuple[Any, ...]) -> None:
    """An input whose rows vary in size is refused."""
    with pytest.raises(Unsupported, match="input"):
        graph_of(model_of([NEG], shape=shape))


def test_weights_in_other_files_are_never_read(tmp_path: Path) -> None:
    """A model cannot make the reader open a file."""
    model = model_of([helper.make_node("Add", ["X", "w"], ["Y"])], w=np.ones(3, np.float32))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(Unsupported, match="another file"):
        read_graph(tmp_path / "m.onnx")


@pytest.mark.parametrize("sizes", [[1 << 40], [1 << 31, 1 << 31], [-1], [5]])
def test_sizes_that_do_not_fit_the_values_are_refused(sizes: list[int]) -> None:
    """Huge, negative or wrong sizes of a weight."""
    model = model_of([helper.make_node("Add", ["X", "w"], ["Y"])], w=np.ones(3, np.float32))
    model.graph.initializer[0].dims[:] = sizes
    with pytest.raises(ModelError, match="'w'"):
        graph_of(model)


def test_names_cannot_write_code() -> None:
    """Names of a file come into the C text as escaped strings only."""
    evil = 'Y"; int evil(void) { return 1; } /*??/\n*/ //'
    model = model_of([helper.make_node("Neg", ["X"], [evil], name="*/ int evil; /*")], outputs=(evil,))
    emitted = emit(graph_of(model))
    assert "int evil" not in emitted.source.replace(r"int evil\050", "") or r"\042" in emitted.source
    assert "*/ int evil" not in emitted.source
    assert "??" not in emitted.source


def valid_models() -> list[bytes]:
    """A dense layer, a forest, a linear classifier with texts: what mutations start from."""
    rng = np.random.default_rng(0)
    dense = model_of(
        [helper.make_node("Gemm", ["X", "W"], ["z"]), helper.make_node("Softmax", ["z"], ["Y"], axis=1)],
        W=rng.normal(size=(3, 4)).astype(np.float32),
    )
    trees = helper.make_node(
        "TreeEnsembleRegressor", ["X"], ["Y"], domain="ai.onnx.ml", n_targets=1,
        nodes_treeids=[0, 0, 0], nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0], nodes_values=[0.5, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
        target_treeids=[0, 0], target_nodeids=[1, 2], target_ids=[0, 0], target_weights=[1.0, 2.0],
    )  # fmt: skip
    linear = helper.make_node(
        "LinearClassifier", ["X"], ["label", "Y"], domain="ai.onnx.ml", coefficients=[0.5] * 6, intercepts=[0.1, 0.2],
        classlabels_strings=["a", "b"], post_transform="SOFTMAX",
    )  # fmt: skip
    return [one.SerializeToString() for one in (dense, model_of([trees]), model_of([linear]))]


@settings(max_examples=400)
@given(
    st.integers(0, 2),
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from("setxdi"), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    ),
)
@example(which=2, changes=[(0.0625, "e", 7)])  # a name that is not UTF-8
def test_whatever_is_in_a_file_it_works_or_is_refused(which: int, changes: list[tuple[float, str, int]]) -> None:
    """Bytes set, flipped, removed, inserted: code comes out, or a ModelError; never another exception."""
    data = bytearray(valid_models()[which])
    for where, how, value in changes:
        place = int(where * len(data))
        if how == "d":
            del data[place : place + 1 + value % 4]
        elif how == "i":
            data[place:place] = bytes([value])
        else:
            data[place : place + 1] = bytes([value if how == "s" else data[place] ^ (1 << value % 8)]) if data else b"x"
    model = onnx.ModelProto()
    try:
        model.ParseFromString(bytes(data))
    except Exception:  # protobuf's own errors: read_model turns them into ModelError
        return
    with contextlib.suppress(ModelError):
        assert isinstance(emit(graph_of(model)), Emitted)
