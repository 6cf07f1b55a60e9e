"""A registry in memory for tests: the whole protocol, a token service, TLS, and faults on demand.

It compares digests, refuses a manifest whose parts it does not have, and knows uploads in chunks, ranges, mounts and the
referrers API (which can be switched off, as older registries have none). `faults` says what goes wrong with the requests to
come, one entry for each; None lets a request through. It is no registry for anything else: nothing is kept.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeloop_components.package.documents import INDEX
from edgeloop_components.registry.documents import digest_of_bytes, read
from edgeloop_components.registry.faults import Fault

__all__ = ["Fault", "TestRegistry", "serve"]

PAGE = 2  # referrers on a page


class _CutError(Exception):
    pass


class TestRegistry:
    """What the registry holds and how it behaves. Read and written by tests while it serves."""

    __test__ = False  # no test class

    def __init__(self) -> None:
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.tags: dict[tuple[str, str], str] = {}
        self.uploads: dict[str, tuple[str, bytearray]] = {}
        self.referrers_api = True
        self.auth = ""  # basic, bearer
        self.password, self.identity = "secret", "identity"
        self.faults: list[Fault | None] = []
        self.rule: Callable[[str], Fault | None] = lambda _: None  # by "METHOD path", after the faults
        self.requests: list[str] = []
        self.authorized: list[tuple[str, str]] = []  # path, Authorization
        self.sent_bytes = 0  # of bodies of answers
        self.address = self.realm = ""
        self.lock = threading.RLock()

    @property
    def basic(self) -> str:
        """The Authorization header that is let in."""
        return "Basic " + base64.b64encode(f"user:{self.password}".encode()).decode()

    def referrers(self, repository: str, digest: str) -> list[dict[str, Any]]:
        found = []
        for (name, _), (kind, data) in self.manifests.items():
            document = read(data, kind)
            if name == repository and document.subject and document.subject.digest == digest:
                found.append(document.descriptor.plain)
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version, timeout, disable_nagle_algorithm = "HTTP/1.1", 20, True
    state: TestRegistry

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        state = self.state
        self.fault = Fault()
        try:
            with state.lock:
                state.requests.append(f"{self.command} {self.path}")
                state.authorized.append((self.path, self.headers.get("Authorization", "")))
                if not self.path.startswith("/token"):
                    self.fault = (state.faults.pop(0) if state.faults else state.rule(state.requests[-1])) or Fault()
            self._work()
        except (_CutError, OSError):
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(2)

    def _work(self) -> None:
        if self.fault.slow_s:
            time.sleep(self.fault.slow_s)
        if self.path.startswith("/token"):
            self._token()
        elif self.fault.status:
            self._body()
            retry = {"Retry-After": self.fault.retry_after} if self.fault.retry_after else {}
            self._reply(self.fault.status, b'{"errors": [{"code": "FAULT", "message": "as asked"}]}', retry)
        elif not self._allowed():
            self._body()
            self._reply(401, b'{"errors": [{"code": "UNAUTHORIZED", "message": "who asks?"}]}', self._challenge())
        else:
            self._route()

    def _allowed(self) -> bool:
        state, shown = self.state, self.headers.get("Authorization", "")
        if state.auth != "bearer":
            return shown == state.basic or not state.auth
        repository = self.path.removeprefix("/v2/").split("/blobs/")[0].split("/manifests/")[0].split("/referrers/")[0]
        actions = "pull" if self.command in ("GET", "HEAD") else "pull,push"
        granted = base64.b64decode(shown.removeprefix("Bearer ") + "==").decode("utf-8", "replace").split(" ")
        return any(scope.startswith(f"repository:{repository}:{actions}") for scope in granted)

    def _challenge(self) -> dict[str, str]:
        if self.state.auth == "basic":
            return {"WWW-Authenticate": 'Basic realm="test"'}
        realm = self.state.realm or f"{self.state.address}/token"
        return {"WWW-Authenticate": f'Bearer realm="{realm}",service="test",scope="repository:x:pull"'}

    def _token(self) -> None:
        body = urllib.parse.parse_qs(self._body().decode())
        query = urllib.parse.parse_qs(self.path.partition("?")[2])
        shown = self.headers.get("Authorization", "")
        if shown != self.state.basic and body.get("refresh_token") != [self.state.identity]:
            return self._reply(401, b"{}")
        scopes = " ".join(query.get("scope", []) + body.get("scope", []))
        return self._reply(200, json.dumps({"token": base64.b64encode(scopes.encode()).decode()}).encode())

    def _route(self) -> None:
        path, _, query = self.path.partition("?")
        asked = {key: values[0] for key, values in urllib.parse.parse_qs(query).items()}
        for pattern, handler in _ROUTES:
            if found := re.fullmatch(pattern, path):
                handler(self, *found.groups(), asked)
                return
        self._body()
        self._reply(404, b"{}")

    def _manifest(self, repository: str, reference: str, _: dict[str, str]) -> None:
        data, state = self._body(), self.state
        digest = reference if reference.startswith("sha256:") else state.tags.get((repository, reference), "")
        if self.command == "PUT":
            return self._put_manifest(repository, reference, data)
        kind, data = state.manifests.get((repository, digest), ("", b""))
        if not kind:
            return self._reply(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        return self._reply(200, data, {"Content-Type": kind, "Docker-Content-Digest": digest})

    def _put_manifest(self, repository: str, reference: str, data: bytes) -> None:
        state, digest = self.state, digest_of_bytes(data)
        document = read(data, self.headers.get("Content-Type", ""))
        lacking = [b.digest for b in document.blobs if (repository, b.digest) not in state.blobs]
        lacking += [m.digest for m in document.manifests if (repository, m.digest) not in state.manifests]
        if lacking or (reference.startswith("sha256:") and reference != digest):
            text = {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": str(lacking)}]}
            return self._reply(400, json.dumps(text).encode())
        with state.lock:
            state.manifests[repository, digest] = (document.media_type, data)
            if not reference.startswith("sha256:"):
                state.tags[repository, reference] = digest
        subject = document.subject.digest if document.subject and state.referrers_api else ""
        return self._reply(201, b"", {"Docker-Content-Digest": digest, **({"OCI-Subject": subject} if subject else {})})

    def _blob(self, repository: str, digest: str, _: dict[str, str]) -> None:
        self._body()
        data = self.state.blobs.get((repository, digest))
        if data is None:
            return self._reply(404, b"{}")
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        if start >= len(data) and found:
            return self._reply(416, b"")
        ranged = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if found else {}
        return self._reply(206 if found else 200, data[start:], ranged)

    def _begin(self, repository: str, asked: dict[str, str]) -> None:
        self._body()
        state = self.state
        mounted = state.blobs.get((asked.get("from", ""), asked.get("mount", "")))
        if mounted is not None:
            state.blobs[repository, asked["mount"]] = mounted
            return self._reply(201, b"", {"Location": f"/v2/{repository}/blobs/{asked['mount']}"})
        with state.lock:
            name = f"u{len(state.uploads)}"
            state.uploads[name] = (repository, bytearray())
        return self._reply(202, b"", {"Location": f"/v2/{repository}/blobs/uploads/{name}?state=x"})

    def _upload(self, repository: str, name: str, asked: dict[str, str]) -> None:
        known = self.state.uploads.get(name)
        if known is None:
            self._body()
            return self._reply(404, b'{"errors": [{"code": "BLOB_UPLOAD_UNKNOWN"}]}')
        data = known[1]
        span = re.fullmatch(r"(\d+)-(\d+)", self.headers.get("Content-Range", ""))
        if span and int(span[1]) != len(data):
            self._body()
            return self._reply(416, b"")
        if self.command != "GET":
            self._body(data)
        place = {"Location": f"/v2/{repository}/blobs/uploads/{name}?state=x", "Range": f"0-{max(len(data) - 1, 0)}"}
        if self.command != "PUT":
            return self._reply(204 if self.command == "GET" else 202, b"", place)
        del self.state.uploads[name]
        if digest_of_bytes(bytes(data)) != asked.get("digest"):
            return self._reply(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
        self.state.blobs[repository, asked["digest"]] = bytes(data)
        return self._reply(201, b"", {"Docker-Content-Digest": asked["digest"]})

    def _referrers(self, repository: str, digest: str, asked: dict[str, str]) -> None:
        if not self.state.referrers_api:
            return self._reply(404, b"{}")
        all_, at = self.state.referrers(repository, digest), int(asked.get("at", "0"))
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": all_[at : at + PAGE]}
        following = f'</v2/{repository}/referrers/{digest}?at={at + PAGE}>; rel="next"'
        more = {"Link": following} if at + PAGE < len(all_) else {}
        return self._reply(200, json.dumps(body).encode(), {"Content-Type": INDEX, **more})

    def _body(self, into: bytearray | None = None) -> bytes:
        data = bytearray() if into is None else into
        left, fault = int(self.headers.get("Content-Length") or 0), self.fault
        if fault.cut == "request":
            left = min(left, fault.at)
        while left > 0 and (piece := self.rfile.read(min(left, 1 << 16))):
            data += piece
            left -= len(piece)
        if fault.cut == "request":
            raise _CutError
        return bytes(data) if into is None else b""

    def _reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        fault = self.fault
        if fault.cut == "answer":
            raise _CutError
        body = body if fault.body is None else fault.body
        if fault.flip and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(status)
        sized = {} if "Transfer-Encoding" in fault.header else {"Content-Length": str(len(body))}
        for name, value in {**sized, **(headers or {}), **fault.header}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD" or status == 204:
            return
        sent = body[: fault.at] if fault.cut == "body" else body
        self.wfile.write(sent)
        self.state.sent_bytes += len(sent)
        if fault.cut == "body":
            self.wfile.flush()
            raise _CutError


_ROUTES: tuple[tuple[str, Any], ...] = (
    (r"/v2/", lambda self, _: self._reply(200, b"{}")),
    (r"/v2/(.+)/manifests/([^/]+)", _Handler._manifest),
    (r"/v2/(.+)/blobs/uploads/", _Handler._begin),
    (r"/v2/(.+)/blobs/uploads/([^/]+)", _Handler._upload),
    (r"/v2/(.+)/blobs/(sha256:[0-9a-f]{64})", _Handler._blob),
    (r"/v2/(.+)/referrers/([^/]+)", _Handler._referrers),
)


@contextlib.contextmanager
def serve(tls: ssl.SSLContext | None = None) -> Iterator[TestRegistry]:
    """Serves a new registry on a free port of this machine; `address` says where."""
    state = TestRegistry()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients go away; tests look at the client
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
