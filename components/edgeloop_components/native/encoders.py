"""What prepares features and labels in ai.onnx.ml: Binarizer, FeatureVectorizer, Imputer, LabelEncoder, OneHotEncoder.

Texts are known only as final labels: a LabelEncoder may give them out, as numbers that stand for them. A table is searched
from its start, so that the first of equal keys counts; NaN as a key meets NaN since operator set 4. Binarizer leaves NaN as
it is, where onnxruntime fails.

Refuses texts that come in, and a OneHotEncoder that must report an unknown category (zeros = 0): code cannot refuse a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeloop_components.native.elementwise import FLOATS, NUMBERS, casted, elements
from edgeloop_components.native.strides import Inputs, literal, numbers, taken
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]

ML = "ai.onnx.ml"
UNKNOWN_TEXT = "_Unused"  # the operator set's default


def _binarizer(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("threshold")
    values = taken(node, inputs, 1, 1)
    kind = numbers(node, values, ("float32",))
    limit = literal(node.number("threshold", 0.0), kind)
    return elements(node, writer, values, kind, lambda x: f"{x} > {limit} ? 1.0f : {x} != {x} ? {x} : 0.0f")


def _feature_vectorizer(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("inputdimensions")
    values = taken(node, inputs, 1, len(inputs))
    sizes = node.integers("inputdimensions").tolist()
    if any(v.constant is not None or v.texts is not None or len(v.shape) != 1 or v.kind not in NUMBERS for v in values):
        raise node.refused("expected rows [N, C] of numbers")
    if sizes != [value.width for value in values]:
        raise node.refused(f"expected inputs of {sizes[:8]} values, found {[value.width for value in values][:8]}")
    out, at = writer.new("float32", (sum(sizes),)), 0
    for value in values:
        writer.loop(value.width, f"{out.name}[{at} + i] = (float){writer.at(value)}[i];")
        at += value.width
    return (out,)


def _imputer(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("imputed_value_floats", "imputed_value_int64s", "replaced_value_float", "replaced_value_int64")
    (value,) = taken(node, inputs, 1, 1)
    kind = numbers(node, [value], ("float32", "int64"))
    floats = kind == "float32"
    values: Any = node.numbers("imputed_value_floats") if floats else node.integers("imputed_value_int64s")
    if len(value.shape) != 1 or values.size not in (1, value.shape[0]):
        raise node.refused(
            f"expected rows [N, C] with 1 or C values to put in, found {values.size} for {list(value.shape)}"
        )
    replaced = node.number("replaced_value_float", 0.0) if floats else node.integer("replaced_value_int64", 0)
    missing = "@ != @" if replaced != replaced else f"@ == {literal(replaced, kind)}"  # noqa: PLR0124
    known = Value(kind, values.shape, constant=values)
    return elements(node, writer, (value, known), kind, lambda x, y: f"{missing.replace('@', x)} ? {y} : {x}")


def _one_hot(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("cats_int64s", "zeros")
    (value,) = taken(node, inputs, 1, 1)
    kind = numbers(node, [value], ("float32", "float64", "int64"))
    categories = node.integers("cats_int64s")
    if not node.integer("zeros", 1):
        raise node.refused(
            "a row with an unknown category would have to fail (zeros = 0), which code cannot do;"
            " train with handle_unknown='ignore'"
        )
    if not categories.size or len(set(categories.tolist())) != categories.size:
        raise node.wrong("expected categories that differ")
    out = writer.new("float32", (*value.shape, categories.size))
    table = writer.table(categories)
    x = casted(kind, "int64", "v") if kind in FLOATS else "v"
    writer.put(
        f"for (int i = 0; i < {value.width}; ++i) {{",
        f"const {value.c_type} v = {writer.at(value)}[i];",
        f"const int64_t n = {x};",
        f"for (int k = 0; k < {categories.size}; ++k) {out.name}[i * {categories.size} + k] = n == {table}[k] ? 1.0f : 0.0f;",
        "}",
    )
    return (out,)


def _label_encoder(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    (value,) = taken(node, inputs, 1, 1)
    kind = numbers(node, [value], ("float32", "int64", "float64", "int32"))
    keys, values, default = _tables(node)
    if str(keys.dtype) != kind or keys.size != values.size or not keys.size:
        raise node.refused(f"expected as many keys of {kind} as values, found {keys.dtype} keys")
    found, texts = values, None
    if values.dtype == object:
        texts = tuple(dict.fromkeys((*values.tolist(), default)))
        found, default = _places(values, texts), texts.index(default)
    out_kind = str(found.dtype)
    out = writer.new(out_kind, value.shape, texts)
    key, given = writer.table(keys), writer.table(found)
    nan = f" || (v != v && {key}[k] != {key}[k])" if kind in FLOATS and node.version >= 4 else ""
    writer.put(
        f"for (int i = 0; i < {value.width}; ++i) {{",
        f"const {value.c_type} v = {writer.at(value)}[i];",
        f"{out.c_type} found = {literal(default, out_kind)};",
        f"for (int k = 0; k < {keys.size}; ++k) if (v == {key}[k]{nan}) {{ found = {given}[k]; break; }}",
        f"{out.name}[i] = found;",
        "}",
    )
    return (out.alias(out.shape, value.batch_axis),)


def _places(values: Any, texts: tuple[str, ...]) -> Any:
    import numpy as np

    return np.array([texts.index(text) for text in values.tolist()], np.int64)


def _tables(node: Node) -> tuple[Any, Any, Any]:
    """Keys, values, and what stands for an unknown key, from the attributes of operator sets 1, 2 and 4."""
    import numpy as np

    if node.version < 2:
        node.only("classes_strings", "default_string", "default_int64")
        texts = np.array([*node.texts("classes_strings"), ""], dtype=object)[:-1]
        return np.arange(texts.size), texts, node.text("default_string", UNKNOWN_TEXT)
    kinds = ("strings", "int64s", "floats")
    names = [f"{side}_{kind}" for side in ("keys", "values") for kind in (*kinds, "tensor")]
    node.only(*names, "default_string", "default_int64", "default_float", "default_tensor")
    keys, _ = _table(node, "keys")
    values, kind = _table(node, "values")
    return keys, values, _default(node, kind, values)


def _table(node: Node, side: str) -> tuple[Any, str]:
    import numpy as np

    readers: Mapping[str, Any] = {
        "tensor": node.tensor, "floats": node.numbers, "int64s": node.integers,
        "strings": lambda name: np.array([*node.texts(name), ""], dtype=object)[:-1],
    }  # fmt: skip
    given = [kind for kind in readers if f"{side}_{kind}" in node.attributes]
    if len(given) != 1:
        raise node.wrong(f"expected one list of {side}, found {len(given)}")
    found = readers[given[0]](f"{side}_{given[0]}")
    if found.dtype == object and side == "keys":
        raise node.refused("texts as keys are not supported")
    return found.ravel(), given[0]


def _default(node: Node, kind: str, values: Any) -> Any:
    if kind == "tensor":
        given = node.tensor("default_tensor")
        if given is None or given.size != 1 or given.dtype != values.dtype:
            raise node.refused("expected a default_tensor of one element of the values' type")
        return given.ravel()[0]
    defaults: Mapping[str, Any] = {
        "floats": lambda: node.number("default_float", -0.0),
        "int64s": lambda: node.integer("default_int64", -1),
        "strings": lambda: node.text("default_string", UNKNOWN_TEXT),
    }
    return defaults[kind]()


OPERATORS: Mapping[tuple[str, str], Operator] = {
    (ML, "Binarizer"): _binarizer,
    (ML, "FeatureVectorizer"): _feature_vectorizer,
    (ML, "Imputer"): _imputer,
    (ML, "LabelEncoder"): _label_encoder,
    (ML, "OneHotEncoder"): _one_hot,
}
