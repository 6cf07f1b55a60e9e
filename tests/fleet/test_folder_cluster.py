"""The Cluster port over a folder, with the real stand-in behind it: the port's laws, and what it makes of the status."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Loop, Package, from_json
from edgeloop_fleet.clusters.folder import FolderCluster, node_document, read_nodes, write_nodes
from edgeloop_fleet.conformance import cluster_laws
from edgeloop_fleet.ports import GroupState
from edgeloop_fleet.render import Node, Settings, render_loop
from edgeloop_fleet.render.files import write_objects

LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "power"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    },
)
NODES = [Node(name="n1", labels={"edgeloop.dev/group": "g"})]
DIGEST = "sha256:" + "ab" * 32


def objects(digests: Mapping[str, str], settings: Settings | None = None) -> Sequence[Mapping[str, Any]]:
    packages = {
        group: Package(
            loop="power",
            version=1,
            target="t",
            platform="linux/amd64",
            runtime="onnxruntime",
            repository="edgeloop/power",
            digest=digest,
            size_bytes=1,
        )
        for group, digest in digests.items()
    }
    return render_loop(LOOP, packages, NODES, settings or Settings())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_nodes(tmp_path / "cluster", [node_document("n1", group="g", address="127.0.1.1")])
    return tmp_path / "cluster"


def test_the_laws_of_the_port_hold(folder: Path) -> None:
    """Applying and deleting twice, and a loop that nobody deployed."""
    cluster_laws(FolderCluster(folder), LOOP.name, objects, "g")


def test_nodes_are_read_back_as_rendering_wants_them(folder: Path) -> None:
    """What write_nodes wrote gives the node with its group's label; a List of nodes is read too."""
    (node,) = read_nodes(folder / "nodes.yaml")
    assert (node.name, node.ready, node.labels["edgeloop.dev/group"]) == ("n1", True, "g")
    (folder / "list.yaml").write_text("{kind: List, items: [{metadata: {name: a}}, {metadata: {name: b}}]}")
    assert [item.name for item in read_nodes(folder / "list.yaml")] == ["a", "b"]


def test_what_new_objects_supersede_is_removed(folder: Path) -> None:
    """Another fleet URL: the old node's Rule goes before the new one comes, other objects stay, foreign files too."""
    cluster = FolderCluster(folder)
    cluster.apply(objects({"g": DIGEST}))
    (folder / "apply" / "rule-edgeloop-mine.yaml").write_text(
        "{kind: Rule, metadata: {namespace: edgeloop, name: mine}}"
    )
    before = {path.name for path in (folder / "apply").iterdir()}
    cluster.apply(objects({"g": DIGEST}, Settings(fleet_url="http://other.example")))
    after = {path.name for path in (folder / "apply").iterdir()}
    assert [name.startswith("rule-edgeloop-reports-") for name in (*before - after, *after - before)] == [True, True]
    assert "rule-edgeloop-mine.yaml" in after


def deployment(**status: Any) -> dict[str, Any]:
    containers = [{"name": "server", "image": f"r.example/a@{DIGEST}"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "power-g", "namespace": "edgeloop", "generation": 4},
        "spec": {"template": {"spec": {"containers": containers}}},
        "status": status,
    }


def pod(name: str, owner: str, restarts: int, **waiting: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "edgeloop", "ownerReferences": [{"name": owner}]},
        "status": {"containerStatuses": [{"restartCount": restarts, "state": {"waiting": waiting} if waiting else {}}]},
    }


def test_the_state_of_a_group_comes_from_deployment_pods_and_node_group(folder: Path) -> None:
    """Counts, generations and digest from the Deployment, why it waits from its pods; another Deployment's pods do not count."""
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    found = deployment(observedGeneration=3, replicas=2, updatedReplicas=1, availableReplicas=1, conditions=[late])
    group = {
        "kind": "NodeGroup",
        "metadata": {"name": "g"},
        "status": {
            "nodeStatuses": [
                {"nodeName": "n1", "selectionStatus": "Succeeded"},
                {"nodeName": "n2", "selectionStatus": "Failed"},
            ]
        },
    }
    write_objects(folder / "status", [found, group, pod("power-g-abc-1", "power-g-abc", 2)])
    cluster = FolderCluster(folder)
    expected = GroupState(
        group="g", nodes=("n1",), desired_digest=DIGEST, generation=4, observed_generation=3, replicas=2, updated=1,
        available=1, waiting="ProgressDeadlineExceeded", restarts=2,
    )  # fmt: skip
    assert cluster.observe("power", ["g"]) == {"g": expected}
    stuck = pod("power-g-abc-2", "power-g-abc", 5, reason="CrashLoopBackOff", message="exit code 3")
    write_objects(folder / "status", [stuck, pod("power-g-more-abc-1", "power-g-more-abc", 100)])
    state = cluster.observe("power", ["g"])["g"]
    assert (state.waiting, state.restarts) == ("CrashLoopBackOff: exit code 3", 7)


def test_a_cluster_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Neither reading nor writing makes a folder up."""
    cluster = FolderCluster(tmp_path / "nowhere")
    for call in (
        lambda: cluster.observe("power", ["g"]),
        lambda: cluster.apply(objects({})),
        lambda: cluster.delete(objects({})),
    ):
        with pytest.raises(FileNotFoundError, match="no cluster folder here"):
            call()
