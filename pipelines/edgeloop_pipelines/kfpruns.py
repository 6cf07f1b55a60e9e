"""Runs on Kubeflow Pipelines, as people look at them: key, loop, cause and state, whoever started them.

Runs have no labels there; what a run is for stands in its parameters, which the list calls give back. So the runs of a loop
are told by the loop document that they were started with, and a scheduled run, whose name the server makes, is found too.
It starts and stops nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgeloop_pipelines.kfpserver import RefusedError, Settings, UnreachableError, everything, named, talking

__all__ = ["ENDED", "RunRow", "active_runs", "experiment_id", "find_runs", "followed", "runs_of", "with_key"]

ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
_AT_WORK = ("PENDING", "RUNNING", "CANCELING", "PAUSED", "RUNTIME_STATE_UNSPECIFIED")
_PATIENCE = 5  # polls in a row that may fail while a run is followed


@dataclass(frozen=True)
class RunRow:
    """One run. Times are Unix seconds, None until they came; `tasks` are those that run now or have failed."""

    run_id: str
    key: str
    loop: str
    cause: str
    by: str
    state: str
    created_s: float
    finished_s: float | None = None
    scheduled: bool = False
    error: str = ""
    tasks: tuple[tuple[str, str], ...] = ()

    @property
    def order(self) -> tuple[float, str]:
        """Which of two runs was first; the same whoever asks, though the server's times are whole seconds."""
        return self.created_s, self.run_id


def runs_of(settings: Settings, loop: str = "", *, key: str = "", most: int = 20) -> list[RunRow]:
    """The newest runs of the experiment, the newest first: of one loop, with one key or run id, or all."""
    with talking(settings) as client:
        found = find_runs(client, settings)
        fitting = (row for row in found if loop in ("", row.loop) and key in ("", row.key, row.run_id))
        return [row for row, _ in zip(fitting, range(most), strict=False)]


def find_runs(client: Any, settings: Settings, **arguments: Any) -> Iterator[RunRow]:
    """The experiment's runs, the newest first; pages are asked for as they are needed."""
    experiment = experiment_id(client, settings)
    if experiment:
        arguments = {"sort_by": "created_at desc", "experiment_id": experiment, **arguments}
        yield from (_row(run) for run in everything(client.list_runs, "runs", **arguments))


def active_runs(client: Any, settings: Settings, loop: str) -> list[RunRow]:
    """The loop's runs that have not ended, the oldest first."""
    states = {"operation": "IN", "key": "state", "stringValues": {"values": list(_AT_WORK)}}
    found = find_runs(client, settings, filter=json.dumps({"predicates": [states]}))
    return sorted((row for row in found if row.loop == loop and row.state not in ENDED), key=lambda row: row.order)


def with_key(client: Any, settings: Settings, key: str) -> RunRow | None:
    """The run with this key, or None; of several (see `submit`) the first, which is the one that was let go on."""
    found = everything(client.list_runs, "runs", filter=named(key), namespace=settings.namespace or None)
    return min((_row(run) for run in found if run.display_name == key), key=lambda row: row.order, default=None)


def experiment_id(client: Any, settings: Settings) -> str:
    """The id of the settings' experiment; empty when it is not there."""
    found = client.list_experiments(filter=named(settings.experiment), namespace=settings.namespace or None)
    items = found.experiments or ()
    return next((str(each.experiment_id) for each in items if each.display_name == settings.experiment), "")


def ensure_experiment(client: Any, settings: Settings) -> str:
    """The id of the settings' experiment, which is made where it is not there."""
    import kfp_server_api

    experiment = experiment_id(client, settings)
    if experiment:
        return experiment
    new = kfp_server_api.V2beta1Experiment(display_name=settings.experiment, namespace=settings.namespace or None)
    return str(client.experiments.experiment_service_create_experiment(experiment=new).experiment_id)


def followed(
    settings: Settings,
    run_id: str,
    *,
    poll_s: float = 5.0,
    timeout_s: float = 86_400.0,
    tell: Callable[[RunRow], None] = lambda _: None,
) -> RunRow:
    """The run, once it has ended; `tell` hears of every look. A server that is away for a few looks is waited for.

    TimeoutError after `timeout_s`; UnreachableError and RefusedError.
    """
    end_s, missed = time.monotonic() + timeout_s, 0
    while True:
        try:
            with talking(settings) as client:
                row = _row(client.get_run(run_id))
        except (UnreachableError, RefusedError) as error:
            missed += 1
            if missed > _PATIENCE or 400 <= getattr(error, "status", 0) < 500:
                raise
        else:
            missed = 0
            tell(row)
            if row.state in ENDED:
                return row
            if time.monotonic() > end_s:
                raise TimeoutError(f"run {run_id} has not ended after {timeout_s:g} s; it is {row.state}")
        time.sleep(poll_s)


def _row(run: Any) -> RunRow:
    parameters = (run.runtime_config.parameters if run.runtime_config else None) or {}
    details = run.run_details.task_details if run.run_details else None
    return RunRow(
        run_id=str(run.run_id),
        key=str(parameters.get("run_key") or run.display_name or ""),
        loop=_loop_name(parameters.get("loop")),
        cause=str(parameters.get("cause") or ""),
        by=str(parameters.get("started_by") or ""),
        state=str(run.state or "PENDING"),
        created_s=_seconds(run.created_at) or 0.0,
        finished_s=_seconds(run.finished_at),
        scheduled=bool(run.recurring_run_id),
        error=str((run.error.message if run.error else "") or ""),
        tasks=_tasks(details or ()),
    )


def _tasks(details: Sequence[Any]) -> tuple[tuple[str, str], ...]:
    shown = ("RUNNING", "FAILED")
    return tuple((str(task.display_name), str(task.state)) for task in details if str(task.state) in shown)


def _loop_name(document: Any) -> str:
    try:
        return str(json.loads(document)["metadata"]["name"])
    except (TypeError, ValueError, KeyError):
        return ""  # not a run of ours


def _seconds(at: Any) -> float | None:
    """Unix seconds; the server writes 1970 for a time that has not come."""
    seconds = at.timestamp() if isinstance(at, datetime) else 0.0
    return seconds if seconds > 0 else None
