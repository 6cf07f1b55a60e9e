"""`edgeloop schedule`: recurring runs on Kubeflow Pipelines follow `retrain.schedule`, through the real kfp.Client."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from edgeloop_contracts import Loop, dumps, loads
from edgeloop_contracts.schedule import CronError
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.compile import NotForClustersError
from edgeloop_pipelines.kfpserver import Settings
from edgeloop_pipelines.triggers.recurring import changes, reconcile, recurring_runs, wanted
from edgeloop_pipelines.triggers.schedule import kfp_cron


def timed(loop: Loop, schedule: str, name: str = "turbine") -> Loop:
    return replace(loop, metadata=replace(loop.metadata, name=name), retrain=replace(loop.retrain, schedule=schedule))


@pytest.mark.parametrize(
    ("rule", "there"),
    [
        ("0 3 * * 0", "0 0 3 * * 0"),
        ("*/20 1,5-7 1 jan *", "0 0,20,40 1,5,6,7 1 1 *"),
        ("30 4 * * 5-7", "0 30 4 * * 0,5,6"),
        ("0 0 1 * mon", "0 0 0 1 * 1"),
    ],
)
def test_cron_rules_are_said_with_six_fields(rule: str, there: str) -> None:
    """Seconds first; Sunday is 0 and never 7; steps and names become numbers."""
    assert kfp_cron(rule) == there


def test_a_rule_that_would_be_read_in_two_ways_is_refused() -> None:
    """`*/2` days and Mondays: this project means both at once, other readers mean either."""
    with pytest.raises(CronError, match=r"expected days or weekdays"):
        kfp_cron("0 0 */2 * 1")


def test_a_schedule_is_made_once(server: Any, settings: Settings, loop: Loop) -> None:
    """The first time makes it, with all it needs; again changes nothing and uploads nothing."""
    (first,) = reconcile([loop], settings)
    (again,) = reconcile([loop], settings)
    assert (first.action, again.action) == ("create", "keep")
    assert server.problems == []
    (made,) = server.recurring
    parameters = made["runtime_config"]["parameters"]
    assert loads(Loop, parameters["loop"]) == loop
    assert parameters["run_key"] == "turbine-[[ScheduledTime]]"
    assert parameters["cause"] == "schedule"
    assert made["display_name"] == "edgeloop-turbine"
    assert made["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 0"}}
    assert (made["max_concurrency"], made["no_catchup"], made["mode"]) == ("1", True, "ENABLE")
    assert made["service_account"] == "runner"
    assert server.count("POST", "/pipelines/upload_version") == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda loop, settings: (timed(loop, "0 4 * * *"), settings), "another schedule, loop"),
        (lambda loop, settings: (replace(loop, data=replace(loop.data, label="z")), settings), "another loop"),
        (lambda loop, settings: (loop, replace(settings, image=settings.image.replace("1", "2"))), "pipeline version"),
        (lambda loop, settings: (loop, replace(settings, service_account="other")), "another service account"),
    ],
)
def test_what_has_changed_is_made_anew(server: Any, settings: Settings, loop: Loop, change: Any, why: str) -> None:
    """Every difference makes a new one, and the old one goes after it; then all is as it should be."""
    reconcile([loop], settings)
    old = server.recurring[0]["recurring_run_id"]
    changed, other = change(loop, settings)
    (done,) = reconcile([changed], other)
    assert (done.action, done.remove) == ("change", (old,))
    assert why in done.why
    assert [each["recurring_run_id"] == old for each in server.recurring] == [False]
    order = [(method, path.split("/")[1]) for method, path, _ in server.asked if method != "GET"]
    assert order[-2:] == [("POST", "recurringruns"), ("DELETE", "recurringruns")]
    assert reconcile([changed], other)[0].action == "keep"


def test_without_a_schedule_it_goes(server: Any, settings: Settings, loop: Loop) -> None:
    """Removed from loop.yaml, removed there; that needs no image."""
    reconcile([loop], settings)
    (done,) = reconcile([timed(loop, "")], replace(settings, image=""))
    assert (done.action, server.recurring) == ("remove", [])
    assert reconcile([timed(loop, "")], settings)[0].action == "keep"


def test_one_that_is_paused_stays_paused(server: Any, settings: Settings, loop: Loop) -> None:
    """Somebody has stopped it on purpose: it is left, also when it has to be made anew."""
    reconcile([loop], settings)
    server.recurring[0]["mode"] = "DISABLE"
    (kept,) = reconcile([loop], settings)
    assert (kept.action, "paused" in kept.why) == ("keep", True)
    reconcile([timed(loop, "5 5 * * *")], settings)
    assert [each["mode"] for each in server.recurring] == ["DISABLE"]


def test_pruning_takes_ours_alone(server: Any, settings: Settings, loop: Loop) -> None:
    """Other loops' recurring runs go with --prune; one of another name or with another run key never does."""
    reconcile([loop, timed(loop, "0 5 * * *", "pump")], settings)
    foreign = {**server.recurring[0], "recurring_run_id": "x1", "display_name": "nightly"}
    alike = {**foreign, "recurring_run_id": "x2", "display_name": "edgeloop-by-hand"}
    server.recurring += [foreign, alike]
    assert [change.name for change in reconcile([loop], settings)] == ["edgeloop-turbine"]
    assert len(server.recurring) == 4
    found = reconcile([loop], settings, prune=True)
    assert [(change.name, change.action) for change in found] == [
        ("edgeloop-turbine", "keep"),
        ("edgeloop-pump", "remove"),
    ]
    assert [each["display_name"] for each in server.recurring] == ["edgeloop-turbine", "nightly", "edgeloop-by-hand"]
    assert [each.name for each in recurring_runs(settings)] == ["edgeloop-turbine"]


def test_a_torn_change_is_mended(server: Any, settings: Settings, loop: Loop) -> None:
    """The old one was not removed: the next time removes it and leaves the right one."""
    reconcile([loop], settings)
    old = {**server.recurring[0], "recurring_run_id": "old", "trigger": {"cron_schedule": {"cron": "0 0 0 * * *"}}}
    server.recurring.insert(0, old)
    (done,) = reconcile([loop], settings)
    assert (done.action, done.remove, done.make) == ("change", ("old",), None)
    assert len(server.recurring) == 1


def test_all_pages_are_read(server: Any, settings: Settings, loop: Loop) -> None:
    """A server that gives two a page has its five recurring runs found."""
    server.most_a_page = 2
    loops = [timed(loop, "0 1 * * *", f"loop-{number}") for number in range(5)]
    reconcile(loops, settings)
    assert [change.action for change in reconcile(loops, settings)] == ["keep"] * 5
    assert len(server.recurring) == 5


def test_a_dry_run_changes_nothing(server: Any, settings: Settings, loop: Loop) -> None:
    """It asks, says what would be done, and posts nothing."""
    (would,) = reconcile([loop], settings, dry_run=True)
    assert would.action == "create"
    assert {method for method, _, _ in server.asked} == {"GET"}


def test_nothing_is_changed_when_a_loop_cannot_be_scheduled(server: Any, settings: Settings, loop: Loop) -> None:
    """One loop of two has files of this machine: the server is not even asked."""
    local = replace(timed(loop, "0 1 * * *", "local"), data=replace(loop.data, source="rows.csv"))
    with pytest.raises(NotForClustersError):
        reconcile([loop, local], settings)
    assert server.asked == []


def test_the_decision_needs_no_server(loop: Loop) -> None:
    """`changes` is a function of values."""
    want = wanted(loop, "v1")
    assert want is not None
    have = replace(want, recurring_id="r1", service_account="set by the server")
    assert [c.action for c in changes({"turbine": want}, [have])] == ["keep"]
    assert [c.remove for c in changes({"turbine": want}, [have, replace(have, recurring_id="r2")])] == [("r2",)]
    assert changes({}, [have]) == ()


def test_a_step_refuses_a_key_that_the_scheduler_has_not_filled_in(loop: Loop) -> None:
    """All runs of such a key would be one run with one version, so the first step fails and says why."""
    from edgeloop_components.steps import running

    key = (wanted(loop, "v1") or pytest.fail("no schedule")).parameters["run_key"]
    with pytest.raises(ValueError, match="the scheduler has not filled it in"), running("ingest", dumps(loop), key):
        pass
    with running("ingest", dumps(loop), key.replace("[[ScheduledTime]]", "20261129030000")):
        pass


def test_the_command(server: Any, loop_file: Any, settings: Settings, capsys: Any) -> None:
    """`edgeloop schedule`: a table for people, JSON for others, the list without loops; usage errors in words."""
    where = ["--host", server.url, "--namespace", "team-a"]
    image = ["--image", settings.image]
    assert main(["schedule", str(loop_file), *where, *image, "--dry-run"]) == 0
    assert "would" in capsys.readouterr().out
    assert main(["schedule", str(loop_file), *where, *image, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(c["name"], c["action"]) for c in document["changes"]] == [("edgeloop-turbine", "create")]
    assert main(["schedule", *where]) == 0
    assert "0 0 3 * * 0" in capsys.readouterr().out
    assert main(["schedule", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schedules"][0]["enabled"] is True
    assert main(["schedule", *where, "--prune"]) == 1
    assert "need loops" in capsys.readouterr().err
    assert main(["schedule", str(loop_file), str(loop_file), *where, *image]) == 1
    assert "given twice" in capsys.readouterr().err
