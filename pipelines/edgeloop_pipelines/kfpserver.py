"""One Kubeflow Pipelines server, through the real client: where it is, as whom it is asked, and what its refusals mean.

Three ways in, the first that is there: a token that is given, the token file that Kubernetes projects into a pod (read anew
for every request, since it is rotated), nothing. The server is asked once for its health before the client is made, since
the client tries long: an old server, one without this API, and a missing namespace are told at once. Errors of the network
and of the server become `UnreachableError` and `RefusedError`, with what to do. It knows neither runs nor schedules.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["OLDEST", "RefusedError", "Settings", "UnreachableError", "everything", "named", "settings_from", "talking"]

TOKEN_PATH = "/var/run/secrets/kubeflow/pipelines/token"  # noqa: S105 (a path; the projected token of a service account)
OLDEST = (
    2,
    14,
)  # the first server that hands PipelineTaskFinalStatus to exit handlers and collects artifacts of a loop
PAGE = 100
_REACH_S = 10.0
_HINTS: Mapping[int, str] = {
    401: "the token is missing, has expired, or is for another audience than pipelines.kubeflow.org: "
    "kubectl create token ACCOUNT -n NAMESPACE --audience=pipelines.kubeflow.org",
    403: "is --namespace right, and does it exist? The account needs the role kubeflow-edit there (a RoleBinding in it)",
    404: "does --host lead to the API of Kubeflow Pipelines 2 (the path before /apis)?",
}


class UnreachableError(RuntimeError):
    """Kubeflow Pipelines does not answer."""

    exit_code = 3
    hint = "is the host right, and its port forwarded? Say --host, or set KF_PIPELINES_ENDPOINT"


class RefusedError(RuntimeError):
    """Kubeflow Pipelines answered with an error. `status` is its HTTP status, 0 where there was none."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.hint, self.status = hint or "see --namespace, --token and --service-account", status


@dataclass(frozen=True)
class Settings:
    """Where and as whom runs are started."""

    host: str
    image: str = ""
    namespace: str = ""
    experiment: str = "edgeloop"
    service_account: str = ""
    token: str = field(default="", repr=False)
    ca_file: str = ""

    @property
    def base(self) -> str:
        """The host with a scheme and without a last slash."""
        return (self.host if "://" in self.host else f"http://{self.host}").rstrip("/")


def settings_from(host: str, environment: Mapping[str, str]) -> Settings:
    """The settings that the environment holds, as the command line's options read them."""
    variables = {
        "image": "EDGELOOP_STEPS_IMAGE",
        "namespace": "EDGELOOP_KFP_NAMESPACE",
        "experiment": "EDGELOOP_KFP_EXPERIMENT",
        "service_account": "EDGELOOP_KFP_SERVICE_ACCOUNT",
        "token": "EDGELOOP_KFP_TOKEN",
        "ca_file": "EDGELOOP_KFP_CA_FILE",
    }
    return Settings(host, **{name: environment[key] for name, key in variables.items() if environment.get(key)})


@contextlib.contextmanager
def talking(settings: Settings) -> Iterator[Any]:
    """A client; errors of the network and of the server come out as `UnreachableError` and `RefusedError`."""
    import kfp_server_api
    import urllib3

    if not settings.host:
        raise UnreachableError("no host of Kubeflow Pipelines is given")
    _check(settings, _health(settings))
    try:
        yield _client(settings)
    except kfp_server_api.ApiException as error:
        status = int(error.status or 0)
        message = f"{settings.host} answered {status} {error.reason}: {_reason(error.body)}"
        raise RefusedError(message, _HINTS.get(status, ""), status) from error
    except (urllib3.exceptions.HTTPError, ConnectionError) as error:
        raise UnreachableError(f"{settings.host} does not answer: {error}") from error


def everything(ask: Callable[..., Any], field: str, most: int = 0, **arguments: Any) -> Iterator[Any]:
    """The items of every page of a list call, at most `most` of them (0: all)."""
    token, given = "", 0
    while True:
        page = ask(page_token=token, page_size=min(PAGE, most) if most else PAGE, **arguments)
        for item in getattr(page, field) or ():
            yield item
            given += 1
            if most and given >= most:
                return
        token = page.next_page_token or ""
        if not token:
            return


def named(name: str) -> str:
    """The filter for one display name."""
    equals = 1  # Predicate.Operation.EQUALS
    return json.dumps({"predicates": [{"operation": equals, "key": "display_name", "stringValue": name}]})


def _client(settings: Settings) -> Any:
    import kfp
    from kfp.client import ServiceAccountTokenVolumeCredentials

    token_path = os.environ.get("KF_PIPELINES_SA_TOKEN_PATH", TOKEN_PATH)
    projected = not settings.token and Path(token_path).exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(
            host=settings.base,
            namespace=settings.namespace or "kubeflow",
            existing_token=settings.token or None,
            credentials=ServiceAccountTokenVolumeCredentials(token_path) if projected else None,
            ssl_ca_cert=settings.ca_file or None,
        )


def _health(settings: Settings) -> Mapping[str, Any]:
    """What the server says of itself; empty where it says nothing of use (a gateway that wants a token first)."""
    import httpx

    verify: Any = settings.base.startswith("https:")
    try:
        if settings.ca_file:
            import ssl

            verify = ssl.create_default_context(cafile=settings.ca_file)
        headers = {"Authorization": f"Bearer {settings.token}"} if settings.token else {}
        answer = httpx.get(f"{settings.base}/apis/v2beta1/healthz", timeout=_REACH_S, verify=verify, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise UnreachableError(f"Kubeflow Pipelines at {settings.host} does not answer: {error}") from error
    if answer.status_code == 404:
        raise RefusedError(f"{settings.host} has no API v2beta1 (404 at /apis/v2beta1/healthz)", _HINTS[404], 404)
    with contextlib.suppress(ValueError):
        document = answer.json()
        return document if isinstance(document, dict) else {}
    return {}


def _check(settings: Settings, health: Mapping[str, Any]) -> None:
    """`RefusedError` when the server is older than the pipeline needs, or wants a namespace and none is given."""
    tag = str(health.get("tag_name") or "")
    if found := re.match(r"v?(\d+)\.(\d+)", tag):
        version = (int(found[1]), int(found[2]))
        if version < OLDEST or version[0] > OLDEST[0]:
            raise RefusedError(
                f"{settings.host} is Kubeflow Pipelines {tag}; expected {OLDEST[0]}.{OLDEST[1]} or a later {OLDEST[0]}.x",
                "exit handlers that get the run's state, and artifacts collected from a loop, came with 2.14",
            )
    if health.get("multi_user") is True and not settings.namespace:
        raise RefusedError(
            f"{settings.host} is a multi-user installation, and no namespace is given",
            "say --namespace, or set EDGELOOP_KFP_NAMESPACE: your profile's namespace",
        )


def _reason(body: Any) -> str:
    try:
        document = json.loads(body)
        return str(document.get("message") or document.get("error") or body)[:300]
    except (TypeError, ValueError, AttributeError):
        return str(body)[:300]
