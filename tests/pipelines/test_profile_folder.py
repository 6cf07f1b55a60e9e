"""`edgeloop profile FOLDER`: the folder's own documents say what it is, whichever command wrote it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.compile.core import compile_model
from edgeloop_components.package.layers import host_platform
from edgeloop_components.profile.plan import QUICK
from edgeloop_components.runtimes.native import PLATFORMS
from edgeloop_contracts import dumps
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.cli import profile as cli
from edgeloop_pipelines.cli.console import UserError
from edgeloop_pipelines.cli.profile_folder import compiled_in

SHORT = replace(QUICK, point_s=0.2, longest_point_s=0.2, warm_s=0.1, steps=1)
FOREIGN = next(platform for platform in PLATFORMS if platform != host_platform())


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier in a file."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(4).normal(size=(100, 3)).astype(np.float32)
    path = tmp_path_factory.mktemp("lone") / "pump.onnx"
    path.write_bytes(to_onnx(LogisticRegression().fit(rows, rows[:, 0] > 0), rows[:1]).SerializeToString())
    return path


def measured(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setattr(cli, "_plan", lambda _: SHORT)
    capsys.readouterr()
    assert main(["profile", str(folder), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["latency_p99_ms"] > 0
    return found


@pytest.mark.parametrize(
    ("runtime", "platform", "least_mib", "most_mib"),
    [
        ("native", host_platform(), 0, 8),
        pytest.param("native", FOREIGN, 0, 8, marks=[pytest.mark.slow, pytest.mark.long]),
        ("onnxruntime", host_platform(), 16, 1024),
    ],
)
def test_what_model_compile_wrote_is_measured(
    runtime: str,
    platform: str,
    least_mib: float,
    most_mib: float,
    lone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its real server, as the manifest says: memory tells the C server from Python; a foreign one is compiled for here."""
    out = tmp_path / "out"
    words = ["--runtime", runtime, "--platform", platform, "-o", str(out)]
    assert main(["model", "compile", str(lone), *words]) == 0
    found = measured(out, monkeypatch, capsys)
    assert found["loop"] == "pump"
    assert least_mib <= found["memory_peak_mib"] <= most_mib
    assert (f"for {platform}" in found["method"]) == (platform == FOREIGN)


def test_what_the_step_wrote_is_known_by_its_parity(lone: Path, tmp_path: Path) -> None:
    """From its folder, and from `model` in it."""
    loop = cli._lone_loop(lone, "native", (None, None, None))
    step = tmp_path / "compiled"
    step.mkdir()
    result = compile_model(loop, loop.targets[0], cli._lone_folder(lone, tmp_path, loop, 0), step / "model")
    (step / "parity.json").write_text(dumps(result.parity))
    for folder in (step, step / "model"):
        with compiled_in(folder, host_platform()) as found:
            assert (found.folder, found.runtime, found.platform) == (step / "model", "native", host_platform())


def test_a_folder_that_is_neither_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model folder before it is compiled, too: nothing says what would serve it."""
    (tmp_path / "reference.json").write_text("{}")
    (tmp_path / "model.onnx").write_text("")
    assert main(["profile", str(tmp_path)]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "expected a compiled folder with manifest.json, or parity.json beside model/, found model.onnx, ref" in error
    assert "hint: edgeloop model compile writes the one" in error


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ({"runtime": "fpga", "platforms": {}}, "runtime: expected native or onnxruntime, found 'fpga'"),
        ({"runtime": "native", "platforms": {FOREIGN: {}}}, "expected the server that manifest.json tells of"),
        ({"file": "thesis.txt"}, "expected what edgeloop model compile writes, got: KeyError('runtime')"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(manifest: Any, says: str, tmp_path: Path) -> None:
    """The file, what was expected and what was found."""
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"manifest\.json|server") as caught, compiled_in(tmp_path, host_platform()):
        pass
    assert says in str(caught.value)
