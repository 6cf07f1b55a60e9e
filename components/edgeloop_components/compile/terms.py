"""How much of an answer a support vector regression loses to rounding, which its answer does not show.

It is a sum of one term for each support vector. The coefficients of these sum to zero, each is as large as the training's C
allows, and what remains may be a thousandth of one of them: onnxruntime itself is then further from the true sum than 1e-5 of the
answer. So the size that a difference is measured against is at least that at which 1e-5 is a few units in the last place of the
terms, of this row. The terms are the model's own and are computed here in double, from its constants alone.

Knows graphs with one SVMRegressor, whose value goes out as it is. Of any other graph nothing is known, and nothing added; nor of
an operator whose attributes do not fit together, which the emitter refuses by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["ROUNDING", "term_sizes"]

OPERATOR = "SVMRegressor"
ROUNDING = 2.0**-23  # of the sum of the sizes of the terms: one unit in the last place of each
SAME = frozenset(("Identity", "Cast", "Reshape", "Flatten"))
AT_ONCE = 1 << 22  # numbers of a block


def term_sizes(model: Any, rows: Array, limit: float) -> Mapping[str, Array]:
    """For rows of an onnx.ModelProto's input: by the output's name a size for each row, so that `limit` of it is rounding.

    Rows whose terms are no numbers have the size 0. Empty for a graph of another form.
    """
    nodes = [node for node in model.graph.node if node.op_type == OPERATOR]
    output = _output(model, nodes[0].output[0]) if len(nodes) == 1 else ""
    given = {attribute.name: attribute for attribute in nodes[0].attribute} if output else {}
    if not output or ("one_class" in given and given["one_class"].i):
        return {}
    values = _values(model, nodes[0].input[0], rows)
    return {output: _sums(given, values) * (ROUNDING / limit)} if _fits(given, values.shape[1]) else {}


def _output(model: Any, name: str) -> str:
    """The graph's output that a tensor goes out as, through nothing but what keeps its values; empty where it does not."""
    outputs = {output.name for output in model.graph.output}
    while name not in outputs:
        users = [node for node in model.graph.node if name in node.input]
        if len(users) != 1 or users[0].op_type not in SAME:
            return ""
        name = users[0].output[0]
    return name


def _values(model: Any, name: str, rows: Array) -> Array:
    """What the operator is given for rows, float64 [n, features]."""
    import numpy as np
    import onnx

    from edgeloop_components.runtimes.onnxruntime import session

    if name == model.graph.input[0].name:
        return rows.reshape(len(rows), -1).astype(np.float64)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.output[:]
    changed.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    loaded = session(changed.SerializeToString())
    (given,) = loaded.get_inputs()
    size = given.shape[0] if isinstance(given.shape[0], int) else len(rows)
    whole = rows.reshape(-1, *given.shape[1:])
    parts = [loaded.run(None, {given.name: whole[start : start + size]})[0] for start in range(0, len(rows), size)]
    return np.concatenate(parts).reshape(len(rows), -1).astype(np.float64)


def _numbers(given: Mapping[str, Any], name: str) -> list[float]:
    return list(given[name].floats) if name in given else []


def _kernel(given: Mapping[str, Any]) -> str:
    return given["kernel_type"].s.decode(errors="replace") if "kernel_type" in given else "LINEAR"


def _fits(given: Mapping[str, Any], width: int) -> bool:
    """Whether the numbers of weights, vectors and parameters belong together; without vectors there is a weight a value."""
    weights, vectors = len(_numbers(given, "coefficients")), len(_numbers(given, "support_vectors"))
    sizes = vectors == weights * width if vectors else weights == width
    return sizes and _kernel(given) in KERNELS and len(_numbers(given, "kernel_params")) in (0, 3)


def _sums(given: Mapping[str, Any], values: Array) -> Array:
    """The sum of the sizes of all terms and the constant, for each row."""
    import numpy as np

    weights = np.abs(np.array(_numbers(given, "coefficients"), dtype=np.float64))
    table = np.array(_numbers(given, "support_vectors"), dtype=np.float64).reshape(-1, values.shape[1])
    gamma, offset, degree = _numbers(given, "kernel_params") or (0.0, 0.0, 0.0)
    block = max(1, AT_ONCE // max(1, table.size))
    with np.errstate(all="ignore"):
        if not len(table):
            sums = np.abs(values) @ weights
        else:
            parts = [values[start : start + block] for start in range(0, len(values), block)]
            size = KERNELS[_kernel(given)]
            sums = np.concatenate([size(part, table, gamma, offset, degree) @ weights for part in parts])
    sums += sum(map(abs, _numbers(given, "rho")[:1]))
    found: Array = np.where(np.isfinite(sums), sums, 0.0)
    return found


def _linear(rows: Array, table: Array, _gamma: float, _offset: float, _degree: float) -> Array:
    import numpy as np

    found: Array = np.abs(rows) @ np.abs(table.T)
    return found


def _poly(rows: Array, table: Array, gamma: float, offset: float, degree: float) -> Array:
    import numpy as np

    found: Array = (abs(gamma) * (np.abs(rows) @ np.abs(table.T)) + abs(offset)) ** degree
    return (1 + abs(degree)) * found  # a power multiplies by its degree what its base is off by


def _rbf(rows: Array, table: Array, gamma: float, _offset: float, _degree: float) -> Array:
    import numpy as np

    found: Array = np.exp(-gamma * ((rows[:, None, :] - table[None]) ** 2).sum(axis=2))
    return found


def _sigmoid(rows: Array, table: Array, _gamma: float, _offset: float, _degree: float) -> Array:
    import numpy as np

    return np.ones((len(rows), len(table)))


KERNELS: Mapping[str, Callable[[Array, Array, float, float, float], Array]] = {
    "LINEAR": _linear,
    "POLY": _poly,
    "RBF": _rbf,
    "SIGMOID": _sigmoid,
}
