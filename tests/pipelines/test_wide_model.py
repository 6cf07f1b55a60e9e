"""A model with more features than a batch has room for: what is refused touches nothing of others."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FEATURES = 784


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("wide")
    rows = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    (folder / "wide.onnx").write_bytes(to_onnx(fitted, rows[:1], target_opset=17).SerializeToString())
    words = ("model", "compile", folder / "wide.onnx", "--runtime", "native", "-o", folder / "out")
    subprocess.run([sys.executable, "-m", "edgeloop_pipelines.cli", *map(str, words)], check=True, capture_output=True)
    (found,) = (folder / "out").rglob("server")
    return found


def request(rows: int, values: int, model: str) -> bytes:
    tensor = {"name": "X", "shape": [rows, FEATURES], "datatype": "FP32", "data": [0.25] * values}
    body = json.dumps({"inputs": [tensor]}).encode()
    head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def answer(client: socket.socket) -> tuple[int, bytes]:
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < _length(data):
        data += client.recv(65536) or pytest.fail("the connection ended")
    return int(data.split(b" ")[1]), data.partition(b"\r\n\r\n")[2]


def _length(data: bytes) -> int:
    return int(re.search(rb"(?i)content-length: (\d+)", data)[1])  # type: ignore[index]


def test_a_batch_without_room_leaves_the_others_alone(server: Path) -> None:
    """1000 rows of 784 features are too many (413). A request that another client has half sent is answered all the same."""
    with subprocess.Popen([server, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True) as child:
        try:
            log: list[str] = []
            while not log or '"what":"ready"' not in log[-1]:
                log.append(child.stderr.readline())  # type: ignore[union-attr]
            port, model = json.loads(log[-1])["port"], json.loads(log[-1]).get("model", "wide")
            with (
                socket.create_connection(("127.0.0.1", port), 20) as first,
                socket.create_connection(("127.0.0.1", port), 20) as second,
            ):
                whole = request(4, 4 * FEATURES, model)
                first.sendall(whole[:-1000])
                for _ in range(3):
                    second.sendall(request(1000, 0, model))
                    assert answer(second)[0] == 413
                first.sendall(whole[-1000:])
                status, body = answer(first)
                assert status == 200, body
                assert len(json.loads(body)["outputs"]) == 2
        finally:
            child.terminate()
