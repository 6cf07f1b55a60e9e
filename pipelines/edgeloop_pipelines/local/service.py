"""Puts the fleet service of one machine together: its store, and this machine's adapters behind its ports.

Runs are started as processes of this machine, or on Kubeflow Pipelines with EDGELOOP_RUNS=kubeflow; objects are
applied to the stand-in's folder, aliases move in the catalog.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeloop_contracts import Loop, Package
from edgeloop_contracts.ecdsa import PublicKey
from edgeloop_pipelines.local.installation import Installation

__all__ = ["CatalogAliases", "Renderer", "serve"]


class CatalogAliases:
    """The `Aliases` port over the catalog in the object store."""

    def promote(self, loop: str, version: int, why: str) -> None:
        from edgeloop_components.catalog.catalog import set_alias
        from edgeloop_components.stores.objects import StoreError, connect

        try:
            objects = connect()
            for alias in ("champion", "last-good"):
                set_alias(objects, loop, alias, version, actor="fleet", why=why)
        except StoreError as error:
            raise OSError(f"the catalog is not there: {error}") from error


class Renderer:
    """The `Render` port: this installation's nodes and settings, and the keys that its nodes trust."""

    def __init__(self, installation: Installation, trusted: tuple[PublicKey, ...] = ()) -> None:
        self._nodes = installation.cluster / "nodes.yaml"
        self._settings = replace(installation.render_settings(), trusted=trusted)

    def __call__(self, loop: Loop, packages: Mapping[str, Package]) -> Sequence[Mapping[str, Any]]:
        from edgeloop_fleet.clusters.folder import read_nodes
        from edgeloop_fleet.render import render_loop

        return render_loop(loop, packages, read_nodes(self._nodes), self._settings)


def serve(installation: Installation, *, host: str, port: int) -> None:
    """Serves until SIGTERM."""
    from edgeloop_components.signing import configured_trust
    from edgeloop_fleet import app
    from edgeloop_fleet.clusters.folder import FolderCluster
    from edgeloop_fleet.settings import Settings
    from edgeloop_fleet.store import Store
    from edgeloop_pipelines.triggers import Ledger, Triggers, starter_from

    trusted = configured_trust()
    render = Renderer(installation, trusted)
    store = Store(installation.database_url)
    settings = Settings(
        clock="reports" if installation.clock == "reports" else "wall",
        ack_url=installation.render_settings().ack_url(installation.router_url),
        tick_s=installation.tick_s,
        trusted=trusted,
    )
    starter = starter_from(os.environ, installation.home, installation.environment())
    trigger = Triggers(Ledger(installation.database_url), starter, store.loop)
    cluster = FolderCluster(installation.cluster)
    app.serve(app.create_app(store, settings, trigger, cluster, CatalogAliases(), render), host, port)
