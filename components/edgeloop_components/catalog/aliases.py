"""Aliases: movable names for versions (candidate, champion, last-good), moved by compare-and-set.

An alias is `catalog/<loop>/aliases/<alias>.json`: the number, the one before, and how often it moved. Refuses to point
to a rejected version or to one that does not exist.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from edgeloop_components.catalog import audit
from edgeloop_components.catalog.blobs import CatalogError
from edgeloop_components.stores.objects import NotFound, Objects
from edgeloop_contracts import ModelVersion, canonical

__all__ = ["ANY", "AliasConflict", "alias", "aliases", "move"]

ANY: Final = object()
"""For `expect`: whatever the alias points to now."""
_ATTEMPTS = 100


class AliasConflict(CatalogError):  # noqa: N818
    """The alias points elsewhere than expected: somebody else moved it."""


@dataclass(frozen=True)
class _Pointer:
    """What the document of an alias holds. `number` None: there is no document."""

    number: int | None = None
    previous: int | None = None
    moves: int = 0


def alias(objects: Objects, loop: str, name: str) -> int | None:
    """The number that an alias points to; None when there is no such alias."""
    return _read(objects, _key(loop, name))[0].number


def aliases(objects: Objects, loop: str) -> dict[str, int]:
    """All aliases of the loop: name -> number."""
    keys = list(objects.list(f"catalog/{loop}/aliases/"))
    found = {Path(key).stem: _read(objects, key)[0].number for key in keys}
    return {name: number for name, number in found.items() if number is not None}


def move(
    objects: Objects,
    name: str,
    wanted: ModelVersion,
    *,
    expect: object = ANY,
    actor: str = "edgeloop",
    why: str = "",
    at_s: float | None = None,
) -> int | None:
    """Points the alias `name` to `wanted`; gives the number it pointed to before (None: there was no such alias).

    `expect` is the number that it must point to now (None: it must not exist; ANY: no matter). An alias that points to
    `wanted` already stays. AliasConflict when it points elsewhere, CatalogError when `wanted` was rejected.
    """
    _refuse_rejected(name, wanted)
    before, moves = _point(objects, name, wanted, expect)
    audit.append_once(
        objects,
        wanted.loop,
        at_s=time.time() if at_s is None else at_s,
        actor=actor,
        action="set_alias",
        subject=f"{name} -> {wanted.name} (move {moves})",
        why=why,
        evidence={"previous": before},
    )
    return before


def _point(objects: Objects, name: str, wanted: ModelVersion, expect: object) -> tuple[int | None, int]:
    """The number before and the count of moves after."""
    key = _key(wanted.loop, name)
    for _ in range(_ATTEMPTS):
        found, etag = _read(objects, key)
        if found.number == wanted.number:
            return found.number, found.moves
        if expect is not ANY and found.number != expect:
            raise AliasConflict(
                f"alias {name} of {wanted.loop}: expected {expect} before it moves to {wanted.number}, "
                f"found {found.number}: somebody else moved it; read it again and decide anew"
            )
        document = canonical(asdict(_Pointer(wanted.number, found.number, found.moves + 1)))
        if objects.put_if(key, document, etag) if etag else objects.put_new(key, document):
            return found.number, found.moves + 1
    raise CatalogError(f"alias {name} of {wanted.loop}: {_ATTEMPTS} attempts to move it all lost a race")


def _refuse_rejected(name: str, wanted: ModelVersion) -> None:
    if wanted.state == "rejected":
        failed = "; ".join(f"{g.gate}: expected {g.expected}, got {g.got}" for g in wanted.gates if not g.passed)
        raise CatalogError(
            f"alias {name} of {wanted.loop}: expected an accepted version, {wanted.name} was rejected ({failed})"
        )


def _key(loop: str, name: str) -> str:
    return f"catalog/{loop}/aliases/{name}.json"


def _read(objects: Objects, key: str) -> tuple[_Pointer, str]:
    """What the alias says, and the etag of its document ('' when there is none)."""
    try:
        data, etag = objects.get_with_etag(key)
    except NotFound:
        return _Pointer(), ""
    return _Pointer(**json.loads(data)), etag
