"""`submit` through the real kfp.Client: run keys, versions by content, one run of a loop at a time, errors in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgeloop_contracts import Loop, RunRequest, from_json, loads
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.compile import NotForClustersError, compile_pipeline
from edgeloop_pipelines.submit import BusyError, RefusedError, Settings, UnreachableError, find_run, plan, submit, wait
from edgeloop_pipelines.triggers.starters import KfpStarter, LocalStarter, StarterError, starter_from

IMAGE = "registry.example/edgeloop-steps@sha256:" + "1" * 64
LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "s3://telemetry/turbines/", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
    },
)
REQUEST = RunRequest(
    loop="turbine", key="turbine-0123456789ab", cause="drift", evidence=42, requested_s=50.0, by="judge"
)


def test_a_run_is_created_with_the_request_in_it(server: Any, settings: Settings) -> None:
    """Pipeline, version, experiment and run are made; the bodies fit the API's models; key, account and token arrive."""
    done = submit(REQUEST, LOOP, settings)
    assert server.problems == []
    (run,) = server.runs
    assert done.created
    assert run["display_name"] == REQUEST.key
    assert run["service_account"] == "runner"
    (pipeline,) = server.pipelines
    assert run["pipeline_version_reference"] == {"pipeline_id": pipeline["pipeline_id"], "pipeline_version_id": "v0"}
    parameters = run["runtime_config"]["parameters"]
    assert loads(Loop, parameters.pop("loop")) == LOOP
    assert parameters == {
        "run_key": REQUEST.key,
        "cause": "drift",
        "started_by": "judge",
        "evidence_s": 42.0,
        "now_s": 50.0,
    }
    assert server.experiments[0]["namespace"] == "team-a"
    assert set(server.tokens) == {"Bearer secret-token"}
    assert [v["display_name"] for v in server.versions] == [done.version]


def test_submitting_again_makes_nothing_new(server: Any, settings: Settings) -> None:
    """The same key gives the same run; another key of the same code gives a run of the version that is there."""
    first, second = submit(REQUEST, LOOP, settings), submit(REQUEST, LOOP, settings)
    assert (second.created, second.run.run_id) == (False, first.run.run_id)
    submit(replace(REQUEST, key="turbine-other"), LOOP, settings)
    made = [server.count("POST", f"/{path}") for path in ("pipelines", "pipelines/upload_version", "runs")]
    assert made == [1, 1, 2]
    assert server.problems == []


def test_another_image_is_another_version(server: Any, settings: Settings) -> None:
    """Versions are told apart by their content: a new digest of the steps' image is uploaded."""
    submit(REQUEST, LOOP, settings)
    submit(replace(REQUEST, key="other"), LOOP, replace(settings, image=IMAGE.replace("1", "2")))
    assert len({v["display_name"] for v in server.versions}) == 2
    assert len(server.pipelines) == 1


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_waiting_ends_with_the_run(server: Any, settings: Settings, state: str) -> None:
    """Every end is an end, a cancelled run too."""
    server.ends_as = state
    assert wait(settings, submit(REQUEST, LOOP, settings).run.run_id, poll_s=0.01).state == state


def test_waiting_gives_up(server: Any, settings: Settings) -> None:
    """A run that does not end is given up with words that name it."""
    server.ends_as = "RUNNING"
    run_id = submit(REQUEST, LOOP, settings).run.run_id
    with pytest.raises(TimeoutError, match="it is RUNNING"):
        wait(settings, run_id, poll_s=0.01, timeout_s=0.02)


def test_an_error_of_the_server_is_told_in_its_words(server: Any, settings: Settings) -> None:
    """A refusal names the status and the server's message."""
    server.refuse = 403
    with pytest.raises(RefusedError, match="403 Forbidden: no such user") as caught:
        submit(REQUEST, LOOP, settings)
    assert "kubeflow-edit" in caught.value.hint


def test_a_host_that_does_not_answer_is_told_at_once(server: Any, settings: Settings) -> None:
    """Nobody listens there: `UnreachableError`, with the host in it."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        submit(REQUEST, LOOP, replace(settings, host="http://127.0.0.1:9"))


def test_the_starter_of_the_triggers_speaks_the_same_way(server: Any, settings: Settings) -> None:
    """KfpStarter starts a key once, sees how it ended, and turns a dead server into StarterError."""
    starter = KfpStarter(settings)
    assert starter.look(REQUEST).state == "dead"
    starter.start(REQUEST, LOOP)
    starter.start(REQUEST, LOOP)
    assert server.count("POST", "/runs") == 1
    assert starter.look(REQUEST).state == "running"
    server.runs[0]["state"] = "CANCELED"
    assert starter.look(REQUEST).state == "failed"
    with pytest.raises(StarterError, match="does not answer"):
        KfpStarter(replace(settings, host="http://127.0.0.1:9")).look(REQUEST)


def test_one_run_of_a_loop_at_a_time(server: Any, settings: Settings) -> None:
    """Alone: while a run of the loop has not ended another is refused, with its key and page; other loops are let in."""
    first = submit(REQUEST, LOOP, settings, alone=True)
    with pytest.raises(BusyError, match=f"run {REQUEST.key} of loop turbine is PENDING") as caught:
        submit(replace(REQUEST, key="k2"), LOOP, settings, alone=True)
    assert first.url in str(caught.value)
    assert "--parallel" in caught.value.hint
    pump = replace(LOOP, metadata=replace(LOOP.metadata, name="pump"))
    assert submit(replace(REQUEST, key="p1", loop="pump"), pump, settings, alone=True).created
    server.runs[0]["state"] = "FAILED"
    assert submit(replace(REQUEST, key="k2"), LOOP, settings, alone=True).created
    assert server.problems == []


@pytest.mark.parametrize("other_key", [REQUEST.key, "turbine-other"])
def test_of_two_at_the_same_moment_the_first_goes_on(server: Any, settings: Settings, other_key: str) -> None:
    """Somebody else is faster between the look and the creation: the later run is stopped, the first one is not."""
    other = replace(REQUEST, key=other_key)
    server.before_run = lambda: submit(other, LOOP, settings, alone=False)
    if other_key == REQUEST.key:
        done = submit(REQUEST, LOOP, settings, alone=True)
        assert (done.created, done.run.run_id) == (False, server.runs[0]["run_id"])
    else:
        with pytest.raises(BusyError, match=other_key):
            submit(REQUEST, LOOP, settings, alone=True)
    assert [run["state"] for run in server.runs] == ["PENDING", "CANCELED"]
    found = find_run(settings, other_key)
    assert found is not None
    assert (found.run_id, found.state) == (server.runs[0]["run_id"], "PENDING"), "not the one that was stopped"


def test_of_many_at_once_one_stays(server: Any, settings: Settings) -> None:
    """Four submitters in threads, each with a key of its own: exactly one run is left."""
    from concurrent.futures import ThreadPoolExecutor

    submit(replace(REQUEST, key="before"), LOOP, settings)  # the pipeline is there
    server.runs[0]["state"] = "SUCCEEDED"

    def one(key: str) -> bool:
        try:
            return submit(replace(REQUEST, key=key), LOOP, settings, alone=True).created
        except BusyError:
            return False

    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(one, ("a", "b", "c", "d")))
    assert created.count(True) == 1
    assert [run["state"] for run in server.runs].count("PENDING") == 1


def test_a_version_that_another_uploads_meanwhile_is_used(server: Any, settings: Settings) -> None:
    """The server answers 409 for a name that has just been taken: that version is the same content."""
    compiled = compile_pipeline(IMAGE)
    answer, hidden = type(server)._versions, [True]

    def blind_once(self: Any, pipeline_id: str, query: Any) -> Any:
        found = answer(self, pipeline_id, query)
        return {"pipeline_versions": []} if hidden and hidden.pop() else found

    server.pipelines.append({"pipeline_id": "p", "display_name": compiled.name})
    server.versions.append({"pipeline_id": "p", "pipeline_version_id": "v9", "display_name": compiled.version})
    type(server)._versions = blind_once
    try:
        submit(REQUEST, LOOP, settings)
    finally:
        type(server)._versions = answer
    assert server.runs[0]["pipeline_version_reference"]["pipeline_version_id"] == "v9"


def test_a_fleet_service_starts_runs_where_the_environment_says(tmp_path: Any) -> None:
    """EDGELOOP_RUNS=kubeflow makes the starter Kubeflow's; an address alone does not, and another word is refused."""
    environment = {
        "KF_PIPELINES_ENDPOINT": "http://kfp", "EDGELOOP_STEPS_IMAGE": IMAGE, "EDGELOOP_KFP_NAMESPACE": "team-a",
    }  # fmt: skip
    there = starter_from({**environment, "EDGELOOP_RUNS": "kubeflow"}, tmp_path, {})
    assert there == KfpStarter(Settings("http://kfp", IMAGE, "team-a"))
    assert isinstance(starter_from(environment, tmp_path, {}), LocalStarter)
    with pytest.raises(ValueError, match="EDGELOOP_RUNS: expected here or kubeflow, got 'there'"):
        starter_from({"EDGELOOP_RUNS": "there"}, tmp_path, {})


def test_files_of_this_machine_are_refused(settings: Settings) -> None:
    """A loop whose data a cluster cannot see is not submitted."""
    with pytest.raises(NotForClustersError, match=r"data\.source: rows\.csv is a file"):
        submit(REQUEST, replace(LOOP, data=replace(LOOP.data, source="rows.csv")), settings)


def test_a_plan_asks_nobody(server: Any, settings: Settings) -> None:
    """`plan` says what would be done without a request."""
    assert plan(REQUEST, LOOP, settings)["run"] == REQUEST.key
    assert server.asked == []


def test_the_command_submits_and_waits(server: Any, settings: Settings, loop_file: Any, capsys: Any) -> None:
    """`edgeloop submit --wait --json` prints one document; the exit code follows the run's end."""
    words = ["submit", str(loop_file), "--host", server.url, "--image", IMAGE, "--run-key", "k1", "--json"]
    words += ["--namespace", "team-a"]
    server.ends_as = "SUCCEEDED"
    assert main([*words, "--wait"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run"], document["state"], document["created"]) == ("k1", "SUCCEEDED", True)
    server.runs[0]["state"], server.ends_as = "RUNNING", "FAILED"
    assert main([*words, "--wait"]) == 1
    assert find_run(settings, "k1") is not None


def test_the_command_without_a_host_exits_3(loop_file: Any, capsys: Any) -> None:
    """An unreachable host: exit code 3, clear words, no traceback; a dry run needs none."""
    words = ["submit", str(loop_file), "--image", IMAGE]
    assert main([*words, "--host", "http://127.0.0.1:9"]) == 3
    error = capsys.readouterr().err
    assert "127.0.0.1:9 does not answer" in error
    assert "Traceback" not in error
    assert main([*words, "--dry-run"]) == 0
