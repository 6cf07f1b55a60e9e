"""The servers that are measured, each with the same model: ours in C and in Python, and those of others.

A row says how a server is started. KServe and MLServer have environments of their own (`make peers`); a server that is not
installed is named with the reason, and its comparison counts as not made.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["MODEL", "SERVERS", "Command", "Missing", "Server", "model_folder", "requests_of"]

MODEL = "model"
FEATURES, EDGES = 24, 33
PEERS = Path(__file__).parent / "peers"
PLATFORMS: dict[str, Any] = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "riscv64": "linux/riscv64"}


class Missing(RuntimeError):  # noqa: N818
    """A server is not installed; the message says how it would be."""


@dataclass(frozen=True)
class Command:
    """How a server is started."""

    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Server:
    """One that is measured. `bar`: how many times more processor time than native it must take; 0: it is native."""

    name: str
    bar: float
    command: Callable[[Path, int], Command]  # model folder, port. Missing.


def _native(folder: Path, port: int) -> Command:
    program = folder / "native" / "server"
    if not program.exists():
        if importlib.util.find_spec("ziglang") is None:
            raise Missing("native is not compiled: pip install 'edgeloop[native]'")
        program.parent.mkdir(exist_ok=True)
        _compile(folder, program.parent)
    run_dir = str(folder / "run-native")
    return Command([str(program), "serve", "--port", str(port), "--run-dir", run_dir, "--node", "bench"])


def _compile(folder: Path, out: Path) -> None:
    from edgeloop_components.runtimes import RUNTIMES
    from edgeloop_contracts import Target
    from edgeloop_contracts.loop import NodeSelector

    here = Target(
        name="here", nodes=NodeSelector(group="bench"), platform=PLATFORMS[platform.machine()], runtime="native"
    )
    RUNTIMES["native"].compile(folder, out, here)


def _own_python(folder: Path, port: int) -> Command:
    where = ["serve", "--port", str(port), "--run-dir", str(folder / "run-python"), "--node", "bench"]
    return Command([sys.executable, "-m", "edgeloop_node.entry", *where], {"EDGELOOP_MODEL": str(folder)})


def _peer(name: str, python: Callable[[], Path]) -> Callable[[Path, int], Command]:
    def command(folder: Path, port: int) -> Command:
        script = PEERS / f"{name}_server.py"
        return Command([str(python()), str(script), str(folder / "model.onnx"), str(port)])

    return command


def _installed(name: str) -> Callable[[], Path]:
    def python() -> Path:
        folder = Path(os.environ.get("EDGELOOP_PEERS") or ".edgeloop/peers").absolute() / name
        if not (folder / "bin" / "python").exists():
            raise Missing(f"{name} is not installed in {folder}: `make peers`")
        return folder / "bin" / "python"

    return python


SERVERS = (
    Server("native", 0.0, _native),
    Server("edgeloop uvicorn + onnxruntime", 4.0, _own_python),
    Server("starlette + uvicorn + onnxruntime", 4.0, _peer("starlette", lambda: Path(sys.executable))),
    Server("mlserver", 15.0, _peer("mlserver", _installed("mlserver"))),
    Server("kserve", 25.0, _peer("kserve", _installed("kserve"))),
)


def model_folder(folder: Path) -> Path:
    """A perceptron (24 features, 32 and 32 units, 3 classes) with its documents, as the package step leaves them."""
    import numpy as np

    from edgeloop_contracts import CalibrationMap, FeatureReference, ModelVersion, Reference, dumps, schema_hash_of
    from edgeloop_node.runtimes import onnxruntime
    from edgeloop_pipelines.bench.models import MODELS

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(MODELS["perceptron"]())
    rows = np.random.default_rng(2).normal(size=(2000, FEATURES))
    cuts = np.linspace(0.005, 0.995, EDGES)
    features = tuple(
        FeatureReference(
            name=f"x{i}", kind="number", edges=tuple(np.quantile(column, cuts).tolist()), counts=(1,) * (EDGES + 1),
            quantum=2.0**-20, minimum=float(column.min()), maximum=float(column.max()), std=1.0,
        )
        for i, column in enumerate(rows.T)
    )  # fmt: skip
    classes = ("a", "b", "c")
    zero, schema = "sha256:" + "0" * 64, schema_hash_of(features, classes)
    reference = Reference(
        loop=MODEL,
        schema_hash=schema,
        rows=2000,
        features=features,
        classes=classes,
        calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
    )
    version = ModelVersion(
        loop=MODEL,
        number=1,
        state="accepted",
        run_key="bench",
        snapshot=zero,
        onnx=zero,
        reference=zero,
        golden=zero,
        schema_hash=schema,
    )
    golden = rows[:16].astype(np.float32).tolist()
    labels, probabilities = onnxruntime.load(folder).score(golden)
    document = {"rows": golden, "probabilities": probabilities, "labels": labels}
    (folder / "reference.json").write_text(dumps(reference))
    (folder / "version.json").write_text(dumps(version))
    (folder / "golden.json").write_text(json.dumps(document))
    return folder


def requests_of(count: int, rows_in_each: int = 1) -> list[bytes]:
    """Bodies of V2 requests, each with rows of its own."""
    import numpy as np

    draw = np.random.default_rng(3)
    bodies = []
    for _ in range(count):
        data = draw.normal(size=rows_in_each * FEATURES).round(6).tolist()
        tensor = {"name": "X", "shape": [rows_in_each, FEATURES], "datatype": "FP32", "data": data}
        bodies.append(json.dumps({"inputs": [tensor]}).encode())
    return bodies
