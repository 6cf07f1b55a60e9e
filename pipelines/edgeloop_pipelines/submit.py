"""Starts runs on Kubeflow Pipelines: at most one run for a key, one version for a content, and one run of a loop at a time.

The server knows neither request ids nor unique run names, so a run is looked for by its display name (the run key) before
it is created. Whoever comes through the triggers is held apart by their ledger and its lease. Who submits by hand has no
ledger: he looks for active runs first, and once more after his run was made; of two that were made at the same moment the
later one stops itself (`_settle`). It decides nothing about when to run.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, RunRequest
from edgeloop_pipelines import kfpruns
from edgeloop_pipelines.compile import Compiled, compile_pipeline
from edgeloop_pipelines.kfpruns import ENDED, RunRow
from edgeloop_pipelines.kfpserver import RefusedError, Settings, UnreachableError, everything, named, talking

__all__ = [
    "ENDED",
    "BusyError",
    "Found",
    "RefusedError",
    "Settings",
    "Submitted",
    "UnreachableError",
    "Version",
    "ensure_version",
    "find_run",
    "find_version",
    "plan",
    "submit",
    "wait",
]

SETTLE_S = 1.1  # the server's times are whole seconds: after this all runs of the same second can be seen


class BusyError(RefusedError):
    """Another run of the loop has not ended."""


@dataclass(frozen=True)
class Found:
    """A run on the server."""

    run_id: str
    state: str
    error: str = ""


@dataclass(frozen=True)
class Submitted:
    """The run of a request, and whether this call created it."""

    run: Found
    created: bool
    version: str
    url: str


@dataclass(frozen=True)
class Version:
    """A pipeline version on the server, and whether this call uploaded it."""

    pipeline_id: str
    version_id: str
    uploaded: bool


def plan(request: RunRequest, loop: Loop, settings: Settings) -> dict[str, Any]:
    """What `submit` would do, as plain JSON values; asks no server."""
    from edgeloop_pipelines.training import arguments_of

    compiled = compile_pipeline(settings.image)
    return {
        "host": settings.host,
        "namespace": settings.namespace,
        "experiment": settings.experiment,
        "service_account": settings.service_account,
        "pipeline": compiled.name,
        "version": compiled.version,
        "run": request.key,
        "arguments": dict(arguments_of(request, loop)),
    }


def submit(request: RunRequest, loop: Loop, settings: Settings, *, alone: bool = False) -> Submitted:
    """Uploads the pipeline unless its content is there, and creates the run unless its key is there.

    With `alone`, `BusyError` when another run of the loop has not ended. NotForClustersError, RefusedError,
    UnreachableError.
    """
    from edgeloop_pipelines.compile import must_fit_clusters
    from edgeloop_pipelines.training import arguments_of

    must_fit_clusters(loop)
    compiled = compile_pipeline(settings.image)
    with talking(settings) as client:
        there = kfpruns.with_key(client, settings, request.key)
        if there is not None:
            return _submitted(there, False, compiled, settings)
        if alone:
            _refuse_beside(kfpruns.active_runs(client, settings, loop.name), settings)
        version = ensure_version(client, settings, compiled)
        made = _create(client, settings, request, arguments_of(request, loop), version)
        if alone:
            first = _settle(client, settings, request, made.run_id)
            if first is not None:
                return _submitted(first, False, compiled, settings)
        return Submitted(made, True, compiled.version, _url(settings, made.run_id))


def find_run(settings: Settings, key: str) -> Found | None:
    """The run with this key, or None."""
    with talking(settings) as client:
        row = kfpruns.with_key(client, settings, key)
        return _found(row) if row else None


def wait(settings: Settings, run_id: str, *, poll_s: float = 5.0, timeout_s: float = 86_400.0) -> Found:
    """Waits until the run has ended. TimeoutError after `timeout_s`."""
    return _found(kfpruns.followed(settings, run_id, poll_s=poll_s, timeout_s=timeout_s))


def find_version(client: Any, settings: Settings, compiled: Compiled) -> tuple[str, str]:
    """Ids of the pipeline and of the version with this content; empty where they are not there."""
    listed = everything(
        client.list_pipelines, "pipelines", filter=named(compiled.name), namespace=settings.namespace or None
    )
    pipeline_id = next((str(each.pipeline_id) for each in listed if each.display_name == compiled.name), "")
    if not pipeline_id:
        return "", ""
    versions = everything(
        client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, filter=named(compiled.version)
    )
    wanted = (str(each.pipeline_version_id) for each in versions if each.display_name == compiled.version)
    return pipeline_id, next(wanted, "")


def ensure_version(client: Any, settings: Settings, compiled: Compiled) -> Version:
    """The version with this content, named by its digest; uploaded where it is not there."""
    import kfp_server_api

    pipeline_id, version_id = find_version(client, settings, compiled)
    if version_id:
        return Version(pipeline_id, version_id, False)
    try:
        if not pipeline_id:
            empty = kfp_server_api.V2beta1Pipeline(
                display_name=compiled.name, name=compiled.name, namespace=settings.namespace or None
            )
            pipeline_id = str(client.pipelines.pipeline_service_create_pipeline(pipeline=empty).pipeline_id)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            path.write_text(compiled.ir)
            made = client.pipeline_uploads.upload_pipeline_version(
                str(path), name=compiled.version, pipelineid=pipeline_id
            )
            return Version(pipeline_id, str(made.pipeline_version_id), True)
    except kfp_server_api.ApiException as error:
        if error.status != 409:
            raise
        pipeline_id, version_id = find_version(client, settings, compiled)  # somebody else was faster
        if not version_id:
            raise
        return Version(pipeline_id, version_id, False)


def _create(
    client: Any, settings: Settings, request: RunRequest, arguments: Mapping[str, Any], version: Version
) -> Found:
    """By the client's generated half: its own methods print, into a stream that belongs to the whole process."""
    import kfp_server_api as api

    body = api.V2beta1Run(
        experiment_id=kfpruns.ensure_experiment(client, settings),
        display_name=request.key,
        pipeline_version_reference=api.V2beta1PipelineVersionReference(
            pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
        ),
        runtime_config=api.V2beta1RuntimeConfig(parameters=dict(arguments)),
        service_account=settings.service_account or None,
    )
    run = client.runs.run_service_create_run(run=body)
    return Found(str(run.run_id), str(run.state or "PENDING"))


def _refuse_beside(active: list[RunRow], settings: Settings) -> None:
    if active:
        other = active[0]
        raise BusyError(
            f"run {other.key} of loop {other.loop} is {other.state}; one run of a loop at a time"
            f" ({_url(settings, other.run_id)})",
            f"wait for it (edgeloop runs {other.loop} --wait), or start beside it with --parallel",
        )


def _settle(client: Any, settings: Settings, request: RunRequest, run_id: str) -> RunRow | None:
    """After a run was made: None when it is the loop's only one, or the first. A later one is stopped.

    The first run is given when it has the same key; BusyError when it has another.
    """
    time.sleep(SETTLE_S)
    active = kfpruns.active_runs(client, settings, request.loop)
    mine = next((row for row in active if row.run_id == run_id), None)
    if mine is None or active[0] == mine:
        return None
    client.terminate_run(run_id)
    if active[0].key == request.key:
        return active[0]
    _refuse_beside(active, settings)
    return None


def _submitted(row: RunRow, created: bool, compiled: Compiled, settings: Settings) -> Submitted:
    return Submitted(_found(row), created, compiled.version, _url(settings, row.run_id))


def _found(row: RunRow) -> Found:
    return Found(row.run_id, row.state, row.error)


def _url(settings: Settings, run_id: str) -> str:
    return f"{settings.base}/#/runs/details/{run_id}"
