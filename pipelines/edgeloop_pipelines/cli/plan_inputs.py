"""Where `edgeloop plan` gets its values: packages from the catalog or files, layers from an image layout, facts of groups."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_contracts import ContractError, Loop, Package, from_json
from edgeloop_contracts.codec import problems_in
from edgeloop_pipelines.cli.console import UserError
from edgeloop_pipelines.cli.stores import open_objects

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects
    from edgeloop_fleet.offline import Layer
    from edgeloop_fleet.offline.facts import GroupFacts

__all__ = ["ALIASES", "Versions", "facts_in", "from_catalog", "from_files", "layers_in"]

ALIASES = ("champion", "last-good")  # the versions that a node may serve, the preferred one first
_CHUNK = 1 << 20

Versions = dict[str, list[dict[str, Package]]]


def from_catalog(loops: Iterable[Loop], home: Path) -> Versions:
    """loop: the packages of its champion and of its last good version, by target. UserError for a loop without a champion."""
    with open_objects(home) as objects:
        return {loop.name: _aliased(objects, loop.name) for loop in loops}


def _aliased(objects: Objects, loop: str) -> list[dict[str, Package]]:
    from edgeloop_components.catalog import catalog

    numbers = [number for name in ALIASES if (number := catalog.alias(objects, loop, name)) is not None]
    if not numbers:
        hint = "edgeloop catalog versions LOOP lists what there is; --packages names files instead"
        raise UserError(f"{loop}: expected a version with the alias {' or '.join(ALIASES)}, found none", hint)
    return [
        {package.target: package for package in catalog.packages(objects, loop, number)}
        for number in dict.fromkeys(numbers)
    ]


def from_files(loops: Sequence[Loop], paths: Iterable[Path]) -> Versions:
    """The same from files with Package documents, each holding one version of any number of loops. UserError."""
    known = {loop.name: {target.name for target in loop.targets} for loop in loops}
    found: Versions = {name: [] for name in known}
    for path in paths:
        packages = _packages(path)
        for package in packages:
            if package.target not in known.get(package.loop, ()):
                expected = "; ".join(f"{loop}: {', '.join(sorted(targets))}" for loop, targets in known.items())
                raise UserError(f"{path}: expected targets of {expected}; found {package.target} of {package.loop}")
        for name in dict.fromkeys(package.loop for package in packages):
            found[name].append({package.target: package for package in packages if package.loop == name})
    return found


def _packages(path: Path) -> list[Package]:
    try:
        document = json.loads(path.read_text())
        if isinstance(document, dict):
            document = document["packages"] if isinstance(document.get("packages"), list) else document
        if isinstance(document, dict):  # one package, or target: package
            document = [document] if "kind" in document else list(document.values())
        return [from_json(Package, item) for item in document]
    except (ValueError, TypeError, ContractError) as error:
        raise UserError(f"{path}: expected JSON with Package documents: {error}") from error


def facts_in(path: Path | None) -> Mapping[str, GroupFacts]:
    """group: what the file says of it. UserError with every mistake."""
    from edgeloop_fleet.offline.facts import GroupsFile
    from edgeloop_pipelines.loopfile import yamltext

    if path is None:
        return {}
    read = yamltext.parse(path.read_bytes())
    found, problems = problems_in(GroupsFile, {"groups": read.value}) if not read.problems else (None, ())
    if found is None:
        lines = [str(problem) for problem in (*(problem for _, problem in read.problems), *problems)]
        raise UserError("\n".join(f"{path}: {line}" for line in lines))
    return found.groups


def layers_in(layout: Path, digest: str) -> tuple[Layer, ...]:
    """What a node must have to start an image: its layers, and its manifest and configuration as one.

    On a node a layer is kept as it came, and unpacked; how large it is then is counted by unpacking it. UserError for a
    compression other than gzip; LayoutError for what is no image, or a blob that is not there.
    """
    from edgeloop_components.package import layout as oci
    from edgeloop_components.package.blobs import existing
    from edgeloop_fleet.offline import Layer

    manifest = oci.manifest(layout, digest)
    documents = existing(layout, digest).stat().st_size + existing(layout, manifest["config"]["digest"]).stat().st_size
    layers = {
        part["digest"]: Layer(part["digest"], size, size + _unpacked(path, part["mediaType"]))
        for part in manifest["layers"]
        for path in (existing(layout, part["digest"]),)
        for size in (path.stat().st_size,)
    }
    return (*layers.values(), Layer(digest, documents, documents))


def _unpacked(path: Path, media_type: str) -> int:
    """Bytes of a layer's tar."""
    if media_type.endswith(".tar"):
        return path.stat().st_size
    if not media_type.endswith(("gzip", "tar.gz")):
        raise UserError(f"{path}: expected a layer as tar or tar+gzip, found {media_type}", "pack it with gzip")
    with gzip.open(path) as file:
        return sum(len(chunk) for chunk in iter(lambda: file.read(_CHUNK), b""))
