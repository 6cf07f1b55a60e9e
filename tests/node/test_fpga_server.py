"""The server with a core behind it: what it says of its board, what it answers while the board is away, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import samples

from edgeloop_contracts import ModelVersion, Reference, digest_of, dumps
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import FpgaBoard
from edgeloop_contracts.fpga_model import codes_of, label_of, probabilities_of, scores_of
from edgeloop_node.runtimes import ModelError, fpga, scorer_for
from edgeloop_node.server.model import load_model, self_test

DESIGN = samples.perceptron(sizes=(3, 5, 3))
ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}


def write_folder(folder: Path, reference: Reference, design: FpgaDesign = DESIGN, **board: Any) -> Path:
    """A model folder whose simulated board is the core in software; it writes its process id to `pid` beside the folder."""
    folder.mkdir()
    digest = digest_of(design)
    rows = [[0.3, -1.25, 1.0], [2.0, 0.5, 0.0], [-3.0, 3.5, 2.0], [9.0, -9.0, -1.0]]
    scores = [scores_of(design, codes_of(design, row)) for row in rows]
    golden = {
        "rows": rows,
        "labels": [label_of(design, score) for score in scores],
        "probabilities": [probabilities_of(design, score) for score in scores],
    }
    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop=reference.loop, number=1, state="accepted", run_key="test", snapshot=zero, onnx=zero, reference=zero,
        golden=zero, schema_hash=reference.schema_hash,
    )  # fmt: skip
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "version.json").write_text(dumps(version))
    (folder / "reference.json").write_text(dumps(reference))
    (folder / "design.json").write_text(dumps(design))
    (folder / "certificate.json").write_text(json.dumps({"design": digest}))
    (folder / "board.json").write_text(
        dumps(FpgaBoard(**{"design": digest, "part": "ice40-up5k", "simulation": "simulation", **board}))
    )
    core = f"exec {sys.executable} -m edgeloop_node.fpga.core {folder / 'design.json'}"
    (folder / "simulation").write_text(f"#!/bin/sh\necho $$ > {folder.parent / 'pid'}\n{core}\n")
    (folder / "simulation").chmod(0o755)
    return folder


def test_the_server_says_that_its_board_is_simulated(node: Any, tmp_path: Path, reference: Reference) -> None:
    """In the log, in the metadata of /v2 and in its figures; its answers are the design's."""
    pytest.importorskip("uvicorn", reason="serves: needs the extra `node`")
    folder = write_folder(tmp_path / "model", reference)
    server = node.serve(folder, "--runtime", "fpga")
    (line,) = server.said("the core is right")
    assert line["simulated"] is True
    assert line["design"] == digest_of(DESIGN)
    status, metadata = call(server, "GET", "/v2")
    assert status == 200
    facts = metadata["parameters"]
    assert facts["fpga_simulated"] == "true"
    assert facts["fpga_board"].startswith("simulated: simulation, the Verilated design for ice40-up5k")
    assert facts["fpga_design"] == digest_of(DESIGN)
    status, body = call(server, "POST", "/score", {"features": ROW})
    expected = probabilities_of(DESIGN, scores_of(DESIGN, codes_of(DESIGN, [0.3, -1.25, 1.0])))
    assert status == 200
    assert list(body["probabilities"].values()) == pytest.approx(expected, abs=1e-6)
    text = call(server, "GET", "/metrics")[1]
    assert 'runtime="fpga"' in text
    assert "\nedgeloop_fpga_board_ready 1\n" in text
    assert "# TYPE edgeloop_fpga_answers_total counter" in text
    assert server.stop() == 0


def test_a_server_outlives_the_loss_of_its_board(
    node: Any, tmp_path: Path, reference: Reference, eventually: Callable[..., Any]
) -> None:
    """503 with what and where, not ready, and the same answers when the board is back; the failure is counted."""
    pytest.importorskip("uvicorn", reason="serves: needs the extra `node`")
    server = node.serve(write_folder(tmp_path / "model", reference), "--runtime", "fpga")
    before = call(server, "POST", "/score", {"features": ROW})
    simulation = tmp_path / "model" / "simulation"
    simulation.rename(tmp_path / "unplugged")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    status, body = call(server, "POST", "/score", {"features": ROW})
    assert status == 503
    assert "simulated: simulation" in body["error"]
    assert "the device is gone" in body["error"]
    eventually(lambda: "cannot be started" in call(server, "POST", "/score", {"features": ROW})[1]["error"])
    status, body = call(server, "GET", "/v2/health/ready")
    assert (status, body["ready"]) == (503, False)
    assert str(simulation) in body["error"]
    assert call(server, "GET", "/v2/health/live")[0] == 200
    (tmp_path / "unplugged").rename(simulation)
    eventually(lambda: call(server, "GET", "/v2/health/ready")[0] == 200)
    assert call(server, "POST", "/score", {"features": ROW}) == before
    assert len(server.said("the board is lost")) == len(server.said("the board is back")) == 1
    assert "\nedgeloop_fpga_losses_total 1\n" in call(server, "GET", "/metrics")[1]
    assert server.stop() == 0


@pytest.fixture
def folder(tmp_path: Path, reference: Reference) -> Path:
    return write_folder(tmp_path / "model", reference)


def test_both_runtimes_pass_the_self_test(folder: Path) -> None:
    """Through the simulated board and without any: the same golden rows, exactly."""
    for runtime in ("fpga", "fpga-sim"):
        model = load_model(folder, runtime)
        assert self_test(model) < 1e-7
        assert model.scorer.runtime == runtime
        assert model.scorer.facts["fpga_simulated"] == "true"


def test_a_device_of_the_environment_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And named when it is not there: nothing is simulated in its place."""
    monkeypatch.setenv("EDGELOOP_DEVICE", "/dev/no-such-tty")
    with pytest.raises(ModelError, match=r"board of no name at /dev/no-such-tty, .*: expected a serial device"):
        scorer_for("fpga", folder)


def test_a_simulation_may_be_asked_for_where_the_target_has_a_device(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the profiler does, which has no board."""
    spoil(folder, "board.json", device="/dev/no-such-tty")
    monkeypatch.setenv("EDGELOOP_DEVICE", "simulation")
    assert scorer_for("fpga", folder).facts["fpga_simulated"] == "true"


def spoil(folder: Path, name: str, **changes: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("board.json", {"design": "sha256:" + "1" * 64}, "board.json: expected the digest of design.json, sha256:"),
        ("certificate.json", {"design": "sha256:" + "1" * 64}, "certificate.json: expected a certificate of the design"),
        ("board.json", {"simulation": ""}, "the runtime fpga-sim serves the same bits"),
        ("board.json", {"baud": 115_201}, "simulated: .*baud: expected a speed"),
        ("design.json", {"classes": "three"}, "design.json: "),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_hold_together_is_refused(folder: Path, name: str, changes: Any, says: str) -> None:
    """The file is named."""
    spoil(folder, name, **changes)
    with pytest.raises(ModelError, match=says):
        fpga.load(folder)


def test_a_bitstream_that_is_not_the_certificates_is_refused(folder: Path) -> None:
    """Without any key, by its digest alone; the core is asked for its design's digest only after that."""
    content = b"the bitstream that was built"
    (folder / "bitstream.bin").write_bytes(content)
    spoil(folder, "board.json", bitstream="bitstream.bin")
    with pytest.raises(ModelError, match=r"bitstream\.bin: expected None, as certificate\.json has it"):
        fpga.load(folder)
    spoil(folder, "certificate.json", bitstream={"sha256": f"sha256:{hashlib.sha256(content).hexdigest()}"})
    assert fpga.load(folder).facts["fpga_simulated"] == "true"
    (folder / "bitstream.bin").write_bytes(content.replace(b"b", b"c", 1))
    with pytest.raises(ModelError, match=r"bitstream\.bin: expected sha256:\w{64}, as certificate\.json has it, got"):
        fpga.load(folder)
    (folder / "bitstream.bin").unlink()
    with pytest.raises(ModelError, match=r"bitstream\.bin: expected the bitstream that board\.json names"):
        fpga.load(folder)


def test_a_simulation_of_another_design_is_refused(folder: Path) -> None:
    """Its core answers with another digest than design.json's."""
    other = samples.perceptron(seed=8, sizes=(3, 5, 3))
    (folder / "design.json").write_text(dumps(other))
    for name in ("board.json", "certificate.json"):
        spoil(folder, name, design=digest_of(other))
    text = (folder / "simulation").read_text()
    (folder / "other.json").write_text(dumps(DESIGN))
    (folder / "simulation").write_text(text.replace("design.json", "other.json"))
    with pytest.raises(ModelError, match=f"expected a core of the design {digest_of(other)}, got one of"):
        fpga.load(folder)


def test_graphs_without_classes_are_refused(folder: Path) -> None:
    """By the outputs that they would have."""
    golden = type("Golden", (), {"outputs": [type("Tensor", (), {"name": "speed"})]})
    with pytest.raises(ModelError, match=r"golden\.json: expected a classifier, got a graph with the outputs speed"):
        scorer_for("fpga-sim", folder, golden=golden)  # type: ignore[arg-type]


def call(server: Any, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request; JSON where it is JSON."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.request(method, path, body if body is None else json.dumps(body))
    answer = connection.getresponse()
    raw = answer.read()
    connection.close()
    return answer.status, json.loads(raw) if "json" in answer.headers["Content-Type"] else raw.decode()
