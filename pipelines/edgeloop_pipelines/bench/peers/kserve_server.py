# mypy: ignore-errors
"""KServe's own Python server with a custom model that calls onnxruntime; the three log lines a request are off."""

import logging
import sys

import onnxruntime
from kserve import InferOutput, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid


class OnnxModel(Model):
    """Answers V2 requests; KServe parses them and writes the answer."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.path = path
        self.load()

    def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        self.ready = True
        return True

    def predict(self, payload, headers=None, response_headers=None):  # noqa: ARG002
        results = self.session.run(["label", "probabilities"], {"X": payload.inputs[0].as_numpy()})
        outputs = []
        for name, datatype, values in zip(("label", "probabilities"), ("INT64", "FP32"), results, strict=True):
            output = InferOutput(name, list(values.shape), datatype)
            output.set_data_from_numpy(values, binary_data=False)
            outputs.append(output)
        return InferResponse(payload.id or generate_uuid(), self.name, outputs)


def main(model: str, port: str) -> None:
    server = ModelServer(http_port=int(port), workers=1, enable_grpc=False, enable_latency_logging=False)
    logging.disable(logging.WARNING)
    server.start([OnnxModel("model", model)])


if __name__ == "__main__":
    main(*sys.argv[1:])
