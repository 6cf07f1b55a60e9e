"""`edgeloop runs` and the ways in: lists, following, tokens and their rotation, refusals in words; the real kfp.Client."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Loop, RunRequest, dumps
from edgeloop_pipelines import kfpruns
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.kfpserver import RefusedError, Settings, UnreachableError
from edgeloop_pipelines.submit import find_run, submit


def add_run(server: Any, loop: Loop, key: str, number: int, **values: Any) -> dict[str, Any]:
    """A run as the server holds it, `number` minutes after eight."""
    parameters = {"loop": dumps(loop), "run_key": key, "cause": "drift", "started_by": "judge"}
    run = {
        "run_id": f"id-{number}", "display_name": key, "experiment_id": "e1", "state": "SUCCEEDED",
        "created_at": f"2026-11-29T08:{number:02}:00Z", "finished_at": f"2026-11-29T08:{number:02}:30Z",
        "runtime_config": {"parameters": parameters}, **values,
    }  # fmt: skip
    server.runs.append(run)
    return run


@pytest.fixture
def filled(server: Any, loop: Loop) -> Any:
    """Twelve runs of two loops, one of them scheduled, and one of somebody else; three a page."""
    pump = replace(loop, metadata=replace(loop.metadata, name="pump"))
    server.experiments.append({"experiment_id": "e1", "display_name": "edgeloop"})
    for number in range(12):
        add_run(server, pump if number % 3 == 0 else loop, f"key-{number}", number)
    scheduled = {"display_name": "edgeloopturbine7x2-1-99", "recurring_run_id": "r1"}
    add_run(server, loop, "turbine-20261129030000", 20, **scheduled)["runtime_config"]["parameters"]["cause"] = (
        "schedule"
    )
    add_run(server, loop, "foreign", 30)["runtime_config"] = {"parameters": {"text": "x"}}
    server.most_a_page = 3
    return server


def test_the_runs_of_a_loop_are_found_through_all_pages(filled: Any, settings: Settings) -> None:
    """The newest first, by the loop that they were started with; a scheduled run has its key from its parameters."""
    rows = kfpruns.runs_of(settings, "turbine")
    expected = ["turbine-20261129030000", *(f"key-{n}" for n in (11, 10, 8, 7, 5, 4, 2, 1))]
    assert [row.key for row in rows] == expected
    assert (rows[0].cause, rows[0].scheduled, rows[1].by) == ("schedule", True, "judge")
    assert (rows[0].finished_s or 0) - rows[0].created_s == 30
    assert [row.key for row in kfpruns.runs_of(settings, "turbine", most=2)] == expected[:2]
    assert [row.run_id for row in kfpruns.runs_of(settings, key="key-3")] == ["id-3"]
    assert kfpruns.runs_of(replace(settings, experiment="none")) == []


def test_a_scheduled_run_holds_others_up(
    filled: Any, settings: Settings, loop: Loop, request_of_judge: RunRequest
) -> None:
    """A run that the server's scheduler has started counts, though its name is not a run key."""
    filled.runs[-2]["state"] = "RUNNING"
    with pytest.raises(RefusedError, match="turbine-20261129030000 of loop turbine is RUNNING"):
        submit(request_of_judge, loop, settings, alone=True)


def test_the_command_lists(filled: Any, capsys: Any) -> None:
    """A table with run, state, cause; the same as JSON; an error of a run is told."""
    filled.runs[-2] |= {"state": "FAILED", "error": {"code": 13, "message": "train: no rows"}}
    where = ["--host", filled.url, "--namespace", "team-a"]
    assert main(["runs", "turbine", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["run", "loop", "state", "cause", "started", "took", "by"]
    assert lines[1].split()[:4] == ["turbine-20261129030000", "turbine", "FAILED", "schedule"]
    assert lines[-1] == "turbine-20261129030000: train: no rows"
    assert main(["runs", *where, "--limit", "3", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 3
    assert main(["runs", "nobody", *where]) == 0
    assert "no runs of loop nobody" in capsys.readouterr().out
    assert main(["runs", "--run", "nobody", *where]) == 1
    assert "no run with the key or id nobody" in capsys.readouterr().err


def test_the_command_follows(filled: Any, loop_file: Path, capsys: Any) -> None:
    """--wait follows the newest run of the loop and tells by the exit code how it ended, and where it failed."""
    run = filled.runs[-2]
    where = [str(loop_file), "--host", filled.url, "--namespace", "team-a", "--wait", "--poll", "0.1", "--json"]
    run["state"], filled.ends_as = "RUNNING", "SUCCEEDED"
    assert main(["runs", *where]) == 0
    assert json.loads(capsys.readouterr().out)["runs"][0]["state"] == "SUCCEEDED"
    tasks = [{"display_name": "ingest", "state": "SUCCEEDED"}, {"display_name": "train", "state": "FAILED"}]
    run |= {"state": "RUNNING", "run_details": {"task_details": tasks}}
    filled.ends_as = "FAILED"
    assert main(["runs", *where]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "ended as FAILED in train" in error["message"]
    assert error["run"]["cause"] == "schedule"


def test_a_server_that_is_away_for_a_moment_is_waited_for(filled: Any, settings: Settings) -> None:
    """A few 503 in a row do not end the following; a 404 does at once."""
    filled.runs[0]["state"], filled.ends_as, filled.fail_next = "RUNNING", "SUCCEEDED", 3
    seen: list[str] = []
    row = kfpruns.followed(settings, "id-0", poll_s=0.01, tell=lambda row: seen.append(row.state))
    assert (row.state, seen) == ("SUCCEEDED", ["SUCCEEDED"])
    with pytest.raises(RefusedError, match="404"):
        kfpruns.followed(settings, "nobody", poll_s=0.01)
    filled.fail_next = 100
    with pytest.raises(RefusedError, match="503"):
        kfpruns.followed(settings, "id-0", poll_s=0.01)


def test_a_projected_token_is_read_anew_for_every_request(
    server: Any,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    loop: Loop,
    request_of_judge: RunRequest,
) -> None:
    """The file of the pod's token is rotated while a client is at work: the next request bears the new one."""
    token = tmp_path / "token"
    token.write_text("first\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(token))
    server.accepted = {"first", "second"}
    server.before_run = lambda: token.write_text("second\n")
    submit(request_of_judge, loop, replace(settings, token=""), alone=True)
    assert server.tokens[0] == "Bearer first"
    assert server.tokens[-1] == "Bearer second"
    assert set(server.tokens) == {"Bearer first", "Bearer second"}


def test_the_three_ways_in(server: Any, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A given token wins over the pod's; without both there is no header at all."""
    find_run(replace(settings, token=""), "k")
    (tmp_path / "token").write_text("projected")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    find_run(replace(settings, token=""), "k")
    find_run(settings, "k")
    assert server.tokens == ["", "Bearer projected", "Bearer secret-token"]


def test_a_token_of_another_audience(server: Any, settings: Settings) -> None:
    """401 with the server's words, and how to get a token of the right audience."""
    server.accepted = {"another"}
    with pytest.raises(RefusedError, match="401 Unauthorized: Unauthenticated: token is not valid") as caught:
        find_run(settings, "k")
    assert "--audience=pipelines.kubeflow.org" in caught.value.hint
    assert caught.value.status == 401


def test_a_namespace_that_is_not_ones_own(server: Any, settings: Settings) -> None:
    """403, with the namespace in it, and the role that is needed there."""
    with pytest.raises(RefusedError, match=r"403 Forbidden: .*team-b") as caught:
        find_run(replace(settings, namespace="team-b"), "k")
    assert "does it exist" in caught.value.hint


def test_a_multi_user_server_wants_a_namespace(server: Any, settings: Settings) -> None:
    """Told before anything is asked; a server of one user wants none."""
    with pytest.raises(RefusedError, match="no namespace is given"):
        find_run(replace(settings, namespace=""), "k")
    assert server.asked == []
    server.health = {"multi_user": False}
    assert find_run(replace(settings, namespace=""), "k") is None


@pytest.mark.parametrize(
    ("tag", "well"),
    [
        ("1.8.5", False),
        ("2.13.0", False),
        ("2.14.0", True),
        ("v2.17.3", True),
        ("3.0.0", False),
        ("unknown", True),
        (None, True),
    ],
)
def test_a_server_of_another_version(server: Any, settings: Settings, tag: str | None, well: bool) -> None:
    """Older than what the pipeline needs, or of another major version: refused with both versions; unknown is let in."""
    server.health = {"multi_user": True, **({"tag_name": tag} if tag else {})}
    if well:
        assert find_run(settings, "k") is None
        return
    with pytest.raises(RefusedError, match=rf"is Kubeflow Pipelines {tag}; expected 2\.14 or a later 2\.x"):
        find_run(settings, "k")


def test_a_path_that_leads_elsewhere(server: Any, settings: Settings) -> None:
    """A host whose path is not the API's: 404, and the API is named. No host: told so."""
    with pytest.raises(RefusedError, match="404"):
        find_run(replace(settings, host=f"{server.url}/elsewhere"), "k")
    with pytest.raises(UnreachableError, match="no host"):
        find_run(replace(settings, host=""), "k")


@pytest.mark.cluster
@pytest.mark.skipif(
    not os.environ.get("EDGELOOP_TEST_KFP"), reason="EDGELOOP_TEST_KFP names no Kubeflow Pipelines of a cluster"
)
def test_on_a_cluster(loop: Loop) -> None:
    """Filters, pages, 409, versions, recurring runs and starting are as the real server has them. Leaves one run, ended."""
    from edgeloop_pipelines.kfpserver import settings_from, talking
    from edgeloop_pipelines.triggers.recurring import reconcile

    environment = {"EDGELOOP_KFP_EXPERIMENT": "edgeloop-test", **os.environ}
    settings = settings_from(os.environ["EDGELOOP_TEST_KFP"], environment)
    settings = replace(settings, image=settings.image or "registry.example/edgeloop-steps@sha256:" + "1" * 64)
    loop = replace(loop, metadata=replace(loop.metadata, name=f"test-{int(time.time())}"))
    assert [change.action for change in reconcile([loop], settings)] == ["create"]
    assert [change.action for change in reconcile([loop], settings)] == ["keep"]
    changed = replace(loop, retrain=replace(loop.retrain, schedule="1 2 3 4 5"))
    assert [change.action for change in reconcile([changed], settings)] == ["change"]
    gone = replace(loop, retrain=replace(loop.retrain, schedule=""))
    assert [change.action for change in reconcile([gone], settings)] == ["remove"]
    request = RunRequest(loop=loop.name, key=f"{loop.name}-0", cause="manual")
    done = submit(request, loop, settings, alone=True)
    try:
        assert not submit(request, loop, settings, alone=True).created
        with pytest.raises(RefusedError, match="one run of a loop"):
            submit(replace(request, key=f"{loop.name}-1"), loop, settings, alone=True)
        assert [row.key for row in kfpruns.runs_of(settings, loop.name)] == [request.key]
    finally:
        with talking(settings) as client:
            client.terminate_run(done.run.run_id)
