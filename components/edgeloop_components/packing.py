"""What the packing step does with an image besides making it: signs, attests, and joins it with those of other platforms."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_contracts import Loop, ModelVersion, Package
from edgeloop_contracts.artifacts import Signature
from edgeloop_contracts.signature import SignatureError, signed_digest

if TYPE_CHECKING:
    from edgeloop_components.signing import Signer

__all__ = ["file_signer", "finished", "with_indexes"]


def file_signer(version: ModelVersion | None, signer: Signer | None) -> Callable[[Path], object] | None:
    """What signs the files that go into an image, of a version or of all (None); None without a key."""
    if signer is None:
        return None
    from edgeloop_components.signing import sign_folder

    predicate = {"loop": version.loop, "version": version.number} if version else {}
    return lambda folder: sign_folder(folder, signer, predicate=predicate)


def finished(images: Path, loop: Loop, package: Package, version: ModelVersion, signer: Signer | None) -> Package:
    """The package as the catalog keeps it: signed where there is a key, and with its index where that is whole."""
    from edgeloop_components.package.joined import index_repository, join

    if signer is None:
        return replace(package, index=join(images, loop, package))
    from edgeloop_components.signing import sign

    made, found = _signed(images, package, version, signer), dict[str, Signature]()

    def seal(digest: str) -> None:
        found.update(sign(images, digest, index_repository(package), signer))

    index = join(images, loop, package, seal)
    return replace(made, index=index, signatures=(*made.signatures, found[index])) if index else made


def _signed(images: Path, package: Package, version: ModelVersion, signer: Signer) -> Package:
    from edgeloop_components.package.provenance import builder_versions, provenance
    from edgeloop_components.signing import sign_package

    created = datetime.fromtimestamp(int(version.created_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = provenance(package, version, builder=builder_versions(package.runtime), created=created)
    return sign_package(images, package, signer, statements=[known])


def with_indexes(images: str, packages: Sequence[Package]) -> list[Package]:
    """The packages of a version, each with the index of its runtime and the signature of that, whichever step made it.

    It is the one that has the name in the layout `images`: a step that was tried again leaves another than its siblings
    recorded. Where that is not there, as in a cluster's rollout step, it is the one that is recorded; none, when two are.
    """
    from edgeloop_components.package.joined import index_name
    from edgeloop_components.package.layout import images as images_in

    named = images_in(Path(images)) if images else {}
    recorded = {(package.runtime, package.index) for package in packages if package.index}
    made = {_about(signature): signature for package in packages for signature in package.signatures}
    indexes = {p.runtime: named.get(index_name(p)) or _only(recorded, p.runtime) for p in packages}
    return [_with_index(p, indexes[p.runtime], made, {index for _, index in recorded}) for p in packages]


def _only(recorded: Collection[tuple[str, str]], runtime: str) -> str:
    found = [index for other, index in recorded if other == runtime]
    return found[0] if len(found) == 1 else ""


def _with_index(package: Package, index: str, made: Mapping[str, Signature], recorded: Collection[str]) -> Package:
    own = [signature for signature in package.signatures if _about(signature) not in recorded]
    return replace(package, index=index, signatures=(*own, *([made[index]] if index and index in made else ())))


def _about(signature: Signature) -> str:
    """The digest that a signature is about; empty where it says none."""
    try:
        return signed_digest(signature)
    except SignatureError:
        return ""
