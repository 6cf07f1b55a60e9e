"""`edgeloop drift` on two small files, with the real Evidently."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

LOOP = """\
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: small}
data: {source: a.csv, label: y, features: [moved, still, colour]}
train: {estimator: sklearn.linear_model.LogisticRegression}
targets: [{name: t, nodes: {group: g}}]
"""


def _rows(path: Path, shift: float, seed: int) -> None:
    chance = random.Random(seed)
    rows = [f"{chance.gauss(shift, 1):.4f},{chance.gauss(0, 1):.4f},{chance.choice('rgb')},1" for _ in range(1500)]
    path.write_text("\n".join(["moved,still,colour,y", *rows]) + "\n")


def _drift(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "edgeloop_pipelines.cli", "drift", "loop.yaml", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=180)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loop.yaml").write_text(LOOP)
    _rows(tmp_path / "a.csv", 0.0, 1)
    _rows(tmp_path / "b.csv", 1.0, 2)
    return tmp_path


@pytest.mark.slow
def test_the_feature_that_moved_is_named(folder: Path) -> None:
    """The shifted column drifts, the others do not, and the page is there."""
    done = _drift(folder, "--reference", "a.csv", "--current", "b.csv", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [c["column"] for c in found["columns"] if c["drifted"]] == ["moved"]
    assert "<html" in (folder / "drift.html").read_text()


def test_files_without_the_columns_are_refused(folder: Path) -> None:
    """A file that lacks a feature gives a clear error and no page."""
    (folder / "c.csv").write_text("moved,y\n1,1\n")
    done = _drift(folder, "--reference", "a.csv", "--current", "c.csv")
    assert done.returncode == 1
    assert "c.csv: expected rows with the columns moved, still, colour; missing: still, colour" in done.stderr
    assert not (folder / "drift.html").exists()
