# mypy: ignore-errors
"""MLServer with a custom runtime that calls onnxruntime; its worker processes, metrics and compression are off."""

import asyncio
import logging
import socket
import sys

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class OnnxModel(MLModel):
    """Answers V2 requests; MLServer parses them and writes the answer."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload):
        rows = NumpyCodec.decode_input(payload.inputs[0])
        label, probabilities = self.session.run(["label", "probabilities"], {"X": rows})
        outputs = [NumpyCodec.encode_output("label", label), NumpyCodec.encode_output("probabilities", probabilities)]
        return InferenceResponse(model_name=self.name, outputs=outputs)


def free_port() -> int:
    """A port for gRPC, which cannot be turned off; any other may be in use, if only by a connection that has just ended."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def serve(model: str, port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=free_port(),
        parallel_workers=0,
        metrics_endpoint=None,
        gzip_enabled=False,
        debug=False,
    )
    model_settings = ModelSettings(name="model", implementation=OnnxModel, parameters={"uri": model})
    logging.disable(logging.WARNING)
    await MLServer(settings).start([model_settings])


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
