"""Stand-ins over HTTP for what the doctor asks: a Kubernetes API server, Kubeflow Pipelines, an S3 bucket, a fleet service.

They answer the real clients as far as the doctor asks, and behave wrongly on demand: other tests have no use for them.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

__all__ = ["PATHS", "S3", "TOKEN", "ApiServer", "Fleet", "Kfp", "Request", "Server"]

TOKEN = "let-me-in"  # noqa: S105 (of the stand-in alone)
PATHS = {  # kind: group and version, plural
    "Node": ("api/v1", "nodes"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Secret": ("api/v1", "secrets"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "DaemonSet": ("apis/apps/v1", "daemonsets"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "NodeGroup": ("apis/apps.kubeedge.io/v1alpha1", "nodegroups"),
    "EdgeApplication": ("apis/apps.kubeedge.io/v1alpha1", "edgeapplications"),
    "ImagePrePullJob": ("apis/operations.kubeedge.io/v1alpha2", "imageprepulljobs"),
    "ModelRollout": ("apis/edgeloop.dev/v1alpha1", "modelrollouts"),
    "Rule": ("apis/rules.kubeedge.io/v1", "rules"),
    "RuleEndpoint": ("apis/rules.kubeedge.io/v1", "ruleendpoints"),
}
CLUSTER_WIDE = ("Node", "NodeGroup", "ImagePrePullJob")


class Request(NamedTuple):
    """What a client asks; bodies are read and left aside."""

    method: str
    path: str
    headers: Any


class Server:
    """Answers HTTP on a free port. A subclass gives `answer`: status, body, and headers."""

    clock_off_s = 0.0

    def answer(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        raise NotImplementedError

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        state = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                self.rfile.read(length)
                status, data, more = state.answer(Request(self.command, self.path, self.headers))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data if self.command != "HEAD" else b"")

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self._any
                raise AttributeError(name)

            def date_time_string(self, timestamp: float | None = None) -> str:
                return email.utils.formatdate((timestamp or time.time()) + state.clock_off_s, usegmt=True)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients give up; tests look at the client
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)


@dataclass
class ApiServer(Server):
    """Lists and gets of a Kubernetes API server, page by page, for who brings the token. `absent`: kinds it does not know."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    version: str = "v1.32.10"
    absent: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    page: int = 2
    stall_s: float = 0.0
    methods: set[str] = field(default_factory=set)

    def answer(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        self.methods.add(request.method)
        time.sleep(self.stall_s)
        status, document = self._found(request.path, request.headers)
        return status, json.dumps(document).encode(), {"Content-Type": "application/json"}

    def _found(self, target: str, headers: Any) -> tuple[int, Any]:
        url = urlsplit(target)
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._status(401, "Unauthorized")
        if url.path == "/version":
            return 200, {"gitVersion": self.version}
        for kind, (prefix, plural) in PATHS.items():
            found = re.fullmatch(rf"/{prefix}/(?:namespaces/([^/]+)/)?{plural}(?:/([^/]+))?", url.path)
            if found and bool(found[1]) is (kind not in CLUSTER_WIDE) and kind not in self.absent:
                if kind == "Secret" and "as=PartialObjectMetadataList" not in headers.get("Accept", ""):
                    return self._status(406, "the stand-in hands out no Secret's content")
                if kind in self.forbidden:
                    return self._status(403, f"{plural} is forbidden")
                return self._of(kind, found[1], found[2], {k: v[0] for k, v in parse_qs(url.query).items()})
        return self._status(404, "the server could not find the requested resource")

    def _of(self, kind: str, namespace: str | None, name: str | None, query: dict[str, str]) -> tuple[int, Any]:
        mine = [each for each in self.objects if each["kind"] == kind]
        mine = [each for each in mine if each["metadata"].get("namespace") == namespace]
        if name:
            named = [each for each in mine if each["metadata"]["name"] == name]
            return (200, named[0]) if named else self._status(404, f"{name} not found")
        start, size = int(query.get("continue", 0)), min(int(query.get("limit", 500)), self.page)
        more = str(start + size) if start + size < len(mine) else ""
        items = [
            {k: v for k, v in each.items() if k not in ("kind", "apiVersion")} for each in mine[start : start + size]
        ]
        return 200, {"kind": f"{kind}List", "items": items, "metadata": {"continue": more}}

    @staticmethod
    def _status(code: int, message: str) -> tuple[int, Any]:
        return code, {"kind": "Status", "code": code, "message": message}


@dataclass
class Kfp(Server):
    """The two calls of Kubeflow Pipelines that the doctor makes; `code` other than 200 refuses the second."""

    code: int = 200

    def answer(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        known = request.path.startswith("/apis/v2beta1/runs?")
        document = {} if known else {"multi_user": False}
        return self.code if known else 200, json.dumps(document).encode(), {"Content-Type": "application/json"}


@dataclass
class S3(Server):
    """A bucket: list, put with a condition, delete. `refuse` is the code of an error for everything."""

    refuse: str = ""
    conditions: bool = True
    keys: set[str] = field(default_factory=set)

    def answer(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        method, key = request.method, urlsplit(request.path).path
        if self.refuse:
            return 403, _xml("Error", f"<Code>{self.refuse}</Code><Message>no</Message>"), _XML
        if method == "PUT":
            if self.conditions and request.headers.get("If-None-Match") == "*" and key in self.keys:
                return 412, _xml("Error", "<Code>PreconditionFailed</Code><Message>there</Message>"), _XML
            self.keys.add(key)
            return 200, b"", {"ETag": '"1"'}
        if method == "DELETE":
            self.keys.discard(key)
            return 204, b"", {}
        return 200, _xml("ListBucketResult", "<Name>edgeloop</Name><IsTruncated>false</IsTruncated>"), _XML


_XML = {"Content-Type": "application/xml"}


def _xml(root: str, inner: str) -> bytes:
    return f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()


@dataclass
class Fleet(Server):
    """A fleet service: its health, and the nodes that it hears of."""

    code: int = 200
    heard: dict[str, bool] = field(default_factory=dict)

    def answer(self, request: Request) -> tuple[int, bytes, dict[str, str]]:
        nodes = [{"node": name, "reachable": heard} for name, heard in self.heard.items()]
        found: dict[str, Any] = {"/v1/health": {}, "/v1/nodes": {"nodes": nodes}}
        known = request.path in found
        return self.code if known else 404, json.dumps(found.get(request.path, {})).encode(), {}
