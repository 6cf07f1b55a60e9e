"""The image of the load generator, which the Job runs: one static file and nothing else, for every platform."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeloop_components.package import layout as oci
from edgeloop_components.package.layers import file_layer
from edgeloop_components.profile.load import generator

__all__ = ["PLATFORMS", "REPOSITORY", "load_image"]

REPOSITORY = "edgeloop/load"
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64")
CONFIG = {"Entrypoint": ["/edgeloop/load"], "User": "65532:65532", "WorkingDir": "/"}


def load_image(layout: Path, platforms: Sequence[str] = PLATFORMS) -> str:
    """Writes the image into an OCI layout and names it; the digest of the index over its platforms. LoadError."""
    digests = []
    for platform in platforms:
        layer = file_layer({"edgeloop/load": generator(platform)}, comment="load generator", platform=platform)
        digests.append(oci.write_image(layout, [layer], platform=platform, config=CONFIG))
    index = oci.write_index(layout, digests)
    oci.name_image(layout, index, REPOSITORY)
    return index
