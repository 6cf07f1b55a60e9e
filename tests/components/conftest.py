"""Fixtures of the component tests: a real SeaweedFS for the session, and a bucket of its own for each test."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.stores.objects import MemoryObjects, Objects, S3Objects
from edgeloop_components.stores.seaweed import Running, start
from edgeloop_contracts import GateResult, ModelVersion, digest_of


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running SeaweedFS; stopped at the end of the session."""
    running = start(tmp_path_factory.mktemp("seaweed"))
    yield running
    running.stop()


@pytest.fixture
def objects(seaweed: Running) -> Iterator[S3Objects]:
    """A new, empty bucket of the real server."""
    bucket = seaweed.objects(f"test-{uuid.uuid4().hex[:12]}")
    bucket.make_bucket()
    yield bucket
    bucket._client.remove_bucket(bucket.bucket)


@pytest.fixture(params=["memory", "seaweed"])
def store(request: pytest.FixtureRequest) -> Objects:
    """The simulator and the real server in turn: what both must do."""
    return MemoryObjects() if request.param == "memory" else request.getfixturevalue("objects")


@pytest.fixture
def version_files(tmp_path: Path) -> dict[str, Path]:
    """The files of a small version: name -> path."""
    files = {name: tmp_path / name for name in ("model.onnx", "reference.json", "golden.json")}
    for name, path in files.items():
        path.write_text(f"content of {name}")
    return files


@pytest.fixture
def build(version_files: dict[str, Path]) -> Callable[..., Callable[[int], ModelVersion]]:
    """`build(run_key, state=...)` makes what `catalog.register` wants: number -> ModelVersion over `version_files`."""
    import hashlib

    digests = [f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in version_files.values()]

    def builder(run_key: str, state: str = "accepted", loop: str = "turbine") -> Callable[[int], ModelVersion]:
        passed = state == "accepted"
        return lambda number: ModelVersion(
            loop=loop,
            number=number,
            state=state,  # type: ignore[arg-type]
            run_key=run_key,
            snapshot=digest_of("rows"),
            onnx=digests[0],
            reference=digests[1],
            golden=digests[2],
            gates=(
                GateResult(gate="require/accuracy", passed=passed, expected=">= 0.9", got="0.95" if passed else "0.5"),
            ),
            cause="drift",
            started_by="judge",
            created_s=1000.0 + number,
        )

    return builder


C_FLAGS = "-std=c99 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Wdouble-promotion -Werror -shared -fPIC"


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Callable[[Any], list[Any]]]:
    """Compiles an Emitted with the machine's compiler: gives rows float32 [n, ...] -> a list of outputs [n, ...].

    `level`: of optimisation; the bits are the same, and property tests compile sooner with a low one.
    Outputs and scratch memory have guards behind them, which a run must leave as they are.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: `cc` is not on the PATH")
    count = iter(range(1 << 30))

    def compiled(emitted: Any, level: str = "-O3") -> Callable[[Any], list[Any]]:
        folder = tmp_path_factory.mktemp(f"c{next(count)}")
        (folder / "model.h").write_text(emitted.header)
        (folder / "model.c").write_text(emitted.source)
        done = subprocess.run(
            [compiler, level, *C_FLAGS.split(), "model.c", "-o", "model.so"], cwd=folder, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()[:4000]
        return _runner(ctypes.CDLL(str(folder / "model.so")), emitted)

    return compiled


def _runner(library: ctypes.CDLL, emitted: Any) -> Callable[[Any], list[Any]]:
    import numpy as np

    library.model_predict.argtypes = [ctypes.c_void_p, ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p]
    library.model_predict.restype = None

    def predict(rows: Any) -> list[Any]:
        x = np.ascontiguousarray(rows, dtype=np.float32)
        assert x[:1].size == emitted.inputs[0].width or not len(x), (x.shape, emitted.inputs)
        outputs = [np.full(len(x) * o.width + 8, 77, dtype=o.kind) for o in emitted.outputs]
        room = np.full(emitted.scratch_bytes // 8 + 64, 0x55, dtype=np.uint64)
        start = -room.ctypes.data % 16
        places = (ctypes.c_void_p * len(outputs))(*(o.ctypes.data for o in outputs))
        library.model_predict(x.ctypes.data, len(x), places, room.ctypes.data + start)
        assert all((o[-8:] == 77).all() for o in outputs), "it wrote behind an output"
        assert (room[emitted.scratch_bytes // 8 + 8 :] == 0x55).all(), "it wrote behind its scratch memory"
        return [o[:-8].reshape(len(x), *t.shape) for o, t in zip(outputs, emitted.outputs, strict=True)]

    return predict


@pytest.fixture(scope="session")
def onnxruntime_answers() -> Callable[[Any, Any], list[Any]]:
    """`(model, rows)`: the outputs that onnxruntime computes on one thread, row after row as a node does."""
    import numpy as np

    def answers(model: Any, rows: Any) -> list[Any]:
        from edgeloop_components.runtimes.onnxruntime import session

        loaded = session(model.SerializeToString())
        name = loaded.get_inputs()[0].name
        parts = [loaded.run(None, {name: rows[i : i + 1]}) for i in range(len(rows))]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    return answers


@contextlib.contextmanager
def _small_disk(at: Path, size_bytes: int, kind: str) -> Iterator[None]:
    at.mkdir()
    if kind == "limit":
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "none", str(at)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {done.stderr.decode()[:200]}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


@pytest.fixture
def small_disk() -> Callable[[Path, int, str], contextlib.AbstractContextManager[None]]:
    """Within it, who writes into the new folder finds a full `disk` of that size, or the `limit` of a process's files."""
    return _small_disk
