"""scikit-learn's regressors with a target in the ten thousands, from the estimator to a signed image of every platform."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.package.layers import host_platform
from edgeloop_components.runtimes.native import PLATFORMS
from edgeloop_components.signing import new_key
from edgeloop_pipelines.cli import main

DRAW = np.random.default_rng(7)
PLAIN = DRAW.normal(size=(400, 5)).astype(np.float32)
WIDE = (PLAIN * np.array([1, 30, 0.02, 400, 5]) + np.array([10, -60, 1, 9000, 0])).astype(np.float32)
TARGET = 10_000 + 9_000 * PLAIN[:, 0] - 4_000 * PLAIN[:, 1] * np.abs(PLAIN[:, 2]) + 500 * PLAIN[:, 3]


def scaled(estimator: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), estimator)


def estimators() -> dict[str, Callable[[], Any]]:
    """Those that see rows around 0, and pipelines (`scaled ...`), which see features of any size."""
    from sklearn import ensemble, linear_model, neural_network, svm, tree

    def mlp(activation: str) -> Any:
        return neural_network.MLPRegressor(
            hidden_layer_sizes=(24, 12), activation=activation, max_iter=60, random_state=0
        )

    return {
        "linear": linear_model.LinearRegression,
        "ridge": linear_model.Ridge,
        "mlp": lambda: mlp("relu"),
        "svr rbf": lambda: svm.SVR(C=1e4),
        "svr linear": lambda: svm.SVR(kernel="linear", C=1e3),
        "gradient boosting": lambda: ensemble.GradientBoostingRegressor(n_estimators=40, random_state=0),
        "hist gradient boosting": lambda: ensemble.HistGradientBoostingRegressor(max_iter=40, random_state=0),
        "random forest": lambda: ensemble.RandomForestRegressor(20, max_depth=8, random_state=0),
        "deep forest": lambda: ensemble.RandomForestRegressor(10, random_state=0),
        "extra trees": lambda: ensemble.ExtraTreesRegressor(20, max_depth=8, random_state=0),
        "decision tree": lambda: tree.DecisionTreeRegressor(random_state=0),
        "bagging": lambda: ensemble.BaggingRegressor(n_estimators=5, random_state=0),
        "voting": lambda: ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor())]),
        "poisson": linear_model.PoissonRegressor,
        "scaled linear": lambda: scaled(linear_model.LinearRegression()),
        "scaled mlp": lambda: scaled(mlp("tanh")),
        "scaled svr rbf": lambda: scaled(svm.SVR(C=1e4)),
        "scaled svr linear": lambda: scaled(svm.SVR(kernel="linear", C=1e3)),
        "scaled svr poly": lambda: scaled(svm.SVR(kernel="poly", C=1e3)),
        "scaled boosting": lambda: scaled(ensemble.HistGradientBoostingRegressor(max_iter=40, random_state=0)),
    }


NAMES = (
    "linear", "ridge", "mlp", "svr rbf", "svr linear", "gradient boosting", "hist gradient boosting", "random forest",
    "deep forest", "extra trees", "decision tree", "bagging", "voting", "poisson", "scaled linear", "scaled mlp",
    "scaled svr rbf", "scaled svr linear", "scaled svr poly", "scaled boosting",
)  # fmt: skip
FAST = ("scaled svr linear",)


@pytest.fixture
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The estimator of that name, fitted and written by skl2onnx."""
    from skl2onnx import to_onnx

    rows = WIDE if request.param.startswith("scaled") else PLAIN
    target = np.abs(TARGET) if request.param == "poisson" else TARGET
    fitted = estimators()[request.param]().fit(rows, target)
    path = tmp_path / "power.onnx"
    path.write_bytes(to_onnx(fitted, rows[:1], target_opset={"": 18, "ai.onnx.ml": 3}).SerializeToString())
    return path


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    text = capsys.readouterr().out
    return json.loads(text[text.index("{\n") :])


def test_every_row_of_the_table_is_run() -> None:
    """The names, which the tests are made of before scikit-learn is there, are those of the estimators."""
    assert tuple(estimators()) == NAMES


@pytest.mark.parametrize("file", FAST, indirect=True)
def test_a_regressor_holds_on_this_machine(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows near 0 and far out of range among them, and the server passes its own golden rows."""
    assert main(["model", "parity", str(file), "--platform", host_platform(), "--json"]) == 0
    (found,) = said(capsys)["platforms"]
    assert found["state"] == "passed"
    assert found["scales"]["variable"] > 5_000
    assert main(["model", "compile", str(file), "-o", str(tmp_path / "out")]) == 0
    server = tmp_path / "out" / host_platform() / "server"
    assert subprocess.run([server, "selftest"], capture_output=True, text=True).stdout == "self-test passed\n"


@pytest.mark.long
@pytest.mark.parametrize("file", NAMES, indirect=True)
def test_a_regressor_on_every_platform(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Compiled, proved under emulation with the same bits, packed and signed, and verified again."""
    assert main(["model", "inspect", str(file), "--json"]) == 0
    capsys.readouterr()
    assert main(["model", "compile", str(file), "--platform", "all", "-o", str(tmp_path / "out"), "--json"]) == 0
    assert set(said(capsys)["platforms"]) == set(PLATFORMS)
    assert main(["model", "parity", str(file), "--json"]) == 0
    found = said(capsys)["platforms"]
    assert {one["platform"]: one["state"] for one in found} == dict.fromkeys(PLATFORMS, "passed")
    assert len({one["output_digest"] for one in found}) == 1
    private, public = new_key(tmp_path / "k.key")
    images = tmp_path / "images"
    words = ["--platform", "all", "--key", str(private), "-o", str(images), "--json"]
    assert main(["model", "package", str(file), *words]) == 0
    made = said(capsys)
    assert {package["platform"] for package in made["packages"]} == set(PLATFORMS)
    assert all(package["parity"]["passed"] for package in made["packages"])
    assert main(["model", "verify", f"oci:{images}:edgeloop/power:1", "--key", str(public)]) == 0
