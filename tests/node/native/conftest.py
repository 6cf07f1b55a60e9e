"""Native servers for these tests: a small model written by hand in C, so that they need the C compiler and no emitter."""

from __future__ import annotations

import dataclasses
import json
import math
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import ModelVersion, Reference, dumps

HEADER = """\
#ifndef MODEL_H
#define MODEL_H
#include <stdint.h>
#define MODEL_INPUT_WIDTH 3
#define MODEL_OUTPUT_COUNT 2
#define MODEL_SCRATCH_BYTES 0
typedef enum { MODEL_FLOAT32 = 1, MODEL_INT64 = 2 } model_type;
typedef struct { const char *name; model_type type; uint32_t rank; const int64_t *shape; uint64_t width; } model_tensor;
extern const model_tensor model_input;
extern const uint32_t model_output_count;
extern const model_tensor model_outputs[];
extern const uint64_t model_scratch_bytes;
void model_predict(const float *x, uint64_t rows, void *const *outputs, void *scratch);
#endif
"""
SOURCE = """\
#include "model.h"
static const int64_t three[] = {3};
const model_tensor model_input = {"X", MODEL_FLOAT32, 1, three, 3};
const uint32_t model_output_count = 2;
const model_tensor model_outputs[] = {{"label", MODEL_INT64, 0, 0, 1}, {"probabilities", MODEL_FLOAT32, 1, three, 3}};
const uint64_t model_scratch_bytes = 0;
void model_predict(const float *x, uint64_t rows, void *const *outputs, void *scratch) {
    (void)scratch;
    for (uint64_t row = 0; row < rows; row++, x += 3) {
        float sum = 0, size[3], *out = (float *)outputs[1] + 3 * row;
        int64_t best = 0;
        for (int i = 0; i < 3; i++) {
            float v = x[i] != x[i] || x[i] > 1e6f || x[i] < -1e6f ? 0 : x[i];
            size[i] = 1 / (1 + (v - SHIFT) * (v - SHIFT));
            sum += size[i];
        }
        for (int i = 0; i < 3; i++) {
            out[i] = FACTOR * size[i] / sum;
            best = size[i] > size[best] ? i : best;
        }
        ((int64_t *)outputs[0])[row] = best;
    }
}
"""
ROWS = [(0.3, -1.25, 1.0), (math.nan, 2.0, 0.0), (0.5, math.nan, math.nan), (-3.0, 4.0, 2.0), (math.inf, 0.0, -1.0)]
WORDS = {math.inf: "inf", -math.inf: "-inf"}


@dataclasses.dataclass(frozen=True)
class Built:
    """A server's binary and the folder of its documents."""

    server: Path
    folder: Path


def _shown(value: float) -> Any:
    return None if math.isnan(value) else WORDS.get(value, value)


def _documents(folder: Path, reference: Reference, number: int, predict: Path) -> None:
    raw = struct.pack(f"<{3 * len(ROWS)}f", *(value for row in ROWS for value in row))
    out = subprocess.run([predict], input=raw, capture_output=True, check=True).stdout
    labels = struct.unpack_from(f"<{len(ROWS)}q", out)
    flat = struct.unpack_from(f"<{3 * len(ROWS)}f", out, 8 * len(ROWS))
    golden = {
        "rows": [[_shown(value) for value in row] for row in ROWS],
        "probabilities": [flat[i : i + 3] for i in range(0, len(flat), 3)],
        "labels": labels,
    }
    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop=reference.loop, number=number, state="accepted", run_key="test", snapshot=zero, onnx=zero, reference=zero,
        golden=zero, schema_hash=reference.schema_hash,
    )  # fmt: skip
    (folder / "reference.json").write_text(dumps(reference))
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "version.json").write_text(dumps(version))


@pytest.fixture(scope="session")
def emitted() -> Callable[..., Any]:
    """The model's C code; `number` shifts its answers, `factor` other than 1 makes its probabilities sum to that."""
    emit = pytest.importorskip("edgeloop_components.native.emit", reason="compiles a server: needs the extra `cloud`")

    def code(number: int = 1, factor: float = 1.0) -> Any:
        source = f"#define SHIFT {number}\n#define FACTOR {factor}f\n{SOURCE}"
        return emit.Emitted(HEADER, source, (), (), {}, 0, 0)

    return code


@pytest.fixture(scope="session")
def build_native(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, emitted: Callable[..., Any]
) -> Callable[..., Built]:
    """Builds the server of a version; `factor` other than 1 makes its probabilities sum to that."""
    pytest.importorskip("ziglang", reason="compiles a server: needs the extra `native`")
    native = pytest.importorskip(
        "edgeloop_components.native.build", reason="compiles a server: needs the extra `cloud`"
    )
    layers = pytest.importorskip("edgeloop_components.package.layers")
    made: dict[Any, Built] = {}

    def build(number: int = 1, factor: float = 1.0) -> Built:
        if (number, factor) not in made:
            folder = tmp_path_factory.mktemp("native")
            model = emitted(number, factor)
            here = layers.host_platform()
            native.build_predict(model, folder / "predict", platform=here)
            _documents(folder, reference, number, folder / "predict")
            native.build_server(model, folder, folder / "server", platform=here)
            made[number, factor] = Built(folder / "server", folder)
        return made[number, factor]

    return build


@pytest.fixture
def serve_native(node: Any) -> Callable[..., Any]:
    """Starts a binary; a process that is ready."""

    def serve(server: Path, *arguments: str, run_dir: bool = True, **environment: str) -> Any:
        where = ("--run-dir", node.run_dir) if run_dir else ()
        process = node.run(
            server, "serve", "--port", "0", "--node", "n1", "--group", "g1", *where, *arguments, **environment
        )
        process.extra = process.wait_for("ready")
        return process

    return serve


class Client:
    """A kept connection that speaks HTTP by hand."""

    def __init__(self, port: int, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.rest = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        while b"\r\n\r\n" not in self.rest:
            self._more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self.rest) < length:
            self._more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return int(first.split(" ")[1]), headers, body

    def _more(self) -> None:
        part = self.socket.recv(1 << 16)
        if not part:
            raise ConnectionError(f"closed after {self.rest!r}")
        self.rest += part

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def dial() -> Iterator[Callable[..., Client]]:
    """Makes connections, which end with the test."""
    made: list[Client] = []

    def one(*given: Any, **more: Any) -> Client:
        made.append(Client(*given, **more))
        return made[-1]

    yield one
    for client in made:
        client.close()


def request(body: bytes, path: str = "/score", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: a\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.fixture(scope="session", name="request_bytes")
def _request_bytes() -> Callable[..., bytes]:
    return request
