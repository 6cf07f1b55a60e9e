# mypy: ignore-errors
"""Open Inference Protocol V2 by hand: starlette on uvicorn with onnxruntime, as one would write it in an afternoon."""

import sys

import numpy as np
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


def main(model: str, port: str) -> None:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    async def infer(request):
        (tensor,) = (await request.json())["inputs"]
        rows = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        label, probabilities = session.run(["label", "probabilities"], {"X": rows})
        outputs = [
            {"name": "label", "datatype": "INT64", "shape": list(label.shape), "data": label.tolist()},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": list(probabilities.shape),
                "data": probabilities.ravel().tolist(),
            },
        ]
        return JSONResponse({"model_name": "model", "outputs": outputs})

    application = Starlette(routes=[Route("/v2/models/model/infer", infer, methods=["POST"])])
    uvicorn.run(
        application,
        host="127.0.0.1",
        port=int(port),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
