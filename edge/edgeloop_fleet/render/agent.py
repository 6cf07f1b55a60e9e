"""The agent of every edge node, as a DaemonSet.

Not through an EdgeApplication: that would split it by node group, and a node without a group has an agent too. It has one
pod at a time on a node (no surge), since it alone writes the spool. An init container gives the node's two folders to the
user that server and agent run as: a hostPath that the kubelet makes belongs to root.
"""

from __future__ import annotations

from typing import Any

from edgeloop_fleet.render import labels
from edgeloop_fleet.render.pods import (
    LIBRARY_FOLDER,
    RUN_FOLDER,
    USER,
    container_security,
    downward,
    host_folder,
    pod_spec,
)
from edgeloop_fleet.render.values import EDGE_ROLE, Settings

__all__ = ["agent_daemon_set"]

_NAME = "agent"
_RESOURCES = {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"cpu": "500m", "memory": "128Mi"}}
_GIVE = "import os, sys; [os.chown(path, int(sys.argv[1]), int(sys.argv[1])) for path in sys.argv[2:]]"


def _transport(settings: Settings) -> list[str]:
    ways = {"mqtt": ["--mqtt", settings.mqtt], "https": ["--https", settings.fleet_url]}
    return ways[settings.transport]


def _arguments(settings: Settings) -> list[str]:
    """What follows the image's entry point, which is the agent."""
    return [
        *("--run-dir", RUN_FOLDER),
        *("--spool", f"{LIBRARY_FOLDER}/spool.db"),
        *("--node", "$(EDGELOOP_NODE)"),
        *("--namespace", settings.namespace),
        *_transport(settings),
        *("--host", "$(EDGELOOP_HOST)"),
        *("--port", str(settings.feedback_port)),
        *("--poll-s", f"{settings.poll_s:g}"),
        *("--publish-s", f"{settings.poll_s:g}"),
    ]


def _prepare(mounts: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    """Root for one call: chown, and no other capability."""
    return {
        "name": "prepare",
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/python3", "-c", _GIVE, str(USER), *(mount["mountPath"] for mount in mounts)],
        "securityContext": {
            **container_security(),
            "runAsNonRoot": False,
            "runAsUser": 0,
            "runAsGroup": 0,
            "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        },
        "volumeMounts": mounts,
    }


def _container(mounts: list[dict[str, Any]], settings: Settings) -> dict[str, Any]:
    return {
        "name": _NAME,
        "image": settings.agent_image,
        "imagePullPolicy": "IfNotPresent",
        "args": _arguments(settings),
        "env": downward(EDGELOOP_NODE="spec.nodeName", EDGELOOP_HOST="status.hostIP"),
        "resources": _RESOURCES,
        "securityContext": container_security(),
        "volumeMounts": mounts,
    }


def agent_daemon_set(settings: Settings) -> dict[str, Any]:
    """The DaemonSet of the agent on every edge node."""
    folders = [host_folder("run", RUN_FOLDER), host_folder("library", LIBRARY_FOLDER)]
    volumes, mounts = [volume for volume, _ in folders], [mount for _, mount in folders]
    marks = labels.common(_NAME)
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": _NAME, "namespace": settings.namespace, "labels": marks},
        "spec": {
            "selector": {"matchLabels": {labels.NAME: _NAME, labels.PART_OF: "edgeloop"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}},
            "template": {
                "metadata": {"labels": marks},
                "spec": pod_spec(
                    nodeSelector={EDGE_ROLE: ""},
                    terminationGracePeriodSeconds=30,
                    initContainers=[_prepare(mounts, settings)],
                    containers=[_container(mounts, settings)],
                    volumes=volumes,
                ),
            },
        },
    }
