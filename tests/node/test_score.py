"""The access script: `edgeloop-node score` and `edgeloop_node.access.score`, against real servers."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_node.access import (
    AmbiguousError,
    Item,
    NoServerError,
    Settings,
    WrongVersionError,
    open_model,
    score,
    score_with,
)

CSV = "time,flow,heat,mode,note\n2014-01-01T00:00:00Z,0.3,-1.25,b,x\n2014-01-01T00:10:00Z,,2.5,new,y\n"
ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(node: Any) -> Run:
    """`edgeloop-node score` with the node's run folder; gives code, stdout and stderr."""
    return lambda *arguments, text="": script(node.run_dir, *arguments, text=text)


def script(run_dir: Path, *arguments: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeloop_node", "score", *arguments]
    env = {**os.environ, "EDGELOOP_RUN_DIR": str(run_dir), **environment}
    return subprocess.run(command, input=text, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture(scope="module")
def served(shared_node: Any, model: Path) -> Any:
    return shared_node.serve(model)


@pytest.fixture
def here(shared_node: Any, served: Any) -> Run:
    return lambda *arguments, text="": script(shared_node.run_dir, *arguments, text=text)


def test_a_csv_is_scored(here: Run, tmp_path: Path) -> None:
    """Label, confidence, one column a class and the version come out, a line for each row; other columns are named once."""
    (tmp_path / "rows.csv").write_text(CSV)
    done = here(str(tmp_path / "rows.csv"))
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.returncode == 0
    assert list(rows[0]) == ["label", "confidence", "p_fault", "p_idle", "p_run", "version"]
    assert [row["version"] for row in rows] == ["1", "1"]
    for row in rows:
        scores = {name: float(row[f"p_{name}"]) for name in ("fault", "idle", "run")}
        assert sum(scores.values()) == pytest.approx(1, abs=1e-6)
        assert float(row["confidence"]) == max(scores.values()) == scores[row["label"]]
    assert "does not use: time, note" in done.stderr


def test_stdin_json_time_and_id(node: Any, model: Path, run: Run, request_json: Any) -> None:
    """`-` reads stdin, --json writes objects, --id comes back, --time decides the window of the counts."""
    server = node.serve(model)
    done = run("-", "--json", "--time", "time", "--id", "note", text="\ufeff" + CSV)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [a["id"] for a in answers]) == (0, ["x", "y"])
    assert answers[0].keys() == {"id", "label", "confidence", "probabilities", "model", "version"}
    (report,) = request_json(server.port, "GET", "/window?after=0")[1]["reports"]
    assert (report["window_start_s"], report["counts"]["rows"]) == (1388534400, 2)
    assert report["counts"]["features"]["flow"]["missing"] == 1


def test_by_url(here: Run, served: Any) -> None:
    """--url reaches a server without a run folder."""
    done = here("-", "--url", f"http://127.0.0.1:{served.port}", "--run-dir", "/nowhere", text=CSV)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)


def test_refused_rows_keep_their_place(here: Run) -> None:
    """Rows that cannot be scored give an empty line and a reason with the line number; the others are scored; code 5."""
    text = 'flow,heat,mode\n1,1,a\nabc,1,a\n1,1\n"1",inf,a\n\n2,2,c\nnan,1e39,a\n'
    done = here("-", text=text)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert done.returncode == 5
    assert [bool(row["label"]) for row in rows] == [True, False, False, False, True, False]
    says = done.stderr.splitlines()
    assert 'line 3: refused: features.flow: expected a number that fits into float32, or null, got "abc"' in says
    assert "line 4: refused: expected 3 cells, got 2" in says
    assert any(line.startswith("line 5: refused: features.heat") for line in says)
    assert says[-1] == "4 rows were refused"
    answers = [json.loads(line) for line in here("-", "--json", text=text).stdout.splitlines()]
    assert ["error" in answer for answer in answers] == [False, True, True, True, False, True]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: expected a header line, got nothing"),
        ("flow,heat,mod\n1,1,a\n", "line 1: expected a column mode (did you mean mod?)"),
        ("flow,flow,heat,mode\n", "expected each column once, got twice: flow"),
        ('flow,heat,mode\n1,1,"a\n', "unexpected end of data"),
    ],
)
def test_bad_input_is_code_1(here: Run, text: str, says: str) -> None:
    """A CSV that cannot be read ends with code 1 and the reason."""
    done = here("-", text=text)
    assert done.returncode == 1
    assert says in done.stderr


def test_files_that_cannot_be_read(here: Run, tmp_path: Path) -> None:
    """A missing file and one that is no UTF-8 are bad input."""
    (tmp_path / "x.csv").write_bytes(b"flow,heat,mode\n\xff,1,a\n")
    assert here(str(tmp_path / "none.csv")).returncode == 1
    assert here(str(tmp_path / "x.csv")).returncode == 1


@pytest.mark.parametrize("arguments", [["-", "--batch", "0"], [], ["-", "--version", "x"]])
def test_usage_is_code_2(here: Run, arguments: list[str]) -> None:
    """Wrong arguments are code 2."""
    assert here(*arguments).returncode == 2


def test_no_server_is_code_3(run: Run, node: Any) -> None:
    """No server, a dead one, and one of another model: code 3 and what was expected."""
    assert run("-", "--retries", "0", text=CSV).returncode == 3
    entry = {"boot": "b", "pid": 1, "socket": "b.sock", "loop": "pump", "version": 1, "started_s": 1.0}
    (node.run_dir / "b.json").write_text(json.dumps(entry))
    done = run("-", "--retries", "1", text=CSV)
    assert (done.returncode, "nobody listens" in done.stderr) == (3, True)
    done = run("-", "--retries", "0", "--loop", "valve", text=CSV)
    assert (done.returncode, "expected a server of valve" in done.stderr) == (3, True)
    assert run("-", "--retries", "0", "--url", "http://127.0.0.1:9", text=CSV).returncode == 3


def test_another_version_is_code_4(here: Run) -> None:
    """--version refuses any other version, before a row is scored."""
    done = here("-", "--version", "7", text=CSV)
    assert (done.returncode, done.stdout) == (4, "")
    assert "expected version 7, got 1" in done.stderr
    assert here("-", "--version", "1", text=CSV).returncode == 0


def test_a_reader_that_leaves_early_is_fine(here: Run, shared_node: Any) -> None:
    """`edgeloop-node score ... | head -1` ends without a trace."""
    command = f"{sys.executable} -m edgeloop_node score - | head -1"
    text = "flow,heat,mode\n" + "1,1,a\n" * 5000
    env = {**os.environ, "EDGELOOP_RUN_DIR": str(shared_node.run_dir)}
    done = subprocess.run(["sh", "-c", command], input=text, capture_output=True, text=True, env=env, timeout=60)
    assert (done.returncode, "Traceback" in done.stderr, len(done.stdout.splitlines())) == (0, False, 1)


def test_from_python(shared_node: Any, served: Any) -> None:
    """The function gives one answer a row, in order; refused rows carry their reason, also NaN and infinity."""
    rows = [ROW, {**ROW, "flow": "x"}, Item(ROW, time=0, id="i"), {**ROW, "heat": float("inf")}, {}]
    answers = score(rows, Settings(run_dir=shared_node.run_dir))
    assert [bool(a.error) for a in answers] == [False, True, False, True, False]
    assert answers[0].probabilities == answers[2].probabilities
    assert (answers[2].id, answers[2].version, answers[0].label) == ("i", 1, answers[2].label)
    assert answers[1].error.startswith("features.flow: expected a number")
    assert score([], Settings(run_dir=shared_node.run_dir)) == []


def test_errors_from_python(shared_node: Any, served: Any, tmp_path: Path) -> None:
    """No server and a wrong version are exceptions of their own."""
    with pytest.raises(NoServerError, match="expected a server, found none"):
        score([ROW], Settings(run_dir=tmp_path, retries=0))
    with pytest.raises(WrongVersionError, match="expected version 2, got 1"):
        score([ROW], Settings(run_dir=shared_node.run_dir, version=2))


def test_several_models_must_be_named(node: Any, model: Path, make_model: Any, run: Run) -> None:
    """With two loops on a node --loop says which; without it that is a usage error."""
    node.serve(model)
    node.serve(make_model(4, loop="valve"))
    with pytest.raises(AmbiguousError, match="pump, valve"):
        score([ROW], Settings(run_dir=node.run_dir))
    assert run("-", text=CSV).returncode == 2
    assert score([ROW], Settings(run_dir=node.run_dir, loop="valve"))[0].version == 4


def test_of_two_versions_the_newer_is_asked(node: Any, model: Path, make_model: Any) -> None:
    """While two versions are served the one that started last answers, unless a version is named."""
    node.serve(model)
    node.serve(make_model(2, seed=1))
    assert score([ROW], Settings(run_dir=node.run_dir))[0].version == 2
    assert score([ROW], Settings(run_dir=node.run_dir, version=1))[0].version == 1


def test_it_goes_on_when_the_server_is_replaced(node: Any, model: Path, make_model: Any, eventually: Any) -> None:
    """A long job survives the end of the server it began with: the rest is scored by the next one."""
    first, over = node.serve(model), threading.Event()
    versions: list[int] = []
    settings = Settings(run_dir=node.run_dir, retries=8)

    def job() -> None:
        served = open_model(settings)
        while not over.is_set():
            served, answers = score_with(served, [Item(ROW)] * 5, settings)
            versions.extend(answer.version for answer in answers)
        served.connection.close()

    worker = threading.Thread(target=job)
    worker.start()
    eventually(lambda: versions)
    node.serve(make_model(2, seed=1))
    assert first.stop() == 0
    seen = len(versions)
    eventually(lambda: len(versions) > seen + 5)
    over.set()
    worker.join(30)
    assert (set(versions), versions[-1], sorted(versions) == versions) == ({1, 2}, 2, True)


def test_it_waits_for_a_server_that_is_not_there_yet(node: Any, model: Path) -> None:
    """Retries with growing pauses cover the time in which a server starts."""
    timer = threading.Timer(0.3, node.serve, [model])
    timer.start()
    (answer,) = score([ROW], Settings(run_dir=node.run_dir, retries=8))
    timer.join()
    assert answer.version == 1
