"""Scores rows with the model that is served on this node: the same for scripts (`edgeloop-node score`) and for Python.

    from edgeloop_node.access import score
    for answer in score([{"wind_speed": 7.5, "pitch": None}]):
        print(answer.label, answer.confidence)

It finds the server in the run folder, asks for its health and version, scores in batches, and tries again when a server is
being replaced. It needs no network but the node itself, and the standard library only. A row that the server refuses is an
answer with `error`, the others are scored. An attempt whose answer was lost on the way is made again, so its rows may be
counted twice in the node's report.
"""

from __future__ import annotations

import http.client
import itertools
import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgeloop_node.local import UnreachableError, connect, servers_in

__all__ = [
    "AccessError",
    "AmbiguousError",
    "Item",
    "Model",
    "NoServerError",
    "Scored",
    "Settings",
    "WrongVersionError",
    "open_model",
    "score",
]

Features = Mapping[str, float | int | str | None]


class AccessError(RuntimeError):
    """The rows could not be scored."""


class NoServerError(AccessError):
    """No healthy server answers on this node."""


class WrongVersionError(AccessError):
    """The model served here is another version than the one asked for."""


class AmbiguousError(AccessError):
    """Several models are served here and none was named."""


class _TryAgainError(Exception):
    """The way's fault, or a server that is just leaving."""


@dataclass(frozen=True)
class Item:
    """One row. `time` decides into which window it is counted; without, it is now."""

    features: Features
    time: str | float | None = None
    id: str | None = None


@dataclass(frozen=True)
class Scored:
    """The answer to one row. `error` says why a row was refused; then the rest is empty.

    A model without classes gives `values` instead of label, confidence and probabilities: a number for each output, or a list.
    """

    id: str | None = None
    label: str = ""
    confidence: float = 0.0
    probabilities: Mapping[str, float] = field(default_factory=dict)
    model: str = ""
    version: int = 0
    error: str = ""
    values: Mapping[str, float | Sequence[float] | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where to look and how patiently. `run_dir` None: EDGELOOP_RUN_DIR, or /run/edgeloop."""

    run_dir: Path | None = None
    url: str = ""
    loop: str = ""
    version: int | None = None
    batch: int = 200
    retries: int = 5
    wait_s: float = 0.2  # before the first further attempt; doubles
    timeout_s: float = 10.0

    @property
    def folder(self) -> Path:
        return self.run_dir or Path(os.environ.get("EDGELOOP_RUN_DIR") or "/run/edgeloop")


class _Local(http.client.HTTPConnection):
    """HTTP over a server's private socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("node", timeout=timeout_s)
        self._path, self._timeout_s = path, timeout_s

    def connect(self) -> None:
        self.sock = connect(self._path, self._timeout_s)


def _request(connection: http.client.HTTPConnection, method: str, path: str, document: Any = None) -> tuple[int, Any]:
    """Status and JSON body. _TryAgainError when no whole answer came."""
    body = None if document is None else json.dumps(document, allow_nan=False).encode()
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        raise _TryAgainError(f"{method} {path}: {error!r}") from error


def _by_url(url: str, timeout_s: float) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise NoServerError(f"expected a URL such as http://127.0.0.1:8080, got {url!r}")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname, parts.port, timeout=timeout_s)


def _in_run_dir(settings: Settings) -> Iterator[http.client.HTTPConnection]:
    folder = settings.folder
    servers = [server for server in servers_in(folder) if settings.loop in ("", server.loop)]
    loops = sorted({server.loop for server in servers})
    if len(loops) > 1:
        raise AmbiguousError(f"{folder}: several models are served here: {', '.join(loops)}; name one (--loop)")
    if not servers:
        raise _TryAgainError(
            f"{folder}: expected a server{f' of {settings.loop}' if settings.loop else ''}, found none"
        )
    for server in sorted(servers, key=lambda s: (s.version == settings.version, s.started_s), reverse=True):
        yield _Local(server.socket, settings.timeout_s)


@dataclass
class Model:
    """A healthy server: what it takes and gives, and the open connection to it."""

    connection: http.client.HTTPConnection
    loop: str
    version: int
    kinds: Mapping[str, str]  # feature: number or category
    classes: Sequence[str]  # empty: it answers with values
    outputs: Mapping[str, int]  # name: how many values a row


def _healthy(connection: http.client.HTTPConnection) -> Model:
    status, _ = _request(connection, "GET", "/v2/health/ready")
    if status != 200:
        connection.close()
        raise _TryAgainError(f"expected a ready server, got status {status}")
    _, server = _request(connection, "GET", "/v2")
    try:
        name, version = server["parameters"]["model"], int(server["parameters"]["model_version"])
        _, model = _request(connection, "GET", f"/v2/models/{name}")
        kinds = {feature["name"]: feature["kind"] for feature in model["parameters"]["features"]}
        outputs = {output["name"]: math.prod(output["shape"][1:]) for output in model["outputs"]}
        return Model(connection, name, version, kinds, model["parameters"]["classes"], outputs)
    except (KeyError, TypeError, ValueError) as error:
        raise NoServerError(f"expected a server of edgeloop, got another one: {error!r}") from error


def _check(model: Model, settings: Settings) -> Model:
    try:
        if settings.loop not in ("", model.loop):
            raise NoServerError(f"expected the model {settings.loop}, got {model.loop}")
        if settings.version not in (None, model.version):
            raise WrongVersionError(f"{model.loop}: expected version {settings.version}, got {model.version}")
    except AccessError:
        model.connection.close()
        raise
    return model


def _find(settings: Settings) -> Model:
    """The first healthy server, one of the wanted version before others."""
    why = _TryAgainError("no server")
    for way in [_by_url(settings.url, settings.timeout_s)] if settings.url else _in_run_dir(settings):
        try:
            return _check(_healthy(way), settings)
        except _TryAgainError as error:
            why = error
    raise why


def open_model(settings: Settings) -> Model:
    """A healthy server of this node. NoServerError, WrongVersionError, AmbiguousError."""
    for attempt in itertools.count():
        try:
            return _find(settings)
        except (_TryAgainError, UnreachableError) as error:
            if attempt >= settings.retries:
                raise NoServerError(str(error)) from error
        time.sleep(settings.wait_s * 2.0 ** min(attempt, 6))
    raise AssertionError


def _document(item: Item) -> dict[str, Any]:
    optional = {"time": item.time, "id": item.id}
    return {"features": dict(item.features), **{name: v for name, v in optional.items() if v is not None}}


def _scored(row: Mapping[str, Any], settings: Settings) -> Scored:
    if settings.version not in (None, row["version"]):
        raise WrongVersionError(f"{row['model']}: expected version {settings.version}, got {row['version']}")
    if "values" in row:
        return Scored(row["id"], model=row["model"], version=row["version"], values=row["values"])
    return Scored(row["id"], row["label"], row["confidence"], row["probabilities"], row["model"], row["version"])


def _attempt(model: Model, items: Sequence[Item], settings: Settings) -> list[Scored]:
    """Scores a batch; a refused one is halved until the rows that are to blame stand alone."""
    try:
        document = {"rows": [_document(item) for item in items]}
        status, body = _request(model.connection, "POST", "/score", document)
    except ValueError as error:  # NaN or infinity
        status, body = 400, {"error": str(error)}
    if status == 200:
        return [_scored(row, settings) for row in body["rows"]]
    if status >= 500 or status == 408:
        raise _TryAgainError(f"POST /score: status {status}: {body.get('error')}")
    if len(items) > 1:
        half = len(items) // 2
        return _attempt(model, items[:half], settings) + _attempt(model, items[half:], settings)
    return [Scored(id=items[0].id, error=str(body.get("error")).removeprefix("rows[0]."))]


def score_with(model: Model, items: Sequence[Item], settings: Settings) -> tuple[Model, list[Scored]]:
    """Scores one batch, with another server when this one has gone. AccessError."""
    for attempt in itertools.count():
        try:
            return model, _attempt(model, items, settings)
        except _TryAgainError as error:
            if attempt >= settings.retries:
                raise NoServerError(str(error)) from error
        time.sleep(settings.wait_s * 2.0 ** min(attempt, 6))
        model = open_model(settings)
    raise AssertionError


def score(rows: Iterable[Features | Item], settings: Settings | None = None) -> list[Scored]:
    """Scores rows: mappings of feature to value (None: missing), or Items. One answer for each, in order.

    Raises NoServerError, WrongVersionError or AmbiguousError; a row that the server refuses is an answer with `error`.
    """
    settings = settings or Settings()
    items = [row if isinstance(row, Item) else Item(row) for row in rows]
    if not items:
        return []
    model = open_model(settings)
    answers: list[Scored] = []
    try:
        for start in range(0, len(items), settings.batch):
            model, batch = score_with(model, items[start : start + settings.batch], settings)
            answers += batch
    finally:
        model.connection.close()
    return answers
