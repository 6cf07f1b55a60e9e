"""The EdgeApplication of a loop: one Deployment template `server`, and what differs between groups as overriders.

KubeEdge makes a Deployment `<application>-<node group>` of it for each group. A wave is a change of one group's overriders;
the Deployments of the other groups are left as they are.

One server a node, through a surge update. With maxSurge 1 a node runs the old and the new pod together for a second, so the
usual anti-affinity on the hostname would keep the new pod Pending for ever. A version label cannot tell old from new
either: the pod template is shared by all groups and has no label overrider. So a topology spread constraint counts only the
pods of the same revision (`matchLabelKeys: [pod-template-hash]`, on by default since Kubernetes 1.27) and only the group's
nodes (`nodeAffinityPolicy: Honor`): with as many replicas as nodes, the pods of one revision stand on one node each. The
same key of an anti-affinity term would do, but is off by default in Kubernetes 1.30. When the new pod is ready, the
ReplicaSet controller removes the old pod on that same node first, since that node has two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeloop_contracts import Package, ResourceProfile, Target
from edgeloop_contracts.loop import THREADED
from edgeloop_fleet.render import labels
from edgeloop_fleet.render.boards import board_environment, board_groups, board_resources
from edgeloop_fleet.render.groups import image_of
from edgeloop_fleet.render.pods import RUN_FOLDER, container_security, downward, host_folder, pod_spec
from edgeloop_fleet.render.values import RenderError, Settings

__all__ = ["CONTAINER", "edge_application", "overriders"]

CONTAINER = "server"
_GRACE_S = 30  # a server drains in far less
_READY_WITHIN_S = 120  # a pod's start at the edge may stall for 60 s

# Asks this pod's own server (process 1 of the container), over its private socket, whether it is ready. An httpGet probe would
# be answered by the old pod, which shares the port. One template has one command, so every server image has this program.
_PROBE = ("/edgeloop/server", "check", "--run-dir", RUN_FOLDER, "--pid", "1")
_SERVED = ("fpga", "fpga-sim", "native", "onnxruntime")  # the runtimes whose images are servers


def _check_runtimes(packages: Mapping[str, Package]) -> None:
    for group, package in packages.items():
        if package.runtime not in _SERVED:
            raise RenderError(
                f"group {group}: expected a runtime whose image is a server with a readiness probe "
                f"({', '.join(_SERVED)}), got {package.runtime}"
            )


def _probes() -> dict[str, Any]:
    """Asks often until the server is ready the first time, and seldom after that: each probe starts a process."""
    action = {"exec": {"command": list(_PROBE)}, "timeoutSeconds": 10}
    return {
        "startupProbe": {**action, "periodSeconds": 1, "failureThreshold": _READY_WITHIN_S},
        "readinessProbe": {**action, "periodSeconds": 30, "failureThreshold": 3},
    }


def _container(image: str, mount: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The server's container. Its image's entry point is the server; the arguments say where it listens and reports."""
    return {
        "name": CONTAINER,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            *("--host", "$(EDGELOOP_HOST)"),
            *("--port", str(settings.server_port)),
            *("--run-dir", RUN_FOLDER),
        ],
        "env": [*downward(EDGELOOP_NODE="spec.nodeName", EDGELOOP_HOST="status.hostIP"), *_trust(settings)],
        "securityContext": container_security(),
        "volumeMounts": [mount],
        **_probes(),
    }


def _trust(settings: Settings) -> list[dict[str, Any]]:
    """The public keys that must have signed what the server loads."""
    text = "".join(key.pem for key in settings.trusted)
    return [{"name": "EDGELOOP_PUBLIC_KEY", "value": text}] if text else []


def _spread(selector: Mapping[str, str]) -> dict[str, Any]:
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": dict(selector)},
        "matchLabelKeys": ["pod-template-hash"],
        "nodeAffinityPolicy": "Honor",
    }


def _deployment(loop: str, targets: Mapping[str, Target], settings: Settings) -> dict[str, Any]:
    selector = {labels.NAME: CONTAINER, labels.LOOP: loop}
    volume, mount = host_folder("run", RUN_FOLDER)
    container = _container(f"{settings.registry}/{labels.application_name(loop)}:unset", mount, settings)
    marks = labels.common(CONTAINER, **{labels.LOOP: loop})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": labels.application_name(loop), "namespace": settings.namespace, "labels": marks},
        "spec": {
            "replicas": 0,
            "progressDeadlineSeconds": _READY_WITHIN_S,
            "revisionHistoryLimit": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": marks},
                "spec": pod_spec(
                    board_groups(targets, settings),
                    terminationGracePeriodSeconds=_GRACE_S,
                    topologySpreadConstraints=[_spread(selector)],
                    containers=[container],
                    volumes=[volume],
                ),
            },
        },
    }


def _resources(profile: ResourceProfile | None, board: Mapping[str, str]) -> dict[str, Any]:
    """Of the profile, and the board; Kubernetes takes an extended resource's limit for its request, too."""
    if profile is None:
        return {"limits": dict(board)} if board else {}
    return {
        "requests": {"cpu": f"{profile.cpu_request_m}m", "memory": f"{profile.memory_request_mib}Mi"},
        "limits": {"cpu": f"{profile.cpu_limit_m}m", "memory": f"{profile.memory_limit_mib}Mi", **board},
    }


def _threads(package: Package) -> dict[str, str]:
    """The number of threads that was measured, where the runtime can be told it."""
    profile = package.profile if package.runtime in THREADED else None
    return {"EDGELOOP_THREADS": str(profile.threads)} if profile else {}


def _image_overriders(group: str, package: Package, settings: Settings) -> list[dict[str, Any]]:
    """Repository and digest, for the server's container alone: without the path KubeEdge overrides sidecars too.

    The registry, too, where the group has a mirror: the template, which all groups share, names that of the installation.
    """
    image = image_of(package, settings, group)
    repository = image.removesuffix(f"@{package.digest}")
    host, slash, path = repository.partition("/")
    registry = host if slash and (any(mark in host for mark in ".:") or host == "localhost") else ""
    mirrored = {"Registry": registry} if group in settings.mirrors else {}
    values = {**mirrored, "Repository": path if registry else repository, "Tag": package.digest}
    here = {"path": "/spec/template/spec/containers/0/image"}
    return [
        {"component": component, "operator": "replace", "value": value, "predicate": here}
        for component, value in values.items()
    ]


def overriders(
    group: str, package: Package, replicas: int, settings: Settings, target: Target | None = None
) -> dict[str, Any]:
    """What a group has of its own: image, number of pods, resources and threads from the profile, board, and environment."""
    env = {
        "EDGELOOP_GROUP": group,
        "EDGELOOP_IMAGE": package.digest,
        **_threads(package),
        **board_environment(target),
    }
    resources = _resources(package.profile, board_resources(target, settings))
    return {
        "replicas": replicas,
        "imageOverriders": _image_overriders(group, package, settings),
        "resourcesOverriders": [{"containerName": CONTAINER, "value": resources}] if resources else [],
        "envOverriders": [
            {
                "containerName": CONTAINER,
                "operator": "replace",
                "value": [{"name": name, "value": value} for name, value in env.items()],
            }
        ],
    }


def edge_application(
    loop: str,
    packages: Mapping[str, Package],
    replicas: Mapping[str, int],
    settings: Settings,
    targets: Mapping[str, Target],
) -> dict[str, Any]:
    """The loop's EdgeApplication with the groups that have a package. RenderError for a runtime without a server.

    `targets` are all of the loop, by group: the template is the same for every wave.
    """
    _check_runtimes(packages)
    groups = [
        {
            "name": labels.node_group_name(group),
            "overriders": overriders(group, package, replicas[group], settings, targets.get(group)),
        }
        for group, package in packages.items()
    ]
    return {
        "apiVersion": "apps.kubeedge.io/v1alpha1",
        "kind": "EdgeApplication",
        "metadata": {
            "name": labels.application_name(loop),
            "namespace": settings.namespace,
            "labels": labels.common(CONTAINER, **{labels.LOOP: loop}),
        },
        "spec": {
            "workloadTemplate": {"manifests": [_deployment(loop, targets, settings)]},
            "workloadScope": {"targetNodeGroups": groups},
        },
    }
