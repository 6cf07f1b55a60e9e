# mypy: ignore-errors
"""hls4ml's project of a network with its C simulation, by what `edgeloop fpga vendor` does; JSON on the last line.

    python hls4ml_network.py MODEL.onnx ROWS.npz OUT BACKEND "ap_fixed<12,5>"

What edgeloop does not hand to hls4ml is given to it as it is, so that the refusal is hls4ml's own.
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from edgeloop_components.fpga.vendor import emit_project
from edgeloop_components.onnxgraph import Unsupported


def main(model, rows, out, backend, precision):
    given = np.load(rows)
    began_s = spent_s()
    try:
        status = emit_project(
            Path(model), given["rows"], given["labels"], Path(out), backend=backend, precision=precision
        )
    except Unsupported:
        import hls4ml
        from qonnx.core.modelwrapper import ModelWrapper

        hls4ml.utils.config_from_onnx_model(ModelWrapper(model), granularity="model", backend=backend)
        raise
    print(json.dumps({"agreement": status["agreement"], "convert_s": spent_s() - began_s, "versions": status["tools"]}))


def spent_s():
    """Processor time of this process and of those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main(*sys.argv[1:])
