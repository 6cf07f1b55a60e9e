"""A script that runs where the package kserve is installed, and drives a server with KServe's own client.

    python kserve_client.py http://127.0.0.1:8080 golden.json

Prints one JSON object with what the client saw; the test judges it.
"""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request_of(rows, binary: bool, outputs=None) -> InferRequest:
    given = InferInput("X", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary)
    wish = {"binary_data_output": True} if binary else None
    return InferRequest("pump", [given], request_id="k1", parameters=wish, request_outputs=outputs)


def seen(response) -> dict:
    return {
        "id": response.id,
        "model": response.model_name,
        **{output.name: output.as_numpy().tolist() for output in response.outputs},
    }


async def refusal(client, base: str, request, model: str = "pump") -> str:
    try:
        await client.infer(base, request, model_name=model)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def main(base: str, golden: str) -> dict:
    with open(golden) as file:  # noqa: PTH123
        rows = json.load(file)["rows"]
    full = np.array([[0.0 if v is None else v for v in row] for row in rows], np.float32)
    missing = np.array([[np.nan if v is None else v for v in row] for row in rows], np.float32)
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
    only = [RequestedOutput("probabilities", parameters={"binary_data": True})]
    wrong = InferInput("Y", [1, 3], "FP32")
    wrong.set_data_from_numpy(full[:1], binary_data=False)
    found = {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model_ready": await client.is_model_ready(base, "pump"),
        "json": seen(await client.infer(base, request_of(full, False), model_name="pump")),
        "binary": seen(await client.infer(base, request_of(full, True), model_name="pump")),
        "missing": seen(await client.infer(base, request_of(missing, True), model_name="pump")),
        "only": seen(await client.infer(base, request_of(full[:1], True, only), model_name="pump")),
        "one": seen(await client.infer(base, request_of(full[:1], False), model_name="pump")),
        "wrong_input": await refusal(client, base, InferRequest("pump", [wrong])),
        "wrong_model": await refusal(client, base, request_of(full, False), "nobody"),
    }
    await client.close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
