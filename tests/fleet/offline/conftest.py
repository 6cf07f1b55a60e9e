"""A site of two groups, a large and a small one, over the stand-in: two loops' images in a layout, planned and applied."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Loop, Package, from_json

ADDRESSES = {"n1": "127.0.1.1", "n2": "127.0.1.2", "n3": "127.0.1.3"}
GROUPS = {"n1": "large", "n2": "large", "n3": "small"}


def loop_document(storage_mib: int = 0) -> dict[str, Any]:
    """A loop with a target for each group; their platforms are the same."""
    return {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "power"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": f"{name}-t", "nodes": {"group": name}} for name in ("large", "small")],
        "offline": {"priority": "critical", "storage_mib": storage_mib},
    }


@dataclass
class Site:
    """Nodes, images and a port. `ask` speaks to the server of a node."""

    folder: Path
    images: Path
    port: int
    make: Callable[..., str]
    loop: Loop = field(default_factory=lambda: from_json(Loop, loop_document()))

    def image(self, version: str, padding: int) -> str:
        """A server's image that answers with its version, and a last layer of so many bytes that do not compress."""
        from edgeloop_components.package import layout
        from edgeloop_components.package.layers import files_layer

        tiny = self.make(version)
        below = layout.Under(
            tuple(layout.manifest(self.images, tiny)["layers"]),
            tuple(layout.image_config(self.images, tiny)["rootfs"]["diff_ids"]),
        )
        source = self.folder.parent / "padding" / version
        source.mkdir(parents=True)
        (source / "bytes").write_bytes(os.urandom(padding))
        return layout.write_image(
            self.images, [files_layer(source, "padding")], platform="linux/amd64", under=below,
            config={"Entrypoint": ["/edgeloop/server"], "Env": ["TINY_MODEL=/model"]},
        )  # fmt: skip

    def package(self, number: int, target: str, digest: str) -> Package:
        return Package(
            loop="power", version=number, target=target, platform="linux/amd64", runtime="onnxruntime",
            repository="edgeloop/power", digest=digest, size_bytes=1,
        )  # fmt: skip

    def ask(self, node: str) -> str:
        connection = http.client.HTTPConnection(ADDRESSES[node], self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode().split()[0]
        finally:
            connection.close()

    def answers(self) -> dict[str, str]:
        """node: the version that answers there; an error by its name."""
        found = {}
        for node in ADDRESSES:
            try:
                found[node] = self.ask(node)
            except OSError as error:
                found[node] = type(error).__name__
        return found


@pytest.fixture
def site(tmp_path: Path, tiny_image: Callable[..., str]) -> Site:
    """Three nodes without anything on them."""
    from edgeloop_fleet.clusters.folder import node_document, write_nodes
    from edgeloop_pipelines.local import children

    folder = tmp_path / "cluster"
    write_nodes(folder, [node_document(name, group=GROUPS[name], address=at) for name, at in ADDRESSES.items()])
    return Site(folder, tmp_path / "images", children.free_port("127.0.1.1"), tiny_image)
