"""The fleet service over HTTP.

    POST /v1/reports                 Delivery -> Acknowledgement
    POST /v1/loops                   Loop
    POST /v1/rollouts                {"rollout": Rollout, "version": ModelVersion, "reference": Reference}
    POST /v1/rollouts/{loop}/{version}/approve
    POST /v1/runs                    RunRequest -> {"key", "started", "why"}
    POST /v1/tick                    judge and step now -> {"now_s", "active_runs", "rollouts"}
    GET  /v1/health /v1/status /v1/nodes /v1/verdicts /v1/rollouts /v1/totals?loop= /v1/events?after= /metrics

What does not fit its contract is answered with 400 and {"error", "path", "expected", "got"}. A delivery with reports that are
right but cannot be taken now (unknown loop, version or bins, a date in the future) is answered with 409: the body is the
Acknowledgement of the others, with the same four fields for the first refused report and `refused` for all of them. Bodies are
limited (413). Work on the database runs in threads; the event loop only carries bytes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edgeloop_contracts import (
    Contract,
    ContractError,
    Delivery,
    Loop,
    ModelVersion,
    Problem,
    Reference,
    Rollout,
    RunRequest,
    loads,
    to_json,
)
from edgeloop_fleet import rollouts, views
from edgeloop_fleet.acks import AckPoster
from edgeloop_fleet.controller.reconcile import Hands
from edgeloop_fleet.ports import Aliases, Cluster, Render, Trigger
from edgeloop_fleet.service import Fleet, RefusedError, Taken
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store

__all__ = ["create_app", "serve"]

log = logging.getLogger("edgeloop.fleet")
C = TypeVar("C", bound=Contract)
EVENTS_AT_ONCE = 1000
Handler = Callable[[Request], Awaitable[Response]]


def _error(status: int, kind: str, problem: Problem) -> JSONResponse:
    body = {"error": f"{kind}: {problem}", "path": problem.path, "expected": problem.expected, "got": problem.got}
    return JSONResponse(body, status)


def _answers_errors(handler: Handler) -> Handler:
    """Turns refusals into answers."""

    async def guarded(request: Request) -> Response:
        try:
            return await handler(request)
        except ContractError as error:
            return _error(400, error.kind, error.problems[0])
        except RefusedError as error:
            return _error(error.status, error.error, error.problem)
        except ClientDisconnect:
            return Response(status_code=400)

    return guarded


async def _body(request: Request) -> bytes:
    """The request's body. RefusedError (413) as soon as it is longer than allowed."""
    limit, parts, size = _fleet(request).settings.max_body_bytes, [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise RefusedError(413, "body", Problem("", f"at most {limit} bytes", "more"))
        parts.append(part)
    return b"".join(parts)


async def _read(request: Request, cls: type[C]) -> C:
    body = await _body(request)
    return await run_in_threadpool(loads, cls, body)


def _fleet(request: Request) -> Fleet:
    fleet: Fleet = request.app.state.fleet
    return fleet


def _whole_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise RefusedError(400, "query", Problem(name, "a whole number", text[:40]))
    return int(text)


def _refusals(taken: Taken) -> dict[str, Any]:
    if not taken.refused:
        return {}
    first = taken.refused[0][1]
    named = [
        {"loop": r.loop, "boot": r.boot, "window_start_s": r.window_start_s, "version": r.version, "why": str(problem)}
        for r, problem in taken.refused
    ]
    head = {"error": f"Report: {first}", "path": first.path, "expected": first.expected, "got": first.got}
    return {**head, "refused": named}


def _take(fleet: Fleet, body: bytes) -> Taken:
    return fleet.take(loads(Delivery, body))


async def post_reports(request: Request) -> Response:
    body = await _body(request)
    taken = await run_in_threadpool(_take, _fleet(request), body)
    if request.app.state.acks is not None:
        request.app.state.acks.put(taken.acknowledgement)
    status = 409 if taken.refused else 200
    return JSONResponse({**to_json(taken.acknowledgement), **_refusals(taken)}, status)


async def post_loop(request: Request) -> Response:
    loop = await _read(request, Loop)
    await run_in_threadpool(_fleet(request).put_loop, loop)
    return JSONResponse({"loop": loop.name})


def _rollout_body(body: bytes) -> tuple[Rollout, ModelVersion, Reference]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ContractError("Rollout", [Problem("", "JSON text", str(error)[:80])]) from error
    if not isinstance(document, dict):
        raise ContractError("Rollout", [Problem("", "a mapping with rollout, version and reference", "something else")])
    parts = {name: document.get(name) for name in ("rollout", "version", "reference")}
    lacking = [name for name, part in parts.items() if part is None]
    if lacking:
        raise ContractError("Rollout", [Problem(lacking[0], "a value", "nothing", "this field is required")])
    text = {name: json.dumps(part) for name, part in parts.items()}
    return loads(Rollout, text["rollout"]), loads(ModelVersion, text["version"]), loads(Reference, text["reference"])


async def post_rollout(request: Request) -> Response:
    rollout, version, reference = await run_in_threadpool(_rollout_body, await _body(request))
    stored, new = await run_in_threadpool(_fleet(request).put_rollout, rollout, version, reference)
    return JSONResponse({"rollout": to_json(stored), "new": new}, 201 if new else 200)


async def post_approval(request: Request) -> Response:
    loop, version = request.path_params["loop"], request.path_params["version"]
    await run_in_threadpool(_fleet(request).approve, loop, version)
    return JSONResponse({"loop": loop, "version": version, "approved": True})


async def post_run(request: Request) -> Response:
    asked = await _read(request, RunRequest)
    decision = await run_in_threadpool(_fleet(request).put_run, asked)
    return JSONResponse({"key": asked.key, "started": decision.started, "why": decision.why})


async def post_tick(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(_fleet(request).tick))


async def get_health(request: Request) -> Response:
    """Answers 200 when the database answers."""
    now_s = _fleet(request).clock.now_s()
    await run_in_threadpool(_fleet(request).store.nodes)
    return JSONResponse({"status": "ok", "now_s": now_s})


async def get_status(request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(views.status, _fleet(request)))


async def get_nodes(request: Request) -> Response:
    return JSONResponse({"nodes": await run_in_threadpool(views.nodes, _fleet(request))})


async def get_verdicts(request: Request) -> Response:
    found = await run_in_threadpool(_fleet(request).store.verdicts, request.query_params.get("loop", ""))
    return JSONResponse({"verdicts": [to_json(verdict) for verdict in found]})


async def get_rollouts(request: Request) -> Response:
    found = await run_in_threadpool(rollouts.listed, _fleet(request).store, request.query_params.get("loop", ""))
    return JSONResponse({"rollouts": [to_json(kept.rollout) for kept in found]})


async def get_totals(request: Request) -> Response:
    loop = request.query_params.get("loop", "")
    if not loop:
        raise RefusedError(400, "query", Problem("loop", "the name of a loop", "nothing"))
    return JSONResponse({"loop": loop, "totals": await run_in_threadpool(_fleet(request).store.totals, loop)})


async def get_events(request: Request) -> Response:
    after = _whole_number(request, "after", 0)
    limit = min(_whole_number(request, "limit", EVENTS_AT_ONCE), EVENTS_AT_ONCE)
    return JSONResponse({"events": await run_in_threadpool(_fleet(request).store.events, after, limit)})


async def get_metrics(request: Request) -> Response:
    text = await run_in_threadpool(views.metrics, _fleet(request))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


_GET: dict[str, Handler] = {
    "/v1/health": get_health,
    "/v1/status": get_status,
    "/v1/nodes": get_nodes,
    "/v1/verdicts": get_verdicts,
    "/v1/rollouts": get_rollouts,
    "/v1/totals": get_totals,
    "/v1/events": get_events,
    "/metrics": get_metrics,
}
_POST: dict[str, Handler] = {
    "/v1/reports": post_reports,
    "/v1/loops": post_loop,
    "/v1/rollouts": post_rollout,
    "/v1/rollouts/{loop}/{version:int}/approve": post_approval,
    "/v1/runs": post_run,
    "/v1/tick": post_tick,
}


async def _tick_for_ever(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(fleet.settings.tick_s)
        try:
            await run_in_threadpool(fleet.tick)
        except Exception:  # the database was busy or gone; the next tick tries again
            log.exception("tick failed")
            fleet.metrics["tick_errors"] += 1


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    """Runs the ticks and the acknowledgements beside the requests."""
    fleet: Fleet = app.state.fleet
    work = []
    if fleet.settings.ack_url:
        app.state.acks = AckPoster(fleet.settings.ack_url, fleet.settings.namespace, fleet.metrics)
        work.append(asyncio.create_task(app.state.acks.run()))
    if fleet.settings.tick_s > 0:
        work.append(asyncio.create_task(_tick_for_ever(fleet)))
    yield
    for task in work:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def create_app(  # noqa: PLR0917 - the ports, in the order in which everybody names them
    store: Store, settings: Settings, trigger: Trigger, cluster: Cluster, aliases: Aliases, render: Render
) -> Starlette:
    """The service as an ASGI application over a store and the ports."""
    routes = [Route(path, _answers_errors(handler), methods=["GET"]) for path, handler in _GET.items()]
    routes += [Route(path, _answers_errors(handler), methods=["POST"]) for path, handler in _POST.items()]
    app = Starlette(routes=routes, lifespan=_lifespan)
    app.state.fleet = Fleet(store, settings, trigger, Hands(cluster, aliases, render))
    app.state.acks = None
    return app


def serve(app: Starlette, host: str, port: int) -> None:
    """Serves until SIGTERM or SIGINT; requests in hand are finished."""
    import uvicorn

    uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False, timeout_graceful_shutdown=5)
