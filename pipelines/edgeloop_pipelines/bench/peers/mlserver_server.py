# mypy: ignore-errors
"""MLServer with a custom runtime that calls onnxruntime; its worker processes, metrics and compression are off."""

import asyncio
import logging
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


async def serve(model: str, port: int) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=port,
        grpc_port=port + 1,
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
