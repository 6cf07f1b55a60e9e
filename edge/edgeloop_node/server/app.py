"""The server's answers: `Service` decides them without any I/O.

Every answer is JSON but for /metrics and wished binary tensors; every error is `{"error": text}`. A request over the
private socket has one power more: reading /window there confirms what was stored before, so that a stranger on the network
cannot make a server forget counts.
"""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from edgeloop_contracts import to_json
from edgeloop_node.documents import BadRequestError, decode, nearest, shown
from edgeloop_node.log import log
from edgeloop_node.monitor import Monitor
from edgeloop_node.runtimes import Scores, UnavailableError
from edgeloop_node.server import v2
from edgeloop_node.server.binary import split
from edgeloop_node.server.metrics import CONTENT_TYPE, metrics_text
from edgeloop_node.server.model import Model
from edgeloop_node.server.requests import Row, RowReader

__all__ = ["Answer", "Request", "Service", "error_answer"]

WINDOWS_PER_READ = 200
JSON, OCTETS = b"application/json", b"application/octet-stream"


class Request(NamedTuple):
    """What a handler may see of a request. `json_bytes`: the header that says where JSON ends and tensors begin."""

    path: str
    query: bytes
    body: bytes
    private: bool
    json_bytes: str | None = None


class Answer(NamedTuple):
    """Status, body and content type of an answer, and how much of the body is JSON when tensors follow."""

    status: int
    body: bytes
    content_type: bytes = JSON
    json_bytes: int | None = None


class Route(NamedTuple):
    """One path: its method, its name in the metrics, and what answers. `scores` marks those that the monitor counts."""

    method: str
    name: str
    handler: Callable[[Request], Answer]
    scores: bool = False


def _json(document: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(document, separators=(",", ":")).encode())


def error_answer(status: int, text: str) -> Answer:
    """`{"error": text}`."""
    return _json({"error": text}, status)


def _with_tensors(answer: Answer, tensors: bytes) -> Answer:
    if not tensors:
        return answer
    return Answer(200, answer.body + tensors, OCTETS, len(answer.body))


class Service:
    """One loaded model, its counts, and the answers to requests."""

    def __init__(self, model: Model, monitor: Monitor, software: dict[str, str]) -> None:
        self.monitor = monitor
        self.requests: Counter[tuple[str, int]] = Counter()
        self.ready = True
        self._score, self._trouble, self._counts = model.scorer.score, model.scorer.trouble, model.scorer.counts
        self._kind, self._input = model.kind, model.input
        self._loop, self._version = model.version.loop, model.version.number
        self._reader = RowReader(model.reference)
        self._write = self._kind.writer(self._loop, self._version)
        served = {**software, "model": self._loop, "model_version": str(self._version)}
        self._software = _json(v2.server_metadata(software["edgeloop"], served))
        self._metadata = _json(v2.model_metadata(model))
        who = monitor.identity
        self._info = {
            "loop": self._loop,
            "version": self._version,
            "image": who.image,
            "schema_hash": model.reference.schema_hash,
            "runtime": model.scorer.runtime,
            "node": who.node,
            "group": who.group,
        }
        self.routes = self._routes()

    def _routes(self) -> dict[str, Route]:
        routes = {
            "/score": Route("POST", "score", self.score, scores=True),
            "/window": Route("GET", "window", self.window),
            "/metrics": Route("GET", "metrics", self.metrics),
            "/v2": Route("GET", "v2", lambda _: self._software),
            "/v2/": Route("GET", "v2", lambda _: self._software),
            "/v2/health/live": Route("GET", "live", lambda _: _json({"live": True})),
            "/v2/health/ready": Route("GET", "ready", self.readiness),
        }
        for path in (f"/v2/models/{self._loop}", f"/v2/models/{self._loop}/versions/{self._version}"):
            routes[path] = Route("GET", "model", lambda _: self._metadata)
            routes[f"{path}/ready"] = Route("GET", "model_ready", self.model_readiness)
            routes[f"{path}/infer"] = Route("POST", "infer", self.infer, scores=True)
        return routes

    def answer(self, method: str, request: Request) -> Answer:
        """The answer to a request whose body was read. It raises nothing: a fault of ours is a 500 and a log line."""
        route = self.routes.get(request.path)
        if route is None:
            return self.counted(None, self._unknown(request.path))
        if method != route.method:
            text = f"{request.path}: expected {route.method}, got {method}"
            return self.counted(route, error_answer(405, text))
        try:
            answer = route.handler(request)
        except BadRequestError as error:
            answer = error_answer(error.status, str(error))
        except UnavailableError as error:
            answer = error_answer(503, str(error))
        except Exception as error:
            log("error", "a request failed", path=request.path, error=repr(error), trace=traceback.format_exc(limit=-6))
            answer = error_answer(500, f"{type(error).__name__}: {error}")
        return self.counted(route, answer)

    def counted(self, route: Route | None, answer: Answer) -> Answer:
        """Counts an answer for the metrics, and a refused or failed scoring request for the report."""
        self.requests[route.name if route else "unknown", answer.status] += 1
        if answer.status >= 400 and route and route.scores:
            (self.monitor.refuse if answer.status < 500 else self.monitor.fail)(time.time())
        return answer

    def _unknown(self, path: str) -> Answer:
        if path.startswith("/v2/models/"):
            here = f"{self._loop}, version {self._version}"
            return error_answer(404, f"{path[:200]}: no such model or version: this server has {here}")
        return error_answer(404, f"{path[:200]}: no such path {nearest(path, list(self.routes))}")

    def score(self, request: Request) -> Answer:
        """POST /score: one row, or `{"rows": [...]}`."""
        began_ns = time.perf_counter_ns()
        document = decode(request.body)
        many = "rows" in document
        rows = self._reader.rows(document) if many else [self._reader.row(document)]
        answers = self._scored([row.values for row in rows])
        texts = [self._write(row.id, *answer) for row, *answer in zip(rows, *answers, strict=True)]
        text = '{"rows":[' + ",".join(texts) + "]}" if many else texts[0]
        self._count(rows, answers, began_ns)
        return Answer(200, text.encode())

    def infer(self, request: Request) -> Answer:
        """POST /v2/models/<loop>/infer. Its rows have no time, so they are counted by the server's clock."""
        began_ns = time.perf_counter_ns()
        text, behind = (request.body, None) if request.json_bytes is None else split(request.body, request.json_bytes)
        document = decode(text)
        head = {"model_name": self._loop, "model_version": str(self._version)}
        outputs = self._kind.outputs
        values, wanted = v2.rows_of(document, self._input, outputs, head, behind)
        answers = self._scored(values)
        if "id" in document:
            head["id"] = document["id"]
        answer, tensors = v2.inference_answer(head, wanted, outputs, answers)
        self._count([Row(row, None, None) for row in values], answers, began_ns)
        return _with_tensors(_json(answer), tensors)

    def _scored(self, values: list[list[float]]) -> Scores:
        return self._kind.checked(self._score(values), values)

    def _count(self, rows: list[Row], answers: Scores, began_ns: int) -> None:
        now_s = time.time()
        start_of = self.monitor.window_start
        starts_s = [start_of(now_s if row.time_s is None else row.time_s) for row in rows]
        latency_us = (time.perf_counter_ns() - began_ns) / 1000
        labels, confidences = self._kind.counted(answers)
        self.monitor.record([row.values for row in rows], labels, confidences, starts_s, latency_us)

    def window(self, request: Request) -> Answer:
        """GET /window?after=S: the reports with a sequence above S, at most WINDOWS_PER_READ, and whether there are more."""
        text = parse_qs(request.query.decode("latin-1")).get("after", ["0"])[-1]
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise BadRequestError(f"after: expected a whole number >= 0, got {shown(text)}")
        if request.private:
            self.monitor.confirm(int(text))
        reports = self.monitor.reports(int(text), WINDOWS_PER_READ + 1)
        page = reports[:WINDOWS_PER_READ]
        sequence = page[-1].sequence if page else self.monitor.sequence
        head = {"boot": self.monitor.identity.boot, "sequence": sequence, "more": len(reports) > len(page)}
        return _json({**head, "reports": [to_json(report) for report in page]})

    def metrics(self, _: Request) -> Answer:
        text = metrics_text(self.monitor.totals, self.requests, self._info, self._counts())
        return Answer(200, text.encode(), CONTENT_TYPE)

    def readiness(self, _: Request) -> Answer:
        return self._ready({})

    def model_readiness(self, _: Request) -> Answer:
        return self._ready({"name": self._loop})

    def _ready(self, head: dict[str, str]) -> Answer:
        trouble = self._trouble()
        ready = self.ready and not trouble
        return _json({**head, "ready": ready, **({"error": trouble} if trouble else {})}, 200 if ready else 503)
