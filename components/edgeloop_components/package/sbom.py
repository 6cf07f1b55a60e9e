"""Bills of materials of an image, SPDX 2.3 and CycloneDX 1.5, as pure functions of its parts; attached as its referrers.

The same parts give the same bytes: the time is the image's, and what must be unique is made from the image's digest. What
is not known (a Debian package's licence is a text, not an expression) is said to be unknown, never guessed. An index has
both, too: its images, each with its own parts.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import read_blob
from edgeloop_components.package.layers import Part
from edgeloop_contracts import canonical

__all__ = [
    "CYCLONEDX",
    "SPDX",
    "attach",
    "attach_index",
    "attached",
    "cyclonedx",
    "cyclonedx_index",
    "package_url",
    "spdx",
    "spdx_index",
]

SPDX = "application/spdx+json"
CYCLONEDX = "application/vnd.cyclonedx+json"
_UNKNOWN = "NOASSERTION"
_CREATED = "org.opencontainers.image.created"


def attach(layout: Path, digest: str, name: str, created: str, parts: Iterable[Part]) -> tuple[str, str]:
    """Writes both documents as referrers of an image of the layout; gives their manifests' digests."""
    listed = sorted(set(parts))
    made = _attach(
        layout,
        digest,
        created,
        {SPDX: spdx(name, digest, created, listed), CYCLONEDX: cyclonedx(name, digest, created, listed)},
    )
    return made[0], made[1]


def attach_index(layout: Path, index: str, name: str) -> None:
    """The same for an index, from the documents of its images; none where an image has none."""
    images = [entry["digest"] for entry in oci.document(layout, index)["manifests"]]
    found = {kind: [attached(layout, image, kind)[-1:] for image in images] for kind in _OF_INDEX}
    created = str((oci.document(layout, images[0]).get("annotations") or {}).get(_CREATED, ""))
    documents = {
        kind: _OF_INDEX[kind](name, index, created, [one for last in listed for one in last])
        for kind, listed in found.items()
        if all(listed)
    }
    _attach(layout, index, created, documents)


def attached(layout: Path, digest: str, kind: str) -> list[dict[str, Any]]:
    """The documents of a kind that refer to an image or index, as this module attached them."""
    manifests = [oci.document(layout, entry["digest"]) for entry in oci.referrers(layout, digest, kind)]
    return [json.loads(read_blob(layout, found["layers"][0]["digest"])) for found in manifests]


def _attach(layout: Path, digest: str, created: str, documents: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [
        oci.write_artifact(layout, kind, [(kind, canonical(document))], subject=digest, annotations={_CREATED: created})
        for kind, document in documents.items()
    ]


def package_url(part: Part) -> str:
    """The part as a package URL (purl)."""
    name = quote(re.sub(r"[-_.]+", "-", part.name).lower() if part.kind == "pypi" else part.name, safe="")
    space = "debian/" if part.kind == "deb" else ""
    arch = f"?arch={part.architecture}&distro=debian-12" if part.kind == "deb" else ""
    return f"pkg:{part.kind}/{space}{name}@{quote(part.version, safe='')}{arch}"


def spdx(name: str, digest: str, created: str, parts: Sequence[Part]) -> dict[str, Any]:
    """The SPDX 2.3 document of an image: the image describes itself, and contains each part."""
    image = {
        "SPDXID": "SPDXRef-image",
        "name": name,
        "versionInfo": digest,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [{"algorithm": "SHA256", "checksumValue": digest.removeprefix("sha256:")}],
    }
    packages = [_spdx_package(number, part) for number, part in enumerate(parts)]
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name}@{digest}",
        "documentNamespace": f"https://edgeloop.dev/spdx/{quote(name, safe='/')}/{digest.removeprefix('sha256:')}",
        "creationInfo": {"created": created, "creators": ["Tool: edgeloop"]},
        "packages": [image, *packages],
        "relationships": [
            _relation("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-image"),
            *(_relation("SPDXRef-image", "CONTAINS", package["SPDXID"]) for package in packages),
        ],
    }


def spdx_index(name: str, digest: str, created: str, images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The SPDX document of an index, from those of its images: it contains each, and each contains its parts."""
    top = spdx(name, digest, created, [])
    for number, image in enumerate(images):
        top["packages"] += [{**one, "SPDXID": _within(number, one["SPDXID"])} for one in image["packages"]]
        for relation in image["relationships"]:
            ends = [_within(number, relation[end]) for end in ("spdxElementId", "relatedSpdxElement")]
            described = relation["relationshipType"] == "DESCRIBES"
            top["relationships"].append(_relation("SPDXRef-image" if described else ends[0], "CONTAINS", ends[1]))
    return top


def _within(number: int, identity: str) -> str:
    return f"SPDXRef-{number}-{identity.removeprefix('SPDXRef-')}"


def _relation(what: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": what, "relationshipType": how, "relatedSpdxElement": other}


def _spdx_package(number: int, part: Part) -> dict[str, Any]:
    url = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": package_url(part)}
    checksum = [{"algorithm": "SHA256", "checksumValue": part.sha256}] if part.sha256 else []
    return {
        "SPDXID": f"SPDXRef-{number}-{re.sub('[^A-Za-z0-9.-]', '-', part.name)}",
        "name": part.name,
        "versionInfo": part.version,
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "licenseConcluded": _UNKNOWN,
        "licenseDeclared": part.license or _UNKNOWN,
        "copyrightText": _UNKNOWN,
        "externalRefs": [url],
        **({"checksums": checksum} if checksum else {}),
        **({"sourceInfo": f"built from {part.source}"} if part.source else {}),
    }


def cyclonedx(name: str, digest: str, created: str, parts: Sequence[Part]) -> dict[str, Any]:
    """The CycloneDX 1.5 document of an image."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.UUID(hex=digest.removeprefix('sha256:')[:32], version=5)}",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "tools": {"components": [{"type": "application", "name": "edgeloop"}]},
            "component": {"type": "container", "bom-ref": "image", "name": name, "version": digest},
        },
        "components": [_component(part) for part in parts],
    }


def cyclonedx_index(name: str, digest: str, created: str, images: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The CycloneDX document of an index, from those of its images, each a component that holds its own."""
    held = [
        {
            **image["metadata"]["component"],
            "bom-ref": f"image-{number}",
            "components": [{**one, "bom-ref": f"image-{number}/{one['bom-ref']}"} for one in image["components"]],
        }
        for number, image in enumerate(images)
    ]
    return {**cyclonedx(name, digest, created, []), "components": held}


def _component(part: Part) -> dict[str, Any]:
    hashes = [{"alg": "SHA-256", "content": part.sha256}] if part.sha256 else []
    return {
        "type": "library",
        "bom-ref": package_url(part),
        "name": part.name,
        "version": part.version,
        "purl": package_url(part),
        **({"hashes": hashes} if hashes else {}),
        **({"licenses": [{"expression": part.license}]} if part.license else {}),
    }


_OF_INDEX = {SPDX: spdx_index, CYCLONEDX: cyclonedx_index}
