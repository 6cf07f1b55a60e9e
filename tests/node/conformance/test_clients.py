"""Clients and servers that are not ours: Triton's and KServe's clients drive ours, and KServe and MLServer answer alike.

KServe and MLServer live in environments of their own (`make peers` builds them), since they ask for other versions of what
edgeloop needs; without these their tests skip and say so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PEERS = Path(os.environ.get("EDGELOOP_PEERS") or Path(__file__).parents[3] / ".edgeloop" / "peers")
SCRIPT = Path(__file__).with_name("kserve_client.py")


def peer_python(name: str) -> Path:
    python = PEERS / name / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{name} is not there: `make peers` installs it into {PEERS}")
    return python


@pytest.fixture
def triton(served: Any) -> Iterator[Any]:
    """Triton's HTTP client, connected."""
    http = pytest.importorskip("tritonclient.http", reason="a client of others: needs the extra `dev`")
    client = http.InferenceServerClient(f"127.0.0.1:{served.port}")
    yield client
    client.close()


def test_triton_reads_health_and_metadata(triton: Any) -> None:
    """Live, ready, and metadata as Triton's client reads them; unknown models are not ready or an error."""
    from tritonclient.utils import InferenceServerException

    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready("pump")
    assert triton.is_model_ready("pump", "1")
    assert not triton.is_model_ready("pump", "2")
    assert triton.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert triton.get_model_metadata("pump")["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}]
    with pytest.raises(InferenceServerException, match="no such model"):
        triton.get_model_metadata("nobody")


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
def test_triton_infers(served: Any, triton: Any, binary_in: bool, binary_out: bool | None) -> None:
    """Batches with tensors in binary and JSON, both ways, and without named outputs: the golden answers."""
    np = pytest.importorskip("numpy")
    from tritonclient.http import InferInput, InferRequestedOutput

    golden = served.golden()
    whole = [i for i, row in enumerate(golden["rows"]) if binary_in or None not in row]  # its JSON writer has no null
    rows = np.array([[np.nan if v is None else v for v in golden["rows"][i]] for i in whole], np.float32)
    given = InferInput("X", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary_in)
    names = ("probabilities", "label")
    wished = None if binary_out is None else [InferRequestedOutput(name, binary_data=binary_out) for name in names]
    result = triton.infer("pump", [given], outputs=wished, request_id="t1", model_version="1")
    assert result.get_response()["id"] == "t1"
    assert result.as_numpy("label").tolist() == [golden["labels"][i] for i in whole]
    expected = np.array([golden["probabilities"][i] for i in whole])
    assert np.abs(result.as_numpy("probabilities") - expected).max() <= 1e-6
    assert result.as_numpy("probabilities").dtype == np.float32


def test_triton_sees_our_errors(triton: Any) -> None:
    """A refused request raises with our text and status, compressed ones included, and the client goes on."""
    np = pytest.importorskip("numpy")
    from tritonclient.http import InferInput
    from tritonclient.utils import InferenceServerException

    double = InferInput("X", [1, 3], "FP64")
    double.set_data_from_numpy(np.zeros((1, 3)))
    with pytest.raises(InferenceServerException, match="datatype: expected FP32"):
        triton.infer("pump", [double])
    infinite = InferInput("X", [1, 3], "FP32")
    infinite.set_data_from_numpy(np.array([[0, np.inf, 0]], np.float32))
    with pytest.raises(InferenceServerException, match=r"data\[1\].*got Infinity"):
        triton.infer("pump", [infinite])
    good = InferInput("X", [1, 3], "FP32")
    good.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with pytest.raises(InferenceServerException, match="content-encoding: expected none"):
        triton.infer("pump", [good], request_compression_algorithm="gzip")
    assert triton.infer("pump", [good], response_compression_algorithm="gzip").as_numpy("label").shape == (1,)


@pytest.fixture(scope="module")
def kserve_saw(served: Any) -> Any:
    """What KServe's client saw of the server, all of it in one run of the script."""
    command = [peer_python("kserve"), SCRIPT, f"http://127.0.0.1:{served.port}", served.model / "golden.json"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_kserve_reads_health(kserve_saw: Any) -> None:
    """Live and ready are read from the bodies, the model's readiness from the status."""
    assert (kserve_saw["live"], kserve_saw["ready"], kserve_saw["model_ready"]) == (True, True, True)


def test_kserve_infers(served: Any, kserve_saw: Any) -> None:
    """JSON and binary batches, one row, one wished output, and missing values: the golden answers."""
    golden, missing = served.golden(), kserve_saw["missing"]
    assert (missing["id"], missing["model"]) == ("k1", "pump")
    assert missing["label"] == golden["labels"]
    for got, expected in zip(missing["probabilities"], golden["probabilities"], strict=True):
        assert got == pytest.approx(expected, abs=1e-6)
    for got, expected in zip(kserve_saw["json"]["probabilities"], kserve_saw["binary"]["probabilities"], strict=True):
        assert got == pytest.approx(expected, abs=1e-7)
    assert kserve_saw["json"]["label"] == kserve_saw["binary"]["label"]
    assert kserve_saw["only"].keys() == {"id", "model", "probabilities"}
    assert kserve_saw["one"]["probabilities"] == [pytest.approx(kserve_saw["binary"]["probabilities"][0], abs=1e-7)]


def test_kserve_sees_our_errors(kserve_saw: Any) -> None:
    """Errors raise with our text in them."""
    assert 'expected the one input X, got "Y"' in kserve_saw["wrong_input"]
    assert "no such model" in kserve_saw["wrong_model"]


@contextlib.contextmanager
def running(name: str, model: Path, port: int, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server of others with the same ONNX file, and its URL for inference."""
    spec = importlib.util.find_spec("edgeloop_pipelines.bench.peers")
    assert spec is not None
    script = Path(str(spec.origin)).with_name(f"{name}_server.py")
    command = [str(peer_python(name)), str(script), str(model / "model.onnx"), str(port)]
    with log.open("wb") as file:
        child = subprocess.Popen(command, stdout=file, stderr=file, cwd=log.parent)
    try:
        yield child, f"http://127.0.0.1:{port}/v2/models/model/infer"
    finally:
        child.kill()
        child.wait()


def post(url: str, document: Any) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, None


def when_ready(server: subprocess.Popen[bytes], url: str, document: Any, log: Path) -> Any:
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        with contextlib.suppress(OSError):
            return post(url, document)[1]
        time.sleep(0.1)
    raise AssertionError(f"it did not come up (exit {server.poll()}):\n{log.read_text()[-2000:]}")


@pytest.mark.slow
@pytest.mark.parametrize("peer", ["kserve", "mlserver"])
def test_others_answer_the_same(
    served: Any, peer: str, free_port: Callable[[], int], model: Path, tmp_path: Path
) -> None:
    """The same V2 requests, sent to their server and to ours, give the same tensors; what is wrong is an error to both."""
    golden = served.golden()
    rows = [row for row in golden["rows"] if None not in row]
    ours_url = f"http://127.0.0.1:{served.port}/v2/models/pump/infer"
    tensor = {"name": "X", "shape": [len(rows), 3], "datatype": "FP32", "data": [v for row in rows for v in row]}
    with running(peer, model, free_port(), tmp_path / "log") as (server, theirs_url):
        theirs = when_ready(server, theirs_url, {"id": "d1", "inputs": [tensor]}, tmp_path / "log")
        _, ours = post(ours_url, {"id": "d1", "inputs": [tensor]})
        assert (ours["id"], ours["outputs"][0]["name"]) == (theirs["id"], theirs["outputs"][0]["name"])
        for own, other in zip(ours["outputs"], theirs["outputs"], strict=True):
            assert (own["name"], own["datatype"], own["shape"][0]) == (
                other["name"],
                other["datatype"],
                other["shape"][0],
            )
            assert own["data"] == pytest.approx(other["data"], abs=1e-6)
        for wrong in ({"inputs": 3}, {}, {"inputs": [{"name": "X"}]}, []):
            assert post(ours_url, wrong)[0] == 400
            assert post(theirs_url, wrong)[0] >= 400
