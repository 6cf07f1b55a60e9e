"""Fixtures of the component tests: a real SeaweedFS for the session, and a bucket of its own for each test."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

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
