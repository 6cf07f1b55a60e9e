"""Verilog of designs: what is emitted, what is refused, and which files depend on what."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import samples
from simulation import needs_yosys

from edgeloop_components.fpga.images import memories_of, words_of
from edgeloop_components.fpga.rtl import RtlError, RtlOptions, emit
from edgeloop_components.fpga.rtl.adders import Term, summed
from edgeloop_components.fpga.rtl.comparators import FALSE, TRUE, Comparators
from edgeloop_components.fpga.rtl.text import bits_of, index_bits, width_of
from edgeloop_components.fpga.tools import run
from edgeloop_contracts import digest_of
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import encode_id

TABLES = RtlOptions(tables=4, table_words=512, table_width=36)


def images(files: Mapping[str, str]) -> dict[str, list[int]]:
    """Memory image: its words."""
    return {memory.file: words_of(memory, files[memory.file]) for memory in memories_of(files)}


@pytest.mark.parametrize("name", samples.SAMPLES)
@pytest.mark.parametrize("front", ["uart", "spi", "wishbone"])
def test_every_module_that_is_used_is_there(name: str, front: str) -> None:
    files = emit(samples.SAMPLES[name](), RtlOptions(front=front))  # type: ignore[arg-type]
    modules = {found for text in files.values() for found in re.findall(r"^module (\w+)", text, re.MULTILINE)}
    assert {f"{module}.v" for module in modules} == {file for file in files if file.endswith(".v")}
    assert {"top", "device", "shell", "core", "crc8", "identity"} <= modules
    assert list(files) == sorted(files)


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_equal_designs_give_equal_texts(name: str) -> None:
    assert emit(samples.SAMPLES[name](), RtlOptions()) == emit(samples.SAMPLES[name](), RtlOptions())


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_the_identity_is_the_answer_to_id_from_behind(name: str) -> None:
    design = samples.SAMPLES[name]()
    words = images(emit(design, RtlOptions()))["identity.hex"]
    assert bytes(reversed(words[1:34])) == encode_id(digest_of(design))


def test_perceptrons_of_one_shape_differ_in_memory_images_only() -> None:
    one, other = (emit(samples.perceptron(seed), RtlOptions()) for seed in (5, 6))
    assert {name for name in one if one[name] != other[name]} == {"identity.hex", "outputs.hex", "weights.hex"}


def test_weights_lie_in_the_order_of_use() -> None:
    design = samples.perceptron(sizes=(4, 5, 3))
    words = images(emit(design, RtlOptions(multipliers=2)))["weights.hex"]
    model = design.perceptron
    assert model is not None
    found = iter(words)
    for layer in model.layers:
        for first in range(0, len(layer.weights), 2):
            for column in range(len(layer.weights[0])):
                word = next(found)
                for lane, row in enumerate(layer.weights[first : first + 2]):
                    assert (word >> 8 * lane) & 0xFF == row[column] & 0xFF
    assert not any(found)


@pytest.mark.parametrize("lanes", [1, 2, 4, 7, 64])
def test_flags_of_outputs_end_groups_layers_and_the_network(lanes: int) -> None:
    design = samples.perceptron(sizes=(3, 9, 4))
    files = emit(design, RtlOptions(multipliers=lanes))
    memory = next(memory for memory in memories_of(files) if memory.file == "outputs.hex")
    flags = [word >> (memory.width - 3) for word in images(files)["outputs.hex"][: 9 + 4]]
    lanes = min(lanes, 9)  # more have nothing to do
    hidden = [(k == 8) << 1 | (k == 8 or k % lanes == lanes - 1) for k in range(9)]
    scores = [4 | (k == 3) << 1 | (k == 3 or k % lanes == lanes - 1) for k in range(4)]
    assert flags == [*hidden, *scores]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"front": "usb"}, "front: expected uart, spi or wishbone, found 'usb'"),
        ({"multipliers": 0}, "multipliers: expected at least 1, found 0"),
        ({"baud": 5_000_000}, "baud: expected clock_hz / baud of at least 4"),
        ({"baud": 2_500_000}, "within 2 % of a whole number"),
        ({"front": "spi", "quiet_s": 1e12}, "quiet_s: expected 2 to 2^40 clocks"),
    ],
)
def test_options_are_refused_by_name(options: dict[str, object], said: str) -> None:
    with pytest.raises(RtlError, match=re.escape(said)):
        RtlOptions(**options)  # type: ignore[arg-type]


def _with(design: FpgaDesign, **changes: object) -> FpgaDesign:
    return dataclasses.replace(design, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("design", "said"),
    [
        (_with(samples.perceptron(), perceptron=None), "expected a perceptron or a forest, found neither"),
        (_with(samples.perceptron(), forest=samples.forest().forest), "expected a perceptron or a forest, found both"),
        (_with(samples.perceptron(), code_bits=7), "code_bits: expected those of the perceptron, 8, found 7"),
        (_with(samples.perceptron(), scores=2), "scores: expected as many as outputs of the last layer, 3, found 2"),
        (_with(samples.perceptron(), features=5), "perceptron.layers[0].weights: expected rows of 5"),
        (_with(samples.forest(), scores=2), "forest.base: expected 2 values, found 3"),
        (_with(samples.forest(), code_bits=3), "code_bits: expected 4 for codes up to 15, found 3"),
        (_with(samples.forest(), missing=(1, 2)), "missing: expected one for each of 4 features, found 2"),
        (samples.perceptron(sizes=(256, 2)), "frame: expected a payload of at most 255 bytes, found 256"),
        (samples.perceptron(sizes=(2, 128)), "frame: expected a payload of at most 255 bytes, found 257"),
        (samples.perceptron(bits=17), "perceptron.bits: expected 2 to 16, found 17"),
    ],
)
def test_designs_are_refused_with_what_was_expected(design: FpgaDesign, said: str) -> None:
    with pytest.raises(RtlError, match=re.escape(said)):
        emit(design, RtlOptions())


def test_comparisons_that_every_code_passes_are_constants() -> None:
    design = samples.boosting()
    assert design.forest is not None
    comparators = Comparators(design, design.forest, RtlOptions())
    assert comparators.name(0, 16, False) == TRUE  # the largest code is 16: missing
    assert comparators.name(0, 15, True) == TRUE
    assert comparators.name(1, 15, False) == TRUE  # without missing values
    assert comparators.name(0, -1, False) == FALSE
    assert comparators.name(0, 3, False) == "c0"
    assert comparators.name(0, 3, True) == "c1"
    assert comparators.name(1, 3, True) == comparators.name(1, 3, False) == "c2"


@pytest.mark.parametrize("count", [3, 15, 16, 40, 300])
def test_comparisons_in_logic_are_right_for_every_code(count: int) -> None:
    """The text of each comparison, read as Python, over every code that the feature has."""
    design = samples.boosting()
    assert design.forest is not None
    thresholds = (tuple(map(float, range(count))), *design.forest.thresholds[1:])
    forest = dataclasses.replace(design.forest, thresholds=thresholds)
    comparators = Comparators(_with(design, missing=(count + 1, 15, 16, 15)), forest, RtlOptions())
    for edge, missing_left in itertools.product(range(-1, count + 1), (False, True)):
        comparators.name(0, edge, missing_left)
    lines = "\n".join(comparators.lines())
    found = re.findall(r"c\d+ <= (.*);  // x0 <= (-?\d+)( or missing)?", lines)
    assert len(found) >= 2 * count
    tests = [(eval(f"lambda x0_0, x0_1, x0_2: {_as_python(text)}"), edge, missing) for text, edge, missing in found]
    for code in range(count + 2):
        bits = [[code >> 4 * chunk & 15 <= k for k in range(16)] for chunk in range(3)]
        for test, edge, missing in tests:
            assert test(*bits) == (code <= int(edge) or (bool(missing) and code > count)), (edge, missing, code)


def _as_python(text: str) -> str:
    return text.replace("~(", "1 ^ (").replace("1'b0", "0")


def test_tables_hold_what_the_comparators_say_of_every_code() -> None:
    files = emit(samples.boosting(trees=40), TABLES)
    assert "table_3.v" in files
    assert "thermometer #" not in files["core.v"], "every comparator found a table"
    for name, words in images(files).items():
        if not name.startswith("table"):
            continue
        tests = re.findall(r"bit (\d+): x\d+ <= (\d+)( or missing)?", files[name.replace(".hex", ".v")])
        assert tests
        for (bit, edge, missing), code in itertools.product(tests, range(17)):
            want = code <= int(edge) or (bool(missing) and code >= 16)
            assert words[code] >> int(bit) & 1 == want, (name, bit, code)


def test_tables_are_as_many_as_the_options_allow() -> None:
    files = emit(samples.boosting3(), dataclasses.replace(TABLES, tables=1))
    assert [name for name in files if name.startswith("table_")] == ["table_0.hex", "table_0.v"]
    assert "thermometer #" in files["core.v"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 10, 28])
def test_sums_are_as_wide_as_their_range_needs(count: int) -> None:
    terms = [Term(f"t{k}", -(1 << k % 5), 3 * k) for k in range(count)]
    lines, (total,), clocks = summed([terms])
    assert (total.least, total.most) == (sum(t.least for t in terms), sum(t.most for t in terms))
    assert sum(line.count("reg [") for line in lines) >= 1
    assert 3**clocks >= count > 3 ** (clocks - 1) or (count, clocks) == (1, 1)


@pytest.mark.parametrize("even", list(itertools.product([False, True], repeat=3)))
def test_a_sum_of_an_even_term_is_not_kept(even: tuple[bool, ...]) -> None:
    """Its lowest bit is the other term's own, and yosys loses drivers of such a wire: an even one comes third."""
    terms = [Term(f"t{place}", 0, 2, one) for place, one in enumerate(even)]
    lines, (total,), _ = summed([terms])
    text = "\n".join(lines)
    assert ("(* keep *)" in text) == (sum(even) <= 1)
    assert total.even == all(even)
    assert all(f"t{place}" in text for place in range(3))
    if sum(even) == 1:
        assert re.search(r"a0_0_0 <= a0_0_0_two \+ \{1'd0, (t\d)\};", text)[1] == f"t{even.index(True)}"  # type: ignore[index]


@needs_yosys
@pytest.mark.slow
@pytest.mark.parametrize("even", [(False, True, False), (True, False, True)])
def test_no_bit_of_a_sum_loses_its_driver(even: tuple[bool, ...], tmp_path: Path) -> None:
    """After synthesis for ECP5, with terms whose lowest bit is 0."""
    terms = [Term(f"t{place}", 0, 2, one) for place, one in enumerate(even)]
    lines, (total,), _ = summed([terms])
    registers = [
        f"    reg [1:0] t{place}; always @(posedge clk) t{place} <= x[{2 * place} +: 2]{' & 2' if one else ''};"
        for place, one in enumerate(even)
    ]
    head = f"module m (input clk, input [5:0] x, output [{total.width - 1}:0] y);"
    body = [head, *registers, *lines, f"    assign y = {total.name};", "endmodule"]
    (tmp_path / "m.v").write_text("\n".join(body) + "\n")
    (tmp_path / "m.ys").write_text("read_verilog m.v\nsynth_ecp5 -top m\nwrite_verilog -noattr out.v\n")
    run("yosys", ["-s", "m.ys"], tmp_path)
    undriven = [
        line for line in (tmp_path / "out.v").read_text().splitlines() if re.match(r"\s+assign .*'h[0-9a-f]*x", line)
    ]
    assert undriven == []


@pytest.mark.parametrize(
    ("least", "most", "bits"), [(0, 0, 1), (0, 255, 8), (-128, 127, 8), (-1, 128, 9), (-129, 0, 9)]
)
def test_width_of_a_range(least: int, most: int, bits: int) -> None:
    assert width_of(least, most) == bits


def test_numbers_that_do_not_fit_are_refused() -> None:
    assert (bits_of(-1, 4), bits_of(15, 4), index_bits(1), index_bits(5)) == (15, 15, 1, 3)
    for value in (-9, 16):
        with pytest.raises(ValueError, match=f"expected a number of 4 bits, found {value}"):
            bits_of(value, 4)


def test_sources_are_ascii_and_narrow() -> None:
    for name in samples.SAMPLES:
        for file, text in emit(samples.SAMPLES[name](), TABLES).items():
            assert text.isascii(), file
            assert text.endswith("\n"), file
    folder = Path(emit.__code__.co_filename).parent / "verilog"
    for path in folder.glob("*.v"):
        assert max(map(len, path.read_text().splitlines())) <= 130, path.name
