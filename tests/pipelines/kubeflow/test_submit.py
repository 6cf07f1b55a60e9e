"""`submit` through the real kfp.Client, against a small HTTP server that checks every body with kfp_server_api's models."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from edgeloop_contracts import Loop, RunRequest, from_json, loads
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.compile import NotForClustersError
from edgeloop_pipelines.submit import RefusedError, Settings, UnreachableError, find_run, plan, submit, wait
from edgeloop_pipelines.triggers.starters import KfpStarter, StarterError

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
    if hasattr(cls, "allowable_values") or not cls.openapi_types:  # an enum
        return [] if isinstance(document, str) else [f"{path}: expected a name, got {document!r}"]
    types = {cls.attribute_map[name]: kind for name, kind in cls.openapi_types.items()}
    unknown = [f"{path}.{key}: unknown" for key in document if key not in types]
    return unknown + [
        m for key, item in document.items() if key in types for m in misfits(types[key], item, f"{path}.{key}")
    ]


@dataclass
class Server:
    """What a Kubeflow Pipelines API server would hold, and what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    ends_as: str = "SUCCEEDED"
    refuse: int = 0

    def count(self, method: str, path: str) -> int:
        return sum(1 for m, p, _ in self.asked if (m, p) == (method, path))

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes, headers: Message) -> Any:
        self.asked.append((method, path, query))
        self.tokens.add(headers.get("authorization", ""))
        routes: list[tuple[str, str, Callable[..., Any]]] = [
            ("GET", "/healthz", lambda: {"multi_user": False}),
            ("GET", "/pipelines", lambda: {"pipelines": self._named(list(self.pipelines.values()), query)}),
            ("POST", "/pipelines/upload", lambda: self._upload(query, body, headers)),
            ("POST", "/pipelines/upload_version", lambda: self._upload_version(query, body, headers)),
            ("GET", "/pipelines/[^/]+/versions", lambda: {"pipeline_versions": self._named(self.versions, query)}),
            ("GET", "/experiments", lambda: {"experiments": self._named(self.experiments, query)}),
            (
                "POST",
                "/experiments",
                lambda: self._create(self.experiments, "V2beta1Experiment", "experiment_id", body),
            ),
            ("GET", "/runs", lambda: {"runs": self._named(self.runs, query)}),
            ("POST", "/runs", lambda: self._create(self.runs, "V2beta1Run", "run_id", body)),
            ("GET", "/runs/[^/]+", lambda: {**self.runs[0], "state": self.ends_as}),
        ]
        for wanted, pattern, act in routes:
            if method == wanted and re.fullmatch(pattern, path):
                return act()
        self.problems.append(f"unknown request {method} {path}")
        return {}

    def _named(self, items: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
        predicates = json.loads(query["filter"])["predicates"] if "filter" in query else []
        return [i for i in items if all(i[p["key"]] == p["stringValue"] for p in predicates)]

    def _create(self, items: list[dict[str, Any]], model: str, id_name: str, body: bytes) -> dict[str, Any]:
        document = json.loads(body)
        self.problems += misfits(model, document)
        items.append(
            {**document, id_name: f"{id_name}-{len(items)}", **({"state": "PENDING"} if id_name == "run_id" else {})}
        )
        return items[-1]

    def _upload(self, query: Mapping[str, str], body: bytes, headers: Message) -> dict[str, Any]:
        self._read_ir(body, headers)
        self.pipelines[query["name"]] = {
            "pipeline_id": f"pipeline-{len(self.pipelines)}",
            "display_name": query["name"],
        }
        return self.pipelines[query["name"]]

    def _upload_version(self, query: Mapping[str, str], body: bytes, headers: Message) -> dict[str, Any]:
        self._read_ir(body, headers)
        version = {"pipeline_id": query["pipelineid"], "pipeline_version_id": f"v{len(self.versions)}"}
        self.versions.append({**version, "display_name": query["name"]})
        return self.versions[-1]

    def _read_ir(self, body: bytes, headers: Message) -> None:
        """The uploaded file must be a pipeline that KFP's own protobufs read."""
        from google.protobuf import json_format
        from kfp.pipeline_spec import pipeline_spec_pb2

        boundary = re.search(r"boundary=(\S+)", headers["content-type"])[1].encode()  # type: ignore[index]
        content = body.split(b"--" + boundary)[1].split(b"\r\n\r\n", 1)[1]
        json_format.ParseDict(next(yaml.safe_load_all(content)), pipeline_spec_pb2.PipelineSpec())


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on a free port of the loopback interface."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path = url.path.removeprefix("/apis/v2beta1")
            refused = state.refuse and path != "/healthz"
            document = (
                {"message": "no such user"} if refused else state.answer(self.command, path, query, body, self.headers)
            )
            data = json.dumps(document).encode()
            self.send_response(state.refuse if refused else 200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = handle_any

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


def test_a_run_is_created_with_the_request_in_it(server: Server, settings: Settings) -> None:
    """Pipeline, version, experiment and run are made; the bodies fit the API's models; key, account and token arrive."""
    done = submit(REQUEST, LOOP, settings)
    assert server.problems == []
    (run,) = server.runs
    assert done.created
    assert run["display_name"] == REQUEST.key
    assert run["service_account"] == "runner"
    assert run["pipeline_version_reference"] == {"pipeline_id": "pipeline-0", "pipeline_version_id": "v0"}
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
    assert server.tokens - {""} == {"Bearer secret-token"}
    assert [v["display_name"] for v in server.versions] == [done.version]


def test_submitting_again_makes_nothing_new(server: Server, settings: Settings) -> None:
    """The same key gives the same run; another key of the same code gives a run of the version that is there."""
    first, second = submit(REQUEST, LOOP, settings), submit(REQUEST, LOOP, settings)
    assert (second.created, second.run.run_id) == (False, first.run.run_id)
    submit(replace(REQUEST, key="turbine-other"), LOOP, settings)
    assert [server.count("POST", f"/{path}") for path in ("pipelines/upload", "pipelines/upload_version", "runs")] == [
        1,
        1,
        2,
    ]


def test_another_image_is_another_version(server: Server, settings: Settings) -> None:
    """Versions are told apart by their content: a new digest of the steps' image is uploaded."""
    submit(REQUEST, LOOP, settings)
    submit(replace(REQUEST, key="other"), LOOP, replace(settings, image=IMAGE.replace("1", "2")))
    assert len({v["display_name"] for v in server.versions}) == 2
    assert len(server.pipelines) == 1


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED"])
def test_waiting_ends_with_the_run(server: Server, settings: Settings, state: str) -> None:
    """Every end is an end, a cancelled run too."""
    server.ends_as = state
    assert wait(settings, submit(REQUEST, LOOP, settings).run.run_id, poll_s=0.01).state == state


def test_waiting_gives_up(server: Server, settings: Settings) -> None:
    """A run that does not end is given up with words that name it."""
    server.ends_as = "RUNNING"
    run_id = submit(REQUEST, LOOP, settings).run.run_id
    with pytest.raises(TimeoutError, match="it is RUNNING"):
        wait(settings, run_id, poll_s=0.01, timeout_s=0.02)


def test_an_error_of_the_server_is_told_in_its_words(server: Server, settings: Settings) -> None:
    """A refusal names the status and the server's message."""
    server.refuse = 403
    with pytest.raises(RefusedError, match="403 Forbidden: no such user"):
        submit(REQUEST, LOOP, settings)


def test_a_host_that_does_not_answer_is_told_at_once(server: Server, settings: Settings) -> None:
    """Nobody listens there: `UnreachableError`, with the host in it."""
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        submit(REQUEST, LOOP, replace(settings, host="http://127.0.0.1:9"))


def test_the_starter_of_the_triggers_speaks_the_same_way(server: Server, settings: Settings) -> None:
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


def test_files_of_this_machine_are_refused(settings: Settings) -> None:
    """A loop whose data a cluster cannot see is not submitted."""
    with pytest.raises(NotForClustersError, match=r"data\.source: rows\.csv is a file"):
        submit(REQUEST, replace(LOOP, data=replace(LOOP.data, source="rows.csv")), settings)


def test_a_plan_asks_nobody(server: Server, settings: Settings) -> None:
    """`plan` says what would be done without a request."""
    assert plan(REQUEST, LOOP, settings)["run"] == REQUEST.key
    assert server.asked == []


LOOP_YAML = """
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: turbine}
data: {source: "s3://telemetry/turbines/", label: y, features: [x]}
train: {estimator: sklearn.linear_model.LogisticRegression}
targets: [{name: cabinet, nodes: {group: cabinets}}]
"""


def test_the_command_submits_and_waits(server: Server, settings: Settings, tmp_path, capsys) -> None:
    """`edgeloop submit --wait --json` prints one document; the exit code follows the run's end."""
    (tmp_path / "loop.yaml").write_text(LOOP_YAML)
    words = ["submit", str(tmp_path / "loop.yaml"), "--host", server.url, "--image", IMAGE, "--run-key", "k1", "--json"]
    assert main([*words, "--wait"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["run"], document["state"], document["created"]) == ("k1", "SUCCEEDED", True)
    server.ends_as = "FAILED"
    assert main([*words, "--wait"]) == 1
    assert find_run(settings, "k1") is not None


def test_the_command_without_a_host_exits_3(tmp_path, capsys) -> None:
    """An unreachable host: exit code 3, clear words, no traceback; a dry run needs none."""
    (tmp_path / "loop.yaml").write_text(LOOP_YAML)
    words = ["submit", str(tmp_path / "loop.yaml"), "--image", IMAGE]
    assert main([*words, "--host", "http://127.0.0.1:9"]) == 3
    error = capsys.readouterr().err
    assert "127.0.0.1:9 does not answer" in error
    assert "Traceback" not in error
    assert main([*words, "--dry-run"]) == 0
