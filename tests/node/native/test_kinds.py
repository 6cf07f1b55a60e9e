"""The native server's sources with the documents of a model without classes: free of warnings, and a wrong model is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import CalibrationMap, Reference, dumps, schema_hash_of

HERE = Path(__file__).parent
SPEC = importlib.util.find_spec("edgeloop_node")
NATIVE = Path(next(iter(SPEC.submodule_search_locations or ()))) / "native"  # type: ignore[union-attr]
GOLDEN = {
    "rows": [[0.5, None, 1]],
    "input": {"name": "X", "shape": [3]},
    "outputs": [
        {"name": "y", "datatype": "FP32", "shape": [2], "data": [[1.5, None]]},
        {"name": "n", "datatype": "INT64", "shape": [], "data": [[-(2**63)]]},
    ],
}


def documents(folder: Path, reference: Reference, golden: dict[str, Any] = GOLDEN) -> Path:
    plain = Reference(
        loop="pump", schema_hash=schema_hash_of(reference.features, ()), rows=1, features=reference.features, classes=(),
        calibration=CalibrationMap(x=(0.0,), y=(0.0,)),
    )  # fmt: skip
    (folder / "reference.json").write_text(dumps(plain))
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("kept", [1, 2], ids=["floats alone", "both types"])
def test_no_warnings_without_classes(compiler: str, kept: int, reference: Reference, tmp_path: Path) -> None:
    """Arrays for what there is none of are empty, and nothing is compared with them."""
    embed = pytest.importorskip("edgeloop_components.native.embed", reason="needs the extra `cloud`")
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    data = embed.embed(documents(tmp_path, reference, {**GOLDEN, "outputs": GOLDEN["outputs"][:kept]}), "test")
    (tmp_path / "data.h").write_text(data.header)
    (tmp_path / "data.c").write_text(data.source)
    fuzz = HERE.parents[1] / "fuzz" / "native"
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{tmp_path}", f"-I{fuzz}", f"-I{NATIVE}")
    sources = [*sorted(NATIVE.glob("*.c")), tmp_path / "data.c"]
    done = subprocess.run([compiler, *flags, *sources], capture_output=True, text=True)
    assert done.stderr == ""


def test_documents_that_do_not_fit_are_refused(reference: Reference, tmp_path: Path) -> None:
    """An input of another width than the features, and a golden.json of a classifier."""
    embed = pytest.importorskip("edgeloop_components.native.embed", reason="needs the extra `cloud`")
    wrong = {**GOLDEN, "rows": [[0.5]], "input": {"name": "X", "shape": [1]}}
    with pytest.raises(embed.EmbedError, match=r"golden\.json: input\.shape: expected 3 values a row, .* got 1"):
        embed.embed(documents(tmp_path, reference, wrong), "test")
    with pytest.raises(embed.EmbedError, match=r"golden\.json: Golden: input: expected a JSON object"):
        embed.embed(documents(tmp_path, reference, {"rows": [], "labels": [], "probabilities": []}), "test")


def test_a_model_with_other_outputs_is_not_served(emitted: Any, reference: Reference, tmp_path: Path) -> None:
    """The server compares the model's outputs with its documents before anything else."""
    native = pytest.importorskip(
        "edgeloop_components.native.build", reason="compiles a server: needs the extra `cloud`"
    )
    layers = pytest.importorskip("edgeloop_components.package.layers")
    native.build_server(emitted(), documents(tmp_path, reference), tmp_path / "server", platform=layers.host_platform())
    done = subprocess.run([tmp_path / "server", "selftest"], capture_output=True, text=True)
    expected = "the model: expected the outputs of golden.json, with their types and widths\n"
    assert (done.returncode, done.stderr) == (3, expected)
