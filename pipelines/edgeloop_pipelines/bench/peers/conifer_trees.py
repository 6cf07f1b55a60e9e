# mypy: ignore-errors
"""conifer's own conversion and simulation of a classifier of trees, one number format a process; JSON on the last line.

    python conifer_trees.py MODEL.onnx ROWS.npz OUT cpp|vhdl "ap_fixed<12,4>" ROWS

Two formats in one process would share one converter (conifer 1.11). Thresholds and rows are mapped to the whole range of the
format, feature by feature, as a host would do it: all of conifer's numbers have one format, so that is its best use of bits.
The headers it needs are those of hls4ml and nlohmann-json, which stand in the same lock.
"""

import importlib.util
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import onnx

INSIDE = 0.99  # of the range; clipped rows stay a little outside of the outermost thresholds, and inside of the range
CLIPPED = 0.995


def main(model, rows, out, *options):
    backend, precision, count = options
    began_s = spent_s()
    prepare()
    import conifer
    from conifer.converters import get_converter, make_model

    trees = get_converter("onnx").convert(asked(onnx.load(model)))
    given = np.load(rows)["rows"][: int(count)].astype(float)
    limit = 2.0 ** (int(precision.rstrip(">").split(",")[1]) - 1)
    given = mapped(trees, given, limit)
    settings = {"Backend": backend, "ProjectName": "edgeloop", "OutputDir": out, "Precision": precision}
    if backend == "vhdl":
        from conifer.backends import vhdl

        settings["XilinxPart"] = "none"
        vhdl.set_simulator("ghdl")
    made = make_model(trees, settings)
    made.write()
    converted_s = spent_s()
    made.compile()
    scores = np.asarray(made.decision_function(given)).reshape(len(given), -1)
    np.save(Path(out) / "scores.npy", scores)
    print(json.dumps({"convert_s": converted_s - began_s, "simulate_s": spent_s() - converted_s,
                      "largest": float(abs(scores).max()), "outputs": scores.shape[1],
                      "versions": {"conifer": str(conifer.__version__)}}))  # fmt: skip


def spent_s():
    """Processor time of this process and of those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def prepare():
    """Compilers that conifer calls find headers, and the python3 that has pybind11."""
    folders = {name: Path(importlib.util.find_spec(name).origin).parent for name in ("hls4ml", "nlohmann_json")}
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["XILINX_AP_INCLUDE"] = str(folders["hls4ml"] / "templates" / "vivado" / "ap_types")
    os.environ["CPLUS_INCLUDE_PATH"] = str(folders["nlohmann_json"] / "include")


def asked(model):
    """The model with the ZipMap behind its trees that conifer reads the number of classes from; without trees as it is."""
    nodes = model.graph.node
    place = next((k for k, node in enumerate(nodes) if node.op_type == "TreeEnsembleClassifier"), None)
    if place is not None:
        classes = next(a.ints for a in nodes[place].attribute if a.name == "classlabels_int64s")
        zipped = onnx.helper.make_node(
            "ZipMap", [nodes[place].output[1]], ["zipped"], name="ZipMap", domain="ai.onnx.ml",
            classlabels_int64s=list(classes),
        )  # fmt: skip
        nodes.insert(place + 1, zipped)
    return model


def mapped(trees, rows, limit):
    """Maps thresholds in place, and gives the rows mapped and clipped alike."""
    forks = [(tree, k, f) for row in trees["trees"] for tree in row for k, f in enumerate(tree["feature"]) if f >= 0]
    low, high = np.full(rows.shape[1], np.inf), np.full(rows.shape[1], -np.inf)
    for tree, k, feature in forks:
        low[feature], high[feature] = min(low[feature], tree["threshold"][k]), max(high[feature], tree["threshold"][k])
    low, span = np.where(np.isfinite(low), low, 0.0), np.where(high > low, high - low, 1.0)
    scale = 2 * INSIDE * limit / span
    for tree, k, feature in forks:
        tree["threshold"][k] = float((tree["threshold"][k] - low[feature]) * scale[feature] - INSIDE * limit)
    return np.clip((rows - low) * scale - INSIDE * limit, -CLIPPED * limit, CLIPPED * limit)


if __name__ == "__main__":
    main(*sys.argv[1:])
