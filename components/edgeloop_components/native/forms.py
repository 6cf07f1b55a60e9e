"""What is accepted of each operator, and what is refused, as the documentation has it: a row for every row of OPERATORS.

`markdown` makes docs/native-operators.md; a test holds the page and the table of operators together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from edgeloop_components.native.operators import OPERATORS

__all__ = ["FORMS", "Form", "markdown"]


class Form(NamedTuple):
    """The operator sets in which an operator is known, the forms that are accepted, and those that are refused."""

    versions: str
    accepted: str
    refused: str = ""


BROADCAST = "the batch axis meeting another axis; before operator set 7, other than equal shapes"
FLOATS, NUMBERS = "float32, float64", "float32, float64, int64, int32"
TABLES = "attribute of operator sets before {}, constant input since"
ROWS: Mapping[str, Form] = {
    "Abs Neg Sign Relu": Form("1-26", NUMBERS),
    "Exp Log Sqrt Reciprocal IsNaN": Form("1-26", FLOATS),
    "IsInf": Form("10-26", "float32; detect_positive, detect_negative", "float64"),
    "Not": Form("1-26", "bool"),
    "Celu": Form("12-26", "float32", "float64; an alpha of 0 or less"),
    "Ceil Elu Erf Floor HardSigmoid HardSwish LeakyRelu Mish Round": Form(
        "1-26", "float32, with all attributes", "float64"
    ),
    "Selu Sigmoid Softplus Softsign Swish Tanh ThresholdedRelu": Form(
        "1-26", "float32, with all attributes", "float64"
    ),
    "Gelu": Form("20-26", "float32; approximate none and tanh", "float64"),
    "Add Sub Mul": Form("1-26", f"{NUMBERS} (integers wrap around); numpy's broadcasting", BROADCAST),
    "Div": Form("1-26", f"{NUMBERS}; numpy's broadcasting", f"integers divided by what varies or is 0; {BROADCAST}"),
    "Less Greater LessOrEqual GreaterOrEqual": Form("1-26", f"{NUMBERS}; numpy's broadcasting", BROADCAST),
    "Equal": Form("1-26", f"{NUMBERS}, bool; numpy's broadcasting", f"text; {BROADCAST}"),
    "And Or Xor": Form("1-26", "bool; numpy's broadcasting", BROADCAST),
    "PRelu": Form("7-26", "float32; slopes that broadcast to the input", BROADCAST),
    "Max Min": Form("1-26", f"{NUMBERS}; any number of inputs; NaN wins", "two constants before what varies"),
    "Sum Mean": Form("1-26", f"{FLOATS}; any number of inputs", "two constants before what varies"),
    "Pow": Form("1-26", f"float32 to the power of {NUMBERS}", "integers and float64 as base"),
    "Where": Form("9-26", f"{NUMBERS}, bool", "text"),
    "Clip": Form(
        "1-26",
        f"{NUMBERS}; bounds: {TABLES.format(11)}; without a bound, infinity becomes the largest float",
        "bounds that vary, NaN",
    ),
    "Cast": Form(
        "6-26",
        "between float32, float64, int64, int32, bool; text to text; "
        "NaN and what does not fit become the lowest integer, as on linux/amd64",
        "other types; between numbers and text",
    ),
    "Identity": Form("1-26", "everything"),
    "Dropout": Form("1-26", "inference", "training; its mask"),
    "Reshape": Form(
        "1-26",
        "constant shape with 0 or -1 for the batch",
        "a shape that fixes the batch or joins it with another axis",
    ),
    "Flatten": Form("1-26", "axis 1, and axes that keep the batch apart", "axes that join the batch with others"),
    "Shape": Form("1-26", "as the shape of Reshape and ConstantOfShape", "in any other place"),
    "ConstantOfShape": Form("9-26", "of what Shape gives"),
    "Squeeze Unsqueeze": Form("1-26", f"axes: {TABLES.format(13)}", "Squeeze without axes, or of the batch"),
    "Transpose": Form("1-26", "orders that leave the batch first", "others"),
    "Concat": Form("1-26", "along axes of the row", "along the batch; constants among the inputs"),
    "Split": Form("1-26", f"sizes: {TABLES.format(13)}; num_outputs", "along the batch"),
    "Slice": Form("1-26", f"starts, ends, axes, steps: {TABLES.format(10)}; negative steps", "of the batch"),
    "Gather": Form("1-26", "constant indices along axes of the row", "along the batch; indices that vary"),
    "Expand Tile": Form("7-26", "constant shape or repeats", "of the batch"),
    "Pad": Form("2-26", f"mode constant; pads: {TABLES.format(11)}", "other modes; pads of the batch or below 0"),
    "ReduceSum ReduceProd ReduceSumSquare": Form(
        "1-26",
        f"{NUMBERS}; axes: {TABLES.format('13 (ReduceSum), 18 (others)')}; keepdims",
        "along the batch, and so without axes",
    ),
    "ReduceMax ReduceMin": Form(
        "1-26",
        f"{NUMBERS}; axes: {TABLES.format(18)}; keepdims; NaN stays only as the first element (onnxruntime: it depends)",
        "along the batch, and so without axes",
    ),
    "ReduceMean": Form(
        "1-26", f"{FLOATS}; axes: {TABLES.format(18)}; keepdims", "along the batch, and so without axes"
    ),
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp": Form(
        "1-26", f"float32; axes: {TABLES.format(18)}; keepdims", "along the batch, and so without axes"
    ),
    "LpNormalization": Form("1-26", "float32; p 1 and 2; a norm of 0 gives 0", "along the batch"),
    "LayerNormalization": Form("17-26", "float32; constant scale and bias", "its mean and deviation as outputs"),
    "InstanceNormalization": Form("6-26", "float32; constant scale and bias"),
    "BatchNormalization": Form(
        "1-26", "float32, inference, constant statistics", "training; statistics for each position"
    ),
    "Conv": Form(
        "1-26",
        "float32, one or two axes; groups, strides, dilations, pads, auto_pad; constant weights and bias",
        "three axes; weights that vary",
    ),
    "MaxPool": Form(
        "1-26",
        "float32, one or two axes; strides, dilations, pads, auto_pad, ceil_mode; NaN is skipped",
        "three axes; Indices",
    ),
    "AveragePool": Form(
        "1-26",
        "float32, one or two axes; strides, dilations, pads, auto_pad, ceil_mode, count_include_pad",
        "three axes",
    ),
    "GlobalMaxPool GlobalAveragePool": Form("1-26", "float32, one axis or more"),
    "MatMul": Form(
        "1-26", f"{FLOATS}; a constant matrix on either side, or two that vary of equal leading sizes", "other shapes"
    ),
    "Gemm": Form(
        "1-26", f"{FLOATS}; rows times a constant matrix; transB, alpha, beta", "transA; a matrix that varies"
    ),
    "Softmax LogSoftmax": Form("1-26", f"{FLOATS}; any axis of the row", "along the batch"),
    "ArgMax ArgMin": Form("1-26", "any axis of the row; keepdims, select_last_index", "along the batch"),
}
ML_ROWS: Mapping[str, Form] = {
    "ArrayFeatureExtractor": Form(
        "1-5",
        "columns by constant indices; labels by an index that varies (out of range: the first, where onnxruntime fails)",
    ),
    "ZipMap": Form("1-5", "left out: the scores come out as the tensor that they were"),
    "Binarizer": Form("1-5", "float32; NaN stays NaN, where onnxruntime fails"),
    "FeatureVectorizer": Form("1-5", f"rows of {NUMBERS}", "inputdimensions that differ from the inputs"),
    "Imputer": Form("1-5", "float32 and int64 rows; one value, or one a feature"),
    "LabelEncoder": Form(
        "1-5",
        "keys that are numbers; values that are numbers, or text as a final label; "
        "default values; tensors of operator set 4",
        "text as keys",
    ),
    "OneHotEncoder": Form(
        "1-5",
        "cats_int64s over float32, float64, int64; zeros 1",
        "text; zeros 0, which must fail at unknown categories",
    ),
    "Scaler": Form("1-5", f"rows of {NUMBERS}; one value, or one a feature"),
    "Normalizer": Form("1-5", "rows; MAX, L1, L2"),
    "LinearClassifier": Form("1-5", "rows of numbers; all post transforms", "PROBIT of one sum for two classes"),
    "LinearRegressor": Form("1-5", "rows of numbers; all post transforms", "a post transform of one target"),
    "SVMClassifier SVMRegressor": Form("1-5", "rows of numbers; all kernels; probabilities", "post transforms"),
    "TreeEnsembleClassifier TreeEnsembleRegressor": Form(
        "1-5",
        "all modes, aggregates, post transforms, missing values; text labels",
        "float64 tensors; a single class; labels that depend on classes which only some leaves pay",
    ),
    "TreeEnsemble": Form(
        "5", "all modes, set membership, aggregates, post transforms, missing values", "float64 tensors"
    ),
}
FORMS: Mapping[tuple[str, str], Form] = {
    **{("", op): form for ops, form in ROWS.items() for op in ops.split()},
    **{("ai.onnx.ml", op): form for ops, form in ML_ROWS.items() for op in ops.split()},
}
HEAD = """# Operators of the native runtime

Made from the table of operators by `pytest --regenerate tests/components/test_native_operators.py`; do not edit.

A graph has one float32 input `[N, ...]` whose rows have a fixed size, and gives out float32, int64 or text. N is the batch.
What is not in this table, and every form that is refused, stops the compilation with the operator's name, the node, and the
way out: the runtime onnxruntime, on linux/amd64 and linux/arm64. A file that no runtime of edgeloop takes (an input that is not
float32, rows of no fixed size, operators that draw at random) is refused without one. Every row is tested against onnxruntime
on one thread with random graphs and values.

What depends on constants only is computed when the model is compiled, by onnxruntime, whatever the operator; its result may have
64 MiB.

Results are within 1e-6 of onnxruntime's, or 2e-6 of their size; sums of many terms within the rounding of their order. NaN and
infinity are passed on as onnxruntime does, except where this table says so. The same bits come out on every processor.

| operator | operator sets | accepted | refused |
|---|---|---|---|
"""


def markdown() -> str:
    """docs/native-operators.md: the operators there are, in the order of their names."""
    return HEAD + "".join(_row(key, FORMS[key]) for key in sorted(OPERATORS, key=lambda key: (key[0], key[1].lower())))


def _row(key: tuple[str, str], form: Form) -> str:
    domain, op = key
    return f"| {f'{domain}.' if domain else ''}{op} | {form.versions} | {form.accepted} | {form.refused or '-'} |\n"
