"""What the packing step does with an image besides making it: signs, attests, and joins it with those of other platforms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_contracts import Loop, ModelVersion, Package

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

    made = _signed(images, package, version, signer) if signer else package
    index = join(images, loop, package)
    if not index or signer is None:
        return replace(made, index=index)
    from edgeloop_components.signing import sign

    signature = sign(images, index, index_repository(package), signer)[index]
    return replace(made, index=index, signatures=(*made.signatures, signature))


def _signed(images: Path, package: Package, version: ModelVersion, signer: Signer) -> Package:
    from edgeloop_components.package.provenance import builder_versions, provenance
    from edgeloop_components.signing import sign_package

    created = datetime.fromtimestamp(int(version.created_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    known = provenance(package, version, builder=builder_versions(package.runtime), created=created)
    return sign_package(images, package, signer, statements=[known])


def with_indexes(packages: Sequence[Package]) -> list[Package]:
    """Packages that were finished before their index was whole take it from the one of their runtime that found it so."""
    known: Mapping[str, str] = {package.runtime: package.index for package in packages if package.index}
    return [replace(package, index=package.index or known.get(package.runtime, "")) for package in packages]
