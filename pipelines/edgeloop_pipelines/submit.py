"""Starts runs on Kubeflow Pipelines through the real client: at most one run for a key, at most one version for a content.

The server knows neither request ids nor unique run names, so a run is looked for by its display name (the run key) before
it is created; who may ask at the same moment is settled by the triggers' ledger. Errors of the network and of the server
become `UnreachableError` and `RefusedError`, with what to do. It decides nothing about when to run.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, RunRequest
from edgeloop_pipelines.compile import Compiled, compile_pipeline

__all__ = ["Found", "RefusedError", "Settings", "Submitted", "UnreachableError", "find_run", "plan", "submit", "wait"]

TOKEN_PATH = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (a path; the projected token of a service account)
ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
_REACH_S = 10.0


class UnreachableError(RuntimeError):
    """Kubeflow Pipelines does not answer."""

    exit_code = 3
    hint = "is the host right, and its port forwarded? Say --host, or set KF_PIPELINES_ENDPOINT"


class RefusedError(RuntimeError):
    """Kubeflow Pipelines answered with an error."""

    exit_code = 1
    hint = "see --namespace, --token and --service-account"


@dataclass(frozen=True)
class Settings:
    """Where and as whom runs are started."""

    host: str
    image: str
    namespace: str = ""
    experiment: str = "edgeloop"
    service_account: str = ""
    token: str = field(default="", repr=False)
    ca_file: str = ""


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


def submit(request: RunRequest, loop: Loop, settings: Settings) -> Submitted:
    """Uploads the pipeline unless its content is there, and creates the run unless its key is there."""
    from edgeloop_pipelines.compile import NotForClustersError, problems_on_clusters
    from edgeloop_pipelines.training import arguments_of

    if problems := problems_on_clusters(loop):
        raise NotForClustersError(
            "; ".join(problems), "put the data in the object store and name it s3://bucket/prefix/"
        )
    compiled = compile_pipeline(settings.image)
    with _talking(settings) as client:
        found = _find_run(client, settings, request.key)
        if found is not None:
            return Submitted(found, False, compiled.version, _url(settings, found))
        pipeline_id, version_id = _upload(client, settings, compiled)
        experiment = client.create_experiment(settings.experiment, namespace=settings.namespace or None)
        run = client.run_pipeline(
            experiment.experiment_id,
            request.key,
            params=dict(arguments_of(request, loop)),
            pipeline_id=pipeline_id,
            version_id=version_id,
            service_account=settings.service_account or None,
        )
        made = _found(run)
        return Submitted(made, True, compiled.version, _url(settings, made))


def find_run(settings: Settings, key: str) -> Found | None:
    """The newest run with this key, or None."""
    with _talking(settings) as client:
        return _find_run(client, settings, key)


def wait(settings: Settings, run_id: str, *, poll_s: float = 5.0, timeout_s: float = 86_400.0) -> Found:
    """Waits until the run has ended. TimeoutError after `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    with _talking(settings) as client:
        while True:
            found = _found(client.get_run(run_id))
            if found.state in ENDED:
                return found
            if time.monotonic() > end_s:
                raise TimeoutError(f"run {run_id} has not ended after {timeout_s:g} s; it is {found.state}")
            time.sleep(poll_s)


def _upload(client: Any, settings: Settings, compiled: Compiled) -> tuple[str, str]:
    """Ids of the pipeline and of the version with this content; made where they are not there."""
    listed = client.list_pipelines(filter=_named(compiled.name), namespace=settings.namespace or None).pipelines or []
    pipeline_id = next((p.pipeline_id for p in listed if p.display_name == compiled.name), "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_text(compiled.ir)
        if not pipeline_id:
            made = client.upload_pipeline(str(path), compiled.name, namespace=settings.namespace or None)
            pipeline_id = made.pipeline_id
        versions = client.list_pipeline_versions(pipeline_id, filter=_named(compiled.version)).pipeline_versions or []
        for version in versions:
            if version.display_name == compiled.version:
                return pipeline_id, version.pipeline_version_id
        made = client.upload_pipeline_version(str(path), compiled.version, pipeline_id=pipeline_id)
        return pipeline_id, made.pipeline_version_id


def _find_run(client: Any, settings: Settings, key: str) -> Found | None:
    runs = client.list_runs(
        filter=_named(key), namespace=settings.namespace or None, sort_by="created_at desc", page_size=50
    ).runs
    return next((_found(run) for run in runs or [] if run.display_name == key), None)


def _named(name: str) -> str:
    equals = 1  # Predicate.Operation.EQUALS
    return json.dumps({"predicates": [{"operation": equals, "key": "display_name", "stringValue": name}]})


def _found(run: Any) -> Found:
    error = run.error.message if getattr(run, "error", None) else ""
    return Found(run.run_id, str(run.state or "PENDING"), error or "")


def _url(settings: Settings, run: Found) -> str:
    return f"{settings.host.rstrip('/')}/#/runs/details/{run.run_id}"


@contextlib.contextmanager
def _talking(settings: Settings) -> Iterator[Any]:
    """A client, silent; errors of the network and of the server come out as `UnreachableError` and `RefusedError`."""
    import kfp_server_api
    import urllib3

    if not settings.host:
        raise UnreachableError("no host of Kubeflow Pipelines is given")
    _reach(settings)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield _client(settings)
    except kfp_server_api.ApiException as error:
        raise RefusedError(f"{settings.host} answered {error.status} {error.reason}: {_reason(error.body)}") from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise UnreachableError(f"{settings.host} does not answer: {error}") from error


def _client(settings: Settings) -> Any:
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    token_path = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", TOKEN_PATH)
    projected = not settings.token and Path(token_path).exists()
    return kfp.Client(
        host=settings.host,
        namespace=settings.namespace or "kubeflow",
        existing_token=settings.token or None,
        credentials=ServiceAccountTokenVolumeCredentials(token_path) if projected else None,
        ssl_ca_cert=settings.ca_file or None,
    )


def _reach(settings: Settings) -> None:
    """The client tries long and in several places; this asks once, so that a wrong host is told at once."""
    import httpx

    host = settings.host if "://" in settings.host else f"http://{settings.host}"
    verify: Any = True
    if settings.ca_file:
        import ssl

        verify = ssl.create_default_context(cafile=settings.ca_file)
    try:
        httpx.get(f"{host.rstrip('/')}/apis/v2beta1/healthz", timeout=_REACH_S, verify=verify)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UnreachableError(f"Kubeflow Pipelines at {settings.host} does not answer: {error}") from error


def _reason(body: Any) -> str:
    try:
        document = json.loads(body)
        return str(document.get("message") or document.get("error") or body)[:300]
    except (TypeError, ValueError, AttributeError):
        return str(body)[:300]
