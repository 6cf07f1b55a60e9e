"""A project for a vendor's tools, by hls4ml: emitted and checked with g++, never built here.

Of dense layers: hls4ml (Vitis, Quartus, oneAPI, Catapult, Libero) gets them as MatMul, Add and Relu; inputs are scaled by the
host, as for a design of edgeloop's own. hls4ml is not in edgeloop's lock; what it emits has the status `emitted, not built`.
Refuses with VendorMissing where hls4ml is not installed, and with Unsupported what is no network of dense layers.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.fpga.quantise import read
from edgeloop_components.fpga.quantise.model import Dense
from edgeloop_components.fpga.quantise.reading import shares_of
from edgeloop_components.onnxgraph import Unsupported

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = ["BACKENDS", "STATUS", "VendorMissing", "emit_project"]

BACKENDS = ("Vitis", "Quartus", "oneAPI", "Catapult", "Libero")
STATUS = "emitted, not built"
NEEDED = ("hls4ml", "qonnx")
OPSET = 13
STATUS_FILE = "status.json"


class VendorMissing(RuntimeError):  # noqa: N818 - it is read as a sentence
    """hls4ml is not installed."""

    exit_code = 3
    hint = "pip install hls4ml qonnx (optional: not in edgeloop's lock); trees: conifer, which edgeloop does not call"


def emit_project(
    path: Path, rows: Rows, labels: npt.NDArray[np.int64], out: Path, *, backend: str, precision: str
) -> dict[str, Any]:
    """Writes the project and status.json into `out`; runs its C simulation on the rows and compares with the labels.

    VendorMissing, Unsupported, ModelError; what hls4ml refuses comes as it is.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise VendorMissing(f"expected the Python packages {' and '.join(NEEDED)}, found no {' and no '.join(missing)}")
    core = shares_of(read(path)).core
    if not isinstance(core, Dense):
        raise Unsupported(f"{path}: expected dense layers for hls4ml, found trees (conifer takes some of them)")
    with _quiet():
        project = _converted(core, out, backend, precision)
        project.write()
        project.compile()
        found = project.predict(_prepared(core, rows))
    status = {
        "status": STATUS,
        "backend": backend,
        "precision": precision,
        "agreement": float((_labels(found) == labels).mean()),
        "rows": len(rows),
        "simulated": "C simulation by g++",
        "tools": {name: importlib.metadata.version(name) for name in NEEDED},
    }
    (out / STATUS_FILE).write_text(json.dumps(status, indent=1) + "\n")
    return status


def _converted(core: Dense, out: Path, backend: str, precision: str) -> Any:
    import hls4ml
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    model = cleanup_model(ModelWrapper(_network(core)))
    settings = hls4ml.utils.config_from_onnx_model(
        model, granularity="model", backend=backend, default_precision=precision
    )
    return hls4ml.converters.convert_from_onnx_model(
        model, hls_config=settings, output_dir=os.fspath(out), backend=backend, project_name="edgeloop"
    )


def _network(core: Dense) -> Any:
    """The layers as MatMul, Add and Relu, which hls4ml reads."""
    import numpy as np
    import onnx

    make, nodes, constants, last = onnx.helper, [], [], "x"
    for place, layer in enumerate(core.layers):
        values: Mapping[str, Any] = {f"w{place}": layer.weights.T, f"b{place}": layer.biases}
        constants += [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
        nodes += [
            make.make_node("MatMul", [last, f"w{place}"], [f"m{place}"]),
            make.make_node("Add", [f"m{place}", f"b{place}"], [f"a{place}"]),
        ]
        last = f"a{place}"
        if place < len(core.layers) - 1 or core.rectified:
            nodes.append(make.make_node("Relu", [last], [f"r{place}"]))
            last = f"r{place}"
    ends = [
        make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, width])
        for name, width in (("x", len(core.columns)), (last, core.outputs))
    ]
    graph = make.make_graph(nodes, "edgeloop", ends[:1], ends[1:], constants)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)])
    return onnx.shape_inference.infer_shapes(model)


def _prepared(core: Dense, rows: Rows) -> Rows:
    """What the host gives to the layers. Unsupported for steps that are no arithmetic."""
    import numpy as np

    done: Mapping[str, Callable[[Any, float], Any]] = {
        "add": lambda x, v: x + np.float32(v),
        "sub": lambda x, v: x - np.float32(v),
        "mul": lambda x, v: x * np.float32(v),
        "div": lambda x, v: x / np.float32(v),
        "fill": lambda x, v: np.where(np.isnan(x), np.float32(v), x),
    }
    columns = []
    for column in core.columns:
        values = rows[:, column.feature]
        for kind, number in column.steps:
            if kind not in done:
                raise Unsupported(
                    f"feature {column.feature}: expected {', '.join(done)} before the layers, found {kind}"
                )
            values = done[kind](values, number)
        columns.append(values)
    return np.ascontiguousarray(np.stack(columns, axis=1), dtype=np.float32)


def _labels(scores: Any) -> npt.NDArray[np.int64]:
    import numpy as np

    values = np.asarray(scores)
    one = values.ndim == 1 or values.shape[1] == 1
    found: npt.NDArray[np.int64] = (values.ravel() > 0).astype(np.int64) if one else values.argmax(axis=1)
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What hls4ml and the compilers it starts say goes to standard error, not among results."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
