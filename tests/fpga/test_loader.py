"""openFPGALoader itself, where it is installed: it knows our boards and parts, and says what is wrong without a board."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import samples

from edgeloop_components.fpga.boards import BOARDS
from edgeloop_components.fpga.digests import of_bytes
from edgeloop_contracts import digest_of, dumps
from edgeloop_pipelines.cli import main

TOOL = shutil.which("openFPGALoader")
NUMBERS = {  # of the parts that it finds over JTAG: what it compares
    "ecp5-25k": "41111043",
    "ecp5-45k": "41112043",
    "ecp5-85k": "41113043",
    "gw2a-18": "81b",
}

pytestmark = pytest.mark.skipif(TOOL is None, reason="openFPGALoader is not on the PATH (Debian: openfpgaloader)")


@functools.cache
def _said(word: str) -> list[list[str]]:
    assert TOOL is not None
    done = subprocess.run([TOOL, word], capture_output=True, text=True, check=True, timeout=60)
    return [line.split() for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize("name", BOARDS)
def test_it_knows_the_board(name: str) -> None:
    assert BOARDS[name].loader in {line[0] for line in _said("--list-boards")}


@pytest.mark.parametrize("part", NUMBERS)
def test_it_knows_the_part(part: str) -> None:
    found = {line[0].removeprefix("0x").lstrip("0") for line in _said("--list-fpga")}
    assert NUMBERS[part] in found


@pytest.mark.skipif("EDGELOOP_TEST_DEVICE" in os.environ, reason="a board is attached")
@pytest.mark.parametrize("name", BOARDS)
def test_without_a_board_it_is_said_what_to_do(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suffix = {"ice40": "bin", "ecp5-": "bit", "gw2a-": "fs"}[BOARDS[name].part[:5]]
    bitstream = tmp_path / f"bitstream.{suffix}"
    bitstream.write_bytes(b"no bitstream")
    figures = {"board": name, "bitstream": bitstream.name, "sha256": of_bytes(bitstream.read_bytes())}
    design = samples.perceptron()
    (tmp_path / "design.json").write_text(dumps(design))
    (tmp_path / "certificate.json").write_text(json.dumps({"design": digest_of(design), "bitstream": figures}))
    assert main(["fpga", "load", str(tmp_path), "--json"]) != 0
    error = json.loads(capsys.readouterr().out)["error"]
    assert f"openFPGALoader -b {BOARDS[name].loader} {bitstream.name}: ended with 1: " in error["message"]
    assert "device not found" in error["message"]
    assert "is the board plugged in" in error["hint"]
