"""What is done with an image besides making it: signed, attested, and joined with those of other platforms.

One way for a version of a loop (the packing step) and for a lone ONNX file (`edgeloop model package`, package/lone.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Loop, ModelVersion, Package
from edgeloop_contracts.artifacts import Signature
from edgeloop_contracts.signature import SignatureError, signed_digest

if TYPE_CHECKING:
    from edgeloop_components.signing import Signer

__all__ = ["Seal", "file_signer", "finished", "index_seal", "signed", "with_indexes"]

Seal = Callable[[str], Mapping[str, Signature]]  # digest of an index: signatures of it and of all below it


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

    made = signed(images, package, version, signer)
    found: dict[str, Signature] = {}
    seal = index_seal(images, package, version, signer, index_repository(package))
    index = join(images, loop, package, lambda digest: found.update(seal(digest)))
    own = (found[index],) if index in found else ()
    return replace(made, index=index, signatures=(*made.signatures, *own))


def signed(images: Path, package: Package, version: ModelVersion, signer: Signer | None, *, file: str = "") -> Package:
    """The package with its signatures, its image, model artifact and modelcar signed in `images`, and attested what is known
    of the image; as it is without a key. `file` is the name of the lone ONNX file that it was made of."""
    if signer is None:
        return package
    from edgeloop_components.package.layout import manifest
    from edgeloop_components.package.provenance import provenance
    from edgeloop_components.signing import sign_package

    base = manifest(images, package.digest)["annotations"].get("org.opencontainers.image.base.digest", "")
    statement = provenance(package, version, base=base, file=file, **_builder(package, version, file))
    return sign_package(images, package, signer, statements=[statement])


def index_seal(
    images: Path, package: Package, version: ModelVersion, signer: Signer | None, repository: str, *, file: str = ""
) -> Seal:
    """What signs an index over `package` and its siblings and attests what is known of it; without a key it does nothing."""
    if signer is None:
        return lambda _: {}
    from edgeloop_components.package.layout import document
    from edgeloop_components.package.provenance import provenance
    from edgeloop_components.signing import attest, attest_documents, sign

    def seal(index: str) -> Mapping[str, Signature]:
        entries = document(images, index)["manifests"]
        below = {"/".join(entry["platform"].values()): str(entry["digest"]) for entry in entries}
        known = {"repository": repository, "file": file, **_builder(package, version, file)}
        found = sign(images, index, repository, signer)
        attest_documents(images, index, repository, signer)
        attest(images, index, provenance(package, version, index=index, images=below, **known), signer)
        return found

    return seal


def _builder(package: Package, version: ModelVersion, file: str) -> dict[str, Any]:
    """What built, and the version's time: a lone file has none of its own."""
    from edgeloop_components.package.provenance import builder_versions

    created = datetime.fromtimestamp(int(version.created_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"builder": builder_versions(package.runtime), "created": "" if file else created}


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
