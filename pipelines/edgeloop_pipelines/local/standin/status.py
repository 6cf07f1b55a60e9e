"""What the API server would show: Deployments, DaemonSets, pods, EdgeApplications, NodeGroups, jobs and nodes.

Pure: actual state in, documents out. An EdgeApplication says Available whatever its pods do, as KubeEdge's does: read the
Deployments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from edgeloop_fleet.render.labels import BELONGING
from edgeloop_pipelines.local.standin.objects import NodeView
from edgeloop_pipelines.local.standin.pods import Pod
from edgeloop_pipelines.local.standin.workloads import Workload

__all__ = ["BYTES_PULLED", "application", "daemon_set", "deployment", "node", "node_group", "pod"]

Object = Mapping[str, Any]
Document = dict[str, Any]
BYTES_PULLED = "edgeloop.dev/bytes-pulled"  # annotation of a Node: what its image pulls have copied


def _time(wall_s: float) -> str:
    return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _with(document: Object, status: Document, **metadata: Any) -> Document:
    return {**document, "metadata": {**document["metadata"], **metadata}, "status": status}


def _progressing(late: bool, done: bool) -> Document:
    if late:
        return {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    return {
        "type": "Progressing",
        "status": "True",
        "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
    }


def settled(workload: Workload, pods: Sequence[Pod]) -> bool:
    """Whether every pod that the Deployment asks for is there, new and ready, and no other."""
    live = [pod for pod in pods if not pod.deleting]
    mine = [pod for pod in live if pod.revision == workload.revision and pod.ready]
    return bool(len(live) == len(mine) == workload.document["spec"]["replicas"])


def deployment(workload: Workload, pods: Sequence[Pod], *, late: bool) -> Document:
    """A Deployment with its status. `late`: no progress within progressDeadlineSeconds. A pod being deleted does not count."""
    live = [pod for pod in pods if not pod.deleting]
    ready, wanted = sum(pod.ready for pod in live), workload.document["spec"]["replicas"]
    available = {"type": "Available", "status": str(ready >= wanted)}
    status = {
        "observedGeneration": workload.generation,
        "replicas": len(live),
        "updatedReplicas": sum(pod.revision == workload.revision for pod in live),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(wanted - ready, 0),
        "conditions": [available, _progressing(late, settled(workload, pods))],
    }
    return _with(workload.document, status, generation=workload.generation)


def daemon_set(workload: Workload, pods: Sequence[Pod]) -> Document:
    """A DaemonSet with its status."""
    live = [pod for pod in pods if not pod.deleting]
    ready = sum(pod.ready for pod in live)
    status = {
        "observedGeneration": workload.generation,
        "desiredNumberScheduled": len(workload.nodes),
        "currentNumberScheduled": len(live),
        "updatedNumberScheduled": sum(pod.revision == workload.revision for pod in live),
        "numberReady": ready,
        "numberAvailable": ready,
        "numberMisscheduled": 0,
    }
    return _with(workload.document, status, generation=workload.generation)


def _last_state(pod: Pod) -> Document:
    return {"terminated": {"exitCode": pod.exit_code, "reason": "Error"}} if pod.exit_code is not None else {}


def _state(pod: Pod, wall_s: float) -> Document:
    if pod.state in ("running", "stopping"):
        return {"running": {"startedAt": _time(wall_s)}}
    reasons = {"pull-backoff": "ImagePullBackOff", "backoff": "CrashLoopBackOff"}
    reason = reasons.get(pod.state, "ContainerCreating")
    said = pod.why or (f"the container ended with exit code {pod.exit_code}" if pod.exit_code is not None else "")
    return {"waiting": {"reason": reason, **({"message": said} if said and reason.endswith("BackOff") else {})}}


def pod(item: Pod, node: NodeView, *, pid: int, wall_s: float) -> Document:
    """A pod with its status. `wall_s`: when it began to run, Unix seconds. Its process is named in an annotation."""
    container = item.template["spec"]["containers"][0]
    phase = "Running" if item.state in ("running", "stopping", "backoff") else "Pending"
    shown = {
        "name": container["name"],
        "image": container["image"],
        "imageID": container["image"],
        "ready": item.ready,
        "started": item.started,
        "restartCount": item.restarts,
        "state": _state(item, wall_s),
        "lastState": _last_state(item),
    }
    replica_set = f"{item.owner.name}-{item.revision}" if item.owner.kind == "Deployment" else item.owner.name
    kind = "ReplicaSet" if item.owner.kind == "Deployment" else item.owner.kind
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": item.name,
            "namespace": item.owner.namespace,
            "uid": item.uid,
            "labels": {**item.template["metadata"]["labels"], "pod-template-hash": item.revision},
            "annotations": {"edgeloop.dev/process": str(pid)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": replica_set, "controller": True}],
            **({"deletionTimestamp": _time(wall_s)} if item.deleting else {}),
        },
        "spec": {**item.template["spec"], "nodeName": item.node},
        "status": {
            "phase": phase,
            "hostIP": node.address,
            "podIP": node.address,
            "conditions": [{"type": "Ready", "status": str(item.ready)}],
            "containerStatuses": [shown],
        },
    }


def application(document: Object, workloads: Sequence[Workload]) -> Document:
    """An EdgeApplication: Available throughout."""
    mine = [workload.owner for workload in workloads if workload.application == document["metadata"]["name"]]
    status = [
        {
            "conditions": "Available",
            "identifier": {
                "group": "apps",
                "version": "v1",
                "kind": owner.kind,
                "resource": "deployments",
                "namespace": owner.namespace,
                "name": owner.name,
                "ordinal": i,
            },
        }
        for i, owner in enumerate(mine)
    ]
    return _with(document, {"workloadStatus": status})


def node_group(document: Object, nodes: Sequence[NodeView], membership: Mapping[str, str]) -> Document:
    """A NodeGroup with its nodes. A node that fits, but belongs to another group, failed to be selected."""
    name, wanted = document["metadata"]["name"], document["spec"]["matchLabels"]
    lines = []
    for item in sorted(nodes, key=lambda node: node.name):
        fits = all(item.labels.get(key) == value for key, value in wanted.items())
        other = membership.get(item.name)
        if other == name:
            lines.append({"nodeName": item.name, "readyStatus": "True", "selectionStatus": "Succeeded"})
        elif fits:
            why = f"the node belongs to node group {other}"
            failed = {"selectionStatus": "Failed", "selectionStatusReason": why}
            lines.append({"nodeName": item.name, "readyStatus": "True", **failed})
    return _with(document, {"nodeStatuses": lines})


def node(document: Object, group: str, pulled_bytes: int) -> Document:
    """A Node with the label of its group ('' for none), and the bytes that it has pulled."""
    metadata = document["metadata"]
    annotations = {**(metadata.get("annotations") or {}), BYTES_PULLED: str(pulled_bytes)}
    marks = {**(metadata.get("labels") or {}), **({BELONGING: group} if group else {})}
    return {**document, "metadata": {**metadata, "labels": marks, "annotations": annotations}}
