"""What every pod of edgeloop at the edge has in common, learned from running KubeEdge.

- `automountServiceAccountToken: false`: with a token volume a pod does not start after a power cut without a link.
- NoExecute tolerations without end: otherwise five minutes offline mark the pod for deletion.
- IfNotPresent and digests: a start needs no registry.
- fieldRef with `apiVersion`: KubeEdge's env overrider drops a fieldRef that leaves it out.
- hostNetwork without declared ports: a declared port keeps the pod of a surge update Pending for ever.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "LIBRARY_FOLDER",
    "RUN_FOLDER",
    "USER",
    "container_security",
    "downward",
    "host_folder",
    "pod_spec",
]

RUN_FOLDER = "/run/edgeloop"  # servers announce themselves here; same path on the node and in the containers
LIBRARY_FOLDER = "/var/lib/edgeloop"  # what must outlive a power cut: the agent's spool
USER = 65532  # owns both folders; the same in the server and the agent, who share sockets

_UNREACHABLE = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")


def pod_spec(security: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A pod spec with the common part; `fields` are added, and `security` to its security context."""
    return {
        "hostNetwork": True,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in _UNREACHABLE],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
            **(security or {}),
        },
        **fields,
    }


def container_security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def downward(**paths: str) -> list[dict[str, Any]]:
    """Environment variables that hold fields of the pod: NAME=path."""
    return [
        {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for name, path in paths.items()
    ]


def host_folder(name: str, path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A volume that is a folder of the node, and its mount at the same path."""
    return (
        {"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}},
        {"name": name, "mountPath": path},
    )
