"""Whatever a file says, the stand-in refuses it or can do it: random damage to rendered objects."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Loop, Package, from_json
from edgeloop_fleet.clusters.folder import node_document
from edgeloop_fleet.render import Node, Settings, render_loop
from edgeloop_pipelines.local.standin import containers, jobs, objects, pods, rules, status, workloads
from edgeloop_pipelines.local.standin.admission import admit
from edgeloop_pipelines.local.standin.containers import ImageConfig, Place

NODES = [objects.node_view(node_document("n1", group="g", address="127.0.1.1"))]
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
PACKAGE = Package(
    loop="power", version=1, target="t", platform="linux/amd64", runtime="onnxruntime", repository="edgeloop/power",
    digest="sha256:" + "ab" * 32, size_bytes=1,
)  # fmt: skip
NODE = Node(name="n1", labels={"edgeloop.dev/group": "g"})
GOOD = [
    node_document("n1", group="g", address="127.0.1.1"),
    *render_loop(LOOP, {"g": PACKAGE}, [NODE], Settings()),
    *render_loop(LOOP, {"g": PACKAGE}, [], Settings())[-2:],
]
JUNK = st.sampled_from([None, True, -1, 0, 3.5, "", "x", "/../..", "50%", [], ["x"], [1], {}, {"x": 1}, {"name": "x"}])


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every part of a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))


PLACES = [(i, path) for i, document in enumerate(GOOD) for path in places(document)]


def damaged(place: tuple[int, tuple[Any, ...]], junk: Any, *, remove: bool) -> Any:
    document = copy.deepcopy(GOOD[place[0]])
    parent: Any = document
    *path, last = place[1]
    for key in path:
        parent = parent[key]
    if remove:
        del parent[last]
    else:
        parent[last] = junk
    return document


def use(document: Any) -> None:
    """Does with one object all that the stand-in derives from it."""
    kind = document["kind"]
    nodes = [objects.node_view(document)] if kind == "Node" else NODES
    membership = objects.belonging([document], nodes) if kind == "NodeGroup" else {"n1": "g"}
    if kind == "NodeGroup":
        status.node_group(document, nodes, membership)
    if kind == "Node":
        status.node(document, "g", 1)
    if kind == "ImagePrePullJob":
        jobs.Jobs(lambda _node, _image: Future(), {}).update([document], nodes, membership)
    if kind in ("Rule", "RuleEndpoint"):
        ends = [item for item in GOOD if item["kind"] == "RuleEndpoint"]
        table = rules.updated(rules.RuleTable(), [*ends, document], ["n1"], 0.0)
        rules.matching(table, "/n1/edgeloop/acks/n1")
    if kind == "EdgeApplication":
        status.application(document, workloads.workloads_of([document], nodes, membership))
    for workload in workloads.workloads_of([document], nodes, membership):
        run(workload)


def run(workload: workloads.Workload) -> None:
    """A pod of the workload, from its start to its command lines and its status."""
    workloads.changes_of(workload, [])
    pod = pods.Pod("p", "u", workload.owner, "n1", workload.revision, workload.template, 0.0)
    plan = workloads.plan_of(pod, 10.0)
    workloads.changes_of(workload, [pod])
    status.pod(pod, NODES[0], pid=1, wall_s=0.0)
    is_deployment = workload.owner.kind == "Deployment"
    status.deployment(workload, [pod], late=True) if is_deployment else status.daemon_set(workload, [pod])
    place = Place(
        "p", "ns", "u", NODES[0], Path("/nonexistent/disk"), Path("/nonexistent/rootfs"), Path("/nonexistent/cache")
    )
    spec, config = workload.template["spec"], ImageConfig(("/usr/bin/python3",), (), ())
    for probe in (plan.startup, plan.readiness):
        if probe:
            containers.with_main_process(probe.command, 1)
    with contextlib.suppress(objects.ManifestError):  # the kubelet says so of the pod: it cannot start
        containers.command_of(spec["containers"][0], containers.volumes_of(spec), config, place)


def test_the_rendered_objects_can_be_done() -> None:
    """Undamaged, every object is admitted."""
    for document in GOOD:
        admit(document)
        use(document)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(PLACES), JUNK, st.booleans())
@example((0, ("metadata", "labels")), [1], False)
def test_damage_is_refused_or_harmless(place: tuple[int, tuple[Any, ...]], junk: Any, remove: bool) -> None:
    """One part of an object removed or replaced by junk: `admit` says no, or everything derived from it works."""
    document = damaged(place, junk, remove=remove)
    try:
        admit(document)
    except objects.ManifestError:
        return
    use(document)
