"""What became of the runs of a loop, and the loop itself as last submitted.

`catalog/<loop>/runs/<run_key>.json` is one JSON object a run: `run_key`, `state`, and whatever its writers add. Later
records of the same run are merged into it. Refuses a state that is not known.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edgeloop_components.catalog import audit
from edgeloop_components.catalog.blobs import CatalogError
from edgeloop_components.stores.objects import NotFound, Objects
from edgeloop_contracts import Loop, canonical, digest_of, dumps, loads

__all__ = ["STATES", "get_loop", "loops", "put_loop", "record_run", "run", "runs"]

STATES = ("running", "succeeded", "rejected", "failed")
_ATTEMPTS = 100


def record_run(
    objects: Objects, loop: str, run_key: str, record: Mapping[str, Any], *, actor: str = "edgeloop", why: str = ""
) -> dict[str, Any]:
    """Merges `record` (JSON values; `state` is one of STATES) into the run's document and gives the whole of it.

    `at_s` in the record is the time of the audit entry, default now. CatalogError for another state.
    """
    if record.get("state") not in STATES:
        raise CatalogError(f"run {run_key}: expected state {' or '.join(STATES)}, found {record.get('state')!r}")
    before, merged = _merge(objects, f"catalog/{loop}/runs/{run_key}.json", {"run_key": run_key, **record})
    if before != merged:
        audit.append(
            objects,
            loop,
            at_s=float(record.get("at_s", time.time())),
            actor=actor,
            action="record_run",
            subject=run_key,
            why=why or str(record.get("cause", "")),
            evidence={"state": record["state"], "document": digest_of(merged)},
        )
    return merged


def _merge(objects: Objects, key: str, new: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    for _ in range(_ATTEMPTS):
        before, etag = _read(objects, key)
        merged = {**before, **new}
        data = canonical(merged)
        if before == merged or (objects.put_if(key, data, etag) if etag else objects.put_new(key, data)):
            return before, merged
    raise CatalogError(f"{key}: {_ATTEMPTS} attempts to write it all lost a race")


def _read(objects: Objects, key: str) -> tuple[dict[str, Any], str]:
    try:
        data, etag = objects.get_with_etag(key)
    except NotFound:
        return {}, ""
    return cast("dict[str, Any]", json.loads(data)), etag


def run(objects: Objects, loop: str, run_key: str) -> dict[str, Any] | None:
    """The record of a run, or None."""
    return _read(objects, f"catalog/{loop}/runs/{run_key}.json")[0] or None


def runs(objects: Objects, loop: str) -> list[dict[str, Any]]:
    """The records of all runs, by run key."""
    return [_read(objects, key)[0] for key in list(objects.list(f"catalog/{loop}/runs/"))]


def put_loop(objects: Objects, loop: Loop, *, actor: str = "edgeloop", why: str = "", at_s: float | None = None) -> str:
    """Keeps the loop as it is submitted now; gives its digest. The same loop again changes nothing."""
    key, digest = f"catalog/{loop.name}/loop.json", digest_of(loop)
    if _known_digest(objects, loop.name) != digest:
        objects.put(key, dumps(loop, indent=1).encode())
    audit.append_once(
        objects,
        loop.name,
        at_s=time.time() if at_s is None else at_s,
        actor=actor,
        action="put_loop",
        subject=digest,
        why=why,
    )
    return digest


def _known_digest(objects: Objects, loop: str) -> str:
    try:
        return digest_of(get_loop(objects, loop))
    except NotFound:
        return ""


def get_loop(objects: Objects, loop: str) -> Loop:
    """The loop as last submitted. NotFound."""
    try:
        return loads(Loop, objects.get(f"catalog/{loop}/loop.json"))
    except NotFound:
        raise NotFound(f"loop {loop}: not in the catalog; known: {', '.join(_submitted(objects)) or 'none'}") from None


def loops(objects: Objects) -> list[str]:
    """The names of all loops that the catalog knows: by a loop document, a version, or the record of a run."""
    parts = (key.split("/") for key in objects.list("catalog/"))
    return sorted({name for _, name, kind, *_ in parts if kind in {"loop.json", "runs", "versions"}})


def _submitted(objects: Objects) -> list[str]:
    return [Path(key).parent.name for key in objects.list("catalog/") if key.endswith("/loop.json")]
