"""A Kubeflow Pipelines API server over HTTP for the real kfp.Client: it checks every body with kfp_server_api's models.

It behaves as the real one does where that matters here: pages with tokens, filters, names that are not unique for runs and
unique for versions (409), bearer tokens, namespaces that an account may use or not, times in whole seconds. It schedules
nothing and runs nothing; a test says what has become of a run.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from edgeloop_contracts import Loop, RunRequest, from_json
from edgeloop_pipelines import submit
from edgeloop_pipelines.kfpserver import Settings

IMAGE = "registry.example/edgeloop-steps@sha256:" + "1" * 64
_MISSING = "1970-01-01T00:00:00Z"


def misfits(model: str, document: Any, path: str = "body") -> list[str]:
    """Where a document does not fit a model of kfp_server_api: unknown fields, wrong types."""
    import kfp_server_api

    kinds = {"str": str, "bool": bool, "int": int, "float": (int, float), "datetime": str, "object": object}
    if model in kinds:
        return [] if isinstance(document, kinds[model]) else [f"{path}: expected {model}, got {document!r}"]
    if found := re.fullmatch(r"list\[(.+)\]|dict\(str, (.+)\)", model):
        kind = list if found[1] else dict
        if not isinstance(document, kind):
            return [f"{path}: expected {kind.__name__}, got {document!r}"]
        items = enumerate(document) if found[1] else document.items()
        return [m for key, item in items for m in misfits(found[1] or found[2], item, f"{path}.{key}")]
    cls = getattr(kfp_server_api, model)
    if hasattr(cls, "allowable_values"):
        known = isinstance(document, str) and document in cls.allowable_values
        return [] if known else [f"{path}: expected one of {cls.allowable_values}, got {document!r}"]
    types = {cls.attribute_map[name]: kind for name, kind in cls.openapi_types.items()}
    unknown = [f"{path}.{key}: unknown" for key in document if key not in types]
    return unknown + [
        m for key, item in document.items() if key in types for m in misfits(types[key], item, f"{path}.{key}")
    ]


class Refused(Exception):
    """The server answers with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Server:
    """What a Kubeflow Pipelines API server would hold, what it was asked, and how it is set up."""

    url: str = ""
    health: dict[str, Any] = field(default_factory=lambda: {"multi_user": True, "tag_name": "2.17.0"})
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=lambda: {"", "team-a"})
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ends_as: str = ""
    refuse: int = 0
    fail_next: int = 0
    most_a_page: int = 100
    before_run: Callable[[], object] | None = None
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def count(self, method: str, path: str) -> int:
        return sum(1 for m, p, _ in self.asked if m == method and re.fullmatch(path, p))

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Message) -> Any:
        if path == "/healthz":
            return self.health
        self.asked.append((method, path, query))
        self.tokens.append(headers.get("authorization", ""))
        if self.fail_next:
            self.fail_next -= 1
            raise Refused(503, "upstream connect error")
        if self.refuse:
            raise Refused(self.refuse, "no such user")
        if self.accepted and self.tokens[-1].removeprefix("Bearer ") not in self.accepted:
            raise Refused(401, "Unauthenticated: token is not valid for audience pipelines.kubeflow.org")
        self._admit(query.get("namespace", ""))
        lists = {
            "pipelines": self.pipelines, "experiments": self.experiments, "runs": self.runs, "recurringruns": self.recurring,
        }  # fmt: skip
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/(pipelines|experiments|runs|recurringruns)", lambda m: self._page(m[1], lists[m[1]], query)),
            ("POST", "/pipelines", lambda m: self._create(self.pipelines, "V2beta1Pipeline", "pipeline_id", body)),
            ("POST", "/pipelines/upload_version", lambda m: self._upload_version(query, body, headers)),
            ("GET", "/pipelines/([^/]+)/versions", lambda m: self._versions(m[1], query)),
            ("POST", "/experiments", lambda m: self._create(self.experiments, "V2beta1Experiment", "experiment_id", body)),
            ("POST", "/runs", lambda m: self._create_run(body)),
            ("GET", "/runs/([^/]+)", lambda m: self._run(m[1])),
            ("POST", "/runs/([^/]+):terminate", lambda m: self._run(m[1]).update(state="CANCELED") or {}),
            ("POST", "/recurringruns", lambda m: self._create(
                self.recurring, "V2beta1RecurringRun", "recurring_run_id", body)),
            ("DELETE", "/recurringruns/([^/]+)", lambda m: self._delete(m[1])),
        ]  # fmt: skip
        for wanted, pattern, act in routes:
            if method == wanted and (found := re.fullmatch(pattern, path)):
                return act(found)
        self.problems.append(f"unknown request {method} {path}")
        raise Refused(404, "Not Found")

    def _admit(self, namespace: str) -> None:
        if namespace not in self.namespaces:
            raise Refused(403, f"User 'me' is not authorized with reason: in namespace {namespace}")

    def _page(self, name: str, items: list[dict[str, Any]], query: Mapping[str, str]) -> dict[str, Any]:
        """One page: filtered, of one experiment, sorted, and cut; the token is where the next begins."""
        found = [item for item in items if self._fits(item, query)]
        if query.get("sort_by", "").startswith("created_at"):
            found.sort(key=lambda i: (i["created_at"], i["run_id"]), reverse=query["sort_by"].endswith("desc"))
        start = int(query.get("page_token") or 0)
        end = start + min(int(query.get("page_size") or 10), self.most_a_page)
        field_name = {"recurringruns": "recurringRuns"}.get(name, name)
        return {field_name: found[start:end], "next_page_token": str(end) if end < len(found) else ""}

    def _fits(self, item: dict[str, Any], query: Mapping[str, str]) -> bool:
        predicates = json.loads(query["filter"])["predicates"] if "filter" in query else []
        equal = {1: lambda p, v: v == p["stringValue"], "IN": lambda p, v: v in p["stringValues"]["values"]}
        right_experiment = query.get("experiment_id", item.get("experiment_id")) == item.get("experiment_id")
        return right_experiment and all(equal[p["operation"]](p, item[p["key"]]) for p in predicates)

    def _create(self, items: list[dict[str, Any]], model: str, id_name: str, body: bytes) -> dict[str, Any]:
        document = json.loads(body)
        if "max_concurrency" in document:
            document["max_concurrency"] = str(document["max_concurrency"])  # int64: taken as a number, given as text
        self.problems += misfits(model, document)
        self._admit(document.get("namespace", ""))
        if id_name == "pipeline_id" and any(i["display_name"] == document["display_name"] for i in items):
            raise Refused(409, "Already exist error: pipeline")
        items.append({**document, id_name: f"{id_name}-{next(self.numbers):03}", "created_at": "2026-11-29T08:00:00Z"})
        return items[-1]

    def _create_run(self, body: bytes) -> dict[str, Any]:
        if self.before_run:
            act, self.before_run = self.before_run, None
            act()
        made = self._create(self.runs, "V2beta1Run", "run_id", body)
        made |= {"state": "PENDING", "finished_at": _MISSING}
        return made

    def _run(self, run_id: str) -> dict[str, Any]:
        run = next((run for run in self.runs if run["run_id"] == run_id), None)
        if run is None:
            raise Refused(404, f"Run {run_id} not found")
        if self.ends_as and run["state"] in ("PENDING", "RUNNING"):
            run["state"] = self.ends_as
        return run

    def _delete(self, recurring_id: str) -> dict[str, Any]:
        self.recurring[:] = [each for each in self.recurring if each["recurring_run_id"] != recurring_id]
        return {}

    def _versions(self, pipeline_id: str, query: Mapping[str, str]) -> dict[str, Any]:
        mine = [version for version in self.versions if version["pipeline_id"] == pipeline_id]
        page = self._page("versions", mine, query)
        return {"pipeline_versions": page["versions"], "next_page_token": page["next_page_token"]}

    def _upload_version(self, query: Mapping[str, str], body: bytes, headers: Message) -> dict[str, Any]:
        """The uploaded file must be a pipeline and a platform that KFP's own protobufs read, nothing left over."""
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        boundary = re.search(r"boundary=(\S+)", headers["content-type"])[1].encode()  # type: ignore[index]
        content = body.split(b"--" + boundary)[1].split(b"\r\n\r\n", 1)[1]
        pipeline, platform = yaml.safe_load_all(content)
        json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
        if any(version["display_name"] == query["name"] for version in self.versions):
            raise Refused(409, "Already exist error: pipeline version")
        version = {"pipeline_id": query["pipelineid"], "pipeline_version_id": f"v{len(self.versions)}"}
        self.versions.append({**version, "display_name": query["name"]})
        return self.versions[-1]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on a free port of the loopback interface. Its seconds are short: submitters wait 10 ms for each other."""
    monkeypatch.setattr(submit, "SETTLE_S", 0.01)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", "/nonexistent")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            status = 200
            try:
                path = url.path.removeprefix("/apis/v2beta1")
                document = state.answer(self.command, path, query, body, self.headers)
            except Refused as error:
                status, document = error.status, {"message": str(error)}
            data = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_port}"
        yield state
        http.shutdown()


@pytest.fixture
def settings(server: Server) -> Settings:
    return Settings(host=server.url, image=IMAGE, namespace="team-a", service_account="runner", token="secret-token")


@pytest.fixture
def loop() -> Loop:
    return from_json(
        Loop,
        {
            "apiVersion": "edgeloop.dev/v1alpha1",
            "kind": "Loop",
            "metadata": {"name": "turbine"},
            "data": {"source": "s3://telemetry/turbines/", "label": "y", "features": ["x"]},
            "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
            "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
            "retrain": {"schedule": "0 3 * * 0"},
        },
    )


@pytest.fixture
def request_of_judge() -> RunRequest:
    return RunRequest(
        loop="turbine", key="turbine-0123456789ab", cause="drift", evidence=42, requested_s=50.0, by="judge"
    )


@pytest.fixture
def loop_file(tmp_path: Any) -> Any:
    path = tmp_path / "loop.yaml"
    path.write_text(
        "apiVersion: edgeloop.dev/v1alpha1\nkind: Loop\nmetadata: {name: turbine}\n"
        'data: {source: "s3://telemetry/turbines/", label: y, features: [x]}\n'
        "train: {estimator: sklearn.linear_model.LogisticRegression}\n"
        "targets: [{name: cabinet, nodes: {group: cabinets}}]\n"
        'retrain: {schedule: "0 3 * * 0"}\n'
    )
    return path
