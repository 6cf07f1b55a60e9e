"""The API server's validation, as far as the stand-in depends on it: an object that passes can be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgeloop_pipelines.local.standin import containers, images
from edgeloop_pipelines.local.standin.objects import ManifestError, node_view
from edgeloop_pipelines.local.standin.overriders import deployments_of

__all__ = ["API_VERSIONS", "admit"]

Object = Mapping[str, Any]

HOLD = "edge.kubeedge.io/hold-upgrade"


def _workload(document: Object) -> None:
    """A Deployment or DaemonSet whose pods the stand-in can run."""
    template = document["spec"]["template"]
    if (template["metadata"].get("annotations") or {}).get(HOLD):
        raise ManifestError(f"annotation {HOLD}: hold is not supported by the stand-in")
    pod = template["spec"]
    if not pod.get("hostNetwork"):
        raise ManifestError("spec.template.spec.hostNetwork: expected true (the stand-in has no other network)")
    if len(pod["containers"]) != 1:
        raise ManifestError(f"spec.template.spec.containers: expected one container, got {len(pod['containers'])}")
    containers.check(pod["containers"][0], containers.volumes_of(pod))


def _application(document: Object) -> None:
    for deployment in deployments_of(document):
        _workload(deployment)


def _group(document: Object) -> None:
    if not document["spec"].get("matchLabels"):
        raise ManifestError("spec.matchLabels: expected labels (without any, KubeEdge takes every unlabelled node)")


def _job(document: Object) -> None:
    template = document["spec"]["imagePrePullTemplate"]
    if bool(template.get("nodeNames")) == bool(template.get("labelSelector")):
        raise ManifestError("imagePrePullTemplate: expected either nodeNames or labelSelector")
    for image in template["images"]:
        images.parse(image)


def _rule(document: Object) -> None:
    spec = document["spec"]
    for field in ("source", "sourceResource", "target", "targetResource"):
        if not spec.get(field):
            raise ManifestError(f"spec.{field}: expected a value, got nothing")


def _endpoint(document: Object) -> None:
    kind = document["spec"].get("ruleEndpointType")
    if kind not in ("rest", "eventbus"):
        raise ManifestError(
            f"spec.ruleEndpointType: expected rest or eventbus (servicebus is not supported), got {kind!r}"
        )


def _node(document: Object) -> None:
    node_view(document)


_KINDS: Mapping[str, tuple[str, Callable[[Object], None]]] = {
    "Node": ("v1", _node),
    "NodeGroup": ("apps.kubeedge.io/v1alpha1", _group),
    "EdgeApplication": ("apps.kubeedge.io/v1alpha1", _application),
    "DaemonSet": ("apps/v1", _workload),
    "ImagePrePullJob": ("operations.kubeedge.io/v1alpha2", _job),
    "Rule": ("rules.kubeedge.io/v1", _rule),
    "RuleEndpoint": ("rules.kubeedge.io/v1", _endpoint),
}
API_VERSIONS = {kind: version for kind, (version, _) in _KINDS.items()}
_CLUSTER_WIDE = ("Node", "NodeGroup", "ImagePrePullJob")


def admit(document: Any) -> None:
    """ManifestError for an object that the stand-in cannot do, with the reason."""
    if not isinstance(document, Mapping):
        raise ManifestError(f"expected an object, got {type(document).__name__}")
    kind, metadata = str(document.get("kind")), document.get("metadata") or {}
    if kind not in _KINDS:
        raise ManifestError(f"kind: the stand-in does {', '.join(_KINDS)}, got {kind!r}")
    version, check = _KINDS[kind]
    if document.get("apiVersion") != version:
        raise ManifestError(f"apiVersion: expected {version} for a {kind}, got {document.get('apiVersion')!r}")
    if not metadata.get("name") or bool(metadata.get("namespace")) == (kind in _CLUSTER_WIDE):
        scope = "no namespace" if kind in _CLUSTER_WIDE else "a namespace"
        raise ManifestError(f"metadata: expected a name and {scope}, got {dict(metadata)}")
    try:
        check(document)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ManifestError(f"{kind} {metadata['name']}: {type(error).__name__}: {error}") from error
