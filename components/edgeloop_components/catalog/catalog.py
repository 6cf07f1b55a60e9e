"""The catalog of a loop: its versions, aliases, packages and runs, as documents in the object store.

This is the module to import. Layout, `<n>` being six digits:

    blobs/sha256/<hex>                          model, reference, golden rows, ...: named by content (blobs.py)
    catalog/<loop>/versions/<n>.json            ModelVersion, written once, accepted or rejected
    catalog/<loop>/withdrawn/<n>.json           why an accepted version no longer stands (standing.py)
    catalog/<loop>/aliases/<alias>.json         a movable name (aliases.py)
    catalog/<loop>/packages/<n>/<target>.json   Package
    catalog/<loop>/rollouts/<n>.json            Rollout, written when every target is packed
    catalog/<loop>/runs/<run_key>.json          what became of a run (runs.py)
    catalog/<loop>/loop.json                    the Loop as last submitted (runs.py)
    catalog/<loop>/audit/<8 digits>.json        who did what and why (audit.py)

A version number is taken by a conditional put of the whole document after its blobs are there: two runs never share a
number, and nobody sees half a document. A version whose run then failed is withdrawn: it is read as rejected. Every
change goes to the audit log; one that was interrupted before that is completed when it is repeated. Refuses
to change a version, to alias a rejected one, and blobs with a wrong digest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from edgeloop_components.catalog import audit
from edgeloop_components.catalog.aliases import ANY, AliasConflict, alias, aliases, move
from edgeloop_components.catalog.blobs import CatalogError, blob, fetch_blob, put_blob
from edgeloop_components.catalog.runs import get_loop, loops, put_loop, record_run, run, runs
from edgeloop_components.catalog.standing import (
    overlay,
    put_withdrawal,
    remove_withdrawal,
    rollout_key,
    standing,
    withdrawals,
)
from edgeloop_components.stores.objects import NotFound, Objects
from edgeloop_contracts import ModelVersion, Package, dumps, loads

__all__ = [
    "ANY",
    "AliasConflict",
    "CatalogError",
    "alias",
    "aliases",
    "blob",
    "fetch_blob",
    "get_loop",
    "loops",
    "packages",
    "put_blob",
    "put_loop",
    "put_package",
    "readmit",
    "record_run",
    "register",
    "rollout_key",
    "run",
    "runs",
    "set_alias",
    "standing",
    "version",
    "versions",
    "withdraw",
]

_ATTEMPTS = 100


def register(
    objects: Objects,
    loop: str,
    build: Callable[[int], ModelVersion],
    run_key: str,
    files: Mapping[str, Path],
) -> ModelVersion:
    """Stores a version under the next free number; gives the version as stored.

    `build(number)` makes it; it may be called again with another number when others register too. `files` (name ->
    path) are the blobs it speaks of, uploaded first and listed by name in `extra["files"]`. The same `run_key` gives
    the version that it made before, as it made it (withdrawn or not), whoever asks and however often. CatalogError when
    the version names another loop, number or run key, or a digest that is not among the files.
    """
    made = _made_by(_all_written(objects, loop), run_key)
    if made is None:
        digests = {name: put_blob(objects, path) for name, path in files.items()}
        made = _take_number(objects, loop, build, run_key, digests)
    audit.append_once(
        objects,
        loop,
        at_s=made.created_s,
        actor=made.started_by or "edgeloop",
        action="register",
        subject=made.name,
        why=made.cause,
        evidence={"state": made.state, "run_key": run_key, "onnx": made.onnx, "snapshot": made.snapshot},
    )
    return made


def _made_by(known: list[ModelVersion], run_key: str) -> ModelVersion | None:
    return next((v for v in known if v.run_key == run_key), None)


def _take_number(
    objects: Objects, loop: str, build: Callable[[int], ModelVersion], run_key: str, digests: Mapping[str, str]
) -> ModelVersion:
    """Numbers have no gaps, so a rival of the same run is seen in the list or met at the conditional put."""
    for _ in range(_ATTEMPTS):
        known = _all_written(objects, loop)
        if rival := _made_by(known, run_key):
            return rival
        number = known[-1].number + 1 if known else 1
        made = _checked(build(number), loop, number, run_key, digests)
        if objects.put_new(_version_key(loop, number), _text(made)):
            return made
    raise CatalogError(f"catalog/{loop}: {_ATTEMPTS} attempts to take a version number all lost a race")


def _checked(made: ModelVersion, loop: str, number: int, run_key: str, digests: Mapping[str, str]) -> ModelVersion:
    expected, found = (loop, number, run_key), (made.loop, made.number, made.run_key)
    if expected != found:
        raise CatalogError(f"version to register: expected (loop, number, run key) {expected}, found {found}")
    for name in ("onnx", "reference", "golden"):
        if (digest := getattr(made, name)) not in digests.values():
            stored = ", ".join(f"{key} {value}" for key, value in digests.items())
            raise CatalogError(f"{made.name}: expected its {name} {digest} among the files to store, found {stored}")
    return replace(made, extra={**made.extra, "files": dict(digests)})


def version(objects: Objects, loop: str, number: int) -> ModelVersion:
    """Version `number`, accepted or rejected; a withdrawn one is rejected. NotFound says which numbers there are."""
    return overlay(_written(objects, loop, number), withdrawals(objects, loop, number).get(number))


def _written(objects: Objects, loop: str, number: int) -> ModelVersion:
    """The document as it was registered. NotFound as `version`."""
    try:
        return loads(ModelVersion, objects.get(_version_key(loop, number)))
    except NotFound:
        known = ", ".join(map(str, _numbers(objects, loop))) or "none"
        raise NotFound(f"{loop}@{number}: not in the catalog; known: {known}") from None


def versions(objects: Objects, loop: str) -> list[ModelVersion]:
    """All versions by number, the rejected and the withdrawn ones too, as `version` gives them."""
    reasons = withdrawals(objects, loop)
    return [overlay(made, reasons.get(made.number)) for made in _all_written(objects, loop)]


def _all_written(objects: Objects, loop: str) -> list[ModelVersion]:
    return [_written(objects, loop, number) for number in _numbers(objects, loop)]


def _numbers(objects: Objects, loop: str) -> list[int]:
    return [int(Path(key).stem) for key in objects.list(f"catalog/{loop}/versions/")]


def withdraw(
    objects: Objects, loop: str, number: int, why: str, *, actor: str = "edgeloop", at_s: float | None = None
) -> ModelVersion:
    """Takes an accepted version back, since its run failed after it was registered; gives it as it is seen from now on.

    It is then rejected, with a failed gate `build` that holds `why`. Its document stays as it is; one that its gates
    rejected stays so. CatalogError when an alias points to it, NotFound when there is no such version.
    """
    written = _written(objects, loop, number)
    if written.state == "accepted":
        put_withdrawal(objects, written, why, actor=actor, at_s=at_s)
    return version(objects, loop, number)


def readmit(
    objects: Objects, loop: str, number: int, why: str, *, actor: str = "edgeloop", at_s: float | None = None
) -> bool:
    """Removes the withdrawal of a version, since its run went through after all. False when there was none. NotFound."""
    return remove_withdrawal(objects, _written(objects, loop, number), why, actor=actor, at_s=at_s)


def set_alias(
    objects: Objects,
    loop: str,
    alias: str,
    number: int,
    *,
    expect: object = ANY,
    actor: str = "edgeloop",
    why: str = "",
    at_s: float | None = None,
) -> int | None:
    """Points `alias` to a version by compare-and-set; gives the number it pointed to before (None: there was none).

    `expect` is the number that it must point to now, None: it must not exist, ANY: no matter. AliasConflict when it
    points elsewhere, CatalogError for a rejected version, NotFound for one that does not exist.
    """
    wanted = version(objects, loop, number)
    return move(objects, alias, wanted, expect=expect, actor=actor, why=why, at_s=at_s)


def put_package(
    objects: Objects, package: Package, *, actor: str = "edgeloop", why: str = "", at_s: float | None = None
) -> None:
    """Keeps the package of a version for a target. A later one replaces it; the audit log holds every digest.

    NotFound when the version is not in the catalog.
    """
    made_for = version(objects, package.loop, package.version)
    objects.put(f"{_packages_prefix(package.loop, package.version)}{package.target}.json", _text(package))
    audit.append_once(
        objects,
        package.loop,
        at_s=time.time() if at_s is None else at_s,
        actor=actor,
        action="put_package",
        subject=f"{made_for.name} for {package.target}: {package.digest}",
        why=why or made_for.cause,
        evidence={"size_bytes": package.size_bytes, "platform": package.platform, "runtime": package.runtime},
    )


def packages(objects: Objects, loop: str, number: int) -> tuple[Package, ...]:
    """The packages of a version, by target name."""
    keys = list(objects.list(_packages_prefix(loop, number)))
    return tuple(loads(Package, objects.get(key)) for key in keys)


def _version_key(loop: str, number: int) -> str:
    return f"catalog/{loop}/versions/{number:06d}.json"


def _packages_prefix(loop: str, number: int) -> str:
    return f"catalog/{loop}/packages/{number:06d}/"


def _text(document: ModelVersion | Package) -> bytes:
    return dumps(document, indent=1).encode()
