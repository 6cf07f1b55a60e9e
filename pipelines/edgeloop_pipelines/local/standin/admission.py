"""The API server's validation, as far as the stand-in depends on it: an object that passes can be done."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edgeloop_pipelines.local.standin import containers, images
from edgeloop_pipelines.local.standin.objects import ManifestError, names, node_view, texts
from edgeloop_pipelines.local.standin.overriders import deployments_of
from edgeloop_pipelines.local.standin.rollouts import limits_of

__all__ = ["API_VERSIONS", "admit"]

Object = Mapping[str, Any]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
HOLD = "edge.kubeedge.io/hold-upgrade"


def _workload(document: Object) -> None:
    """A Deployment or DaemonSet whose pods the stand-in can run."""
    template = document["spec"]["template"]
    if (template["metadata"].get("annotations") or {}).get(HOLD):
        raise ManifestError(f"annotation {HOLD}: hold is not supported by the stand-in")
    texts(template["metadata"]["labels"], "spec.template.metadata.labels")
    pod = template["spec"]
    if not pod.get("hostNetwork"):
        raise ManifestError("spec.template.spec.hostNetwork: expected true (the stand-in has no other network)")
    if len(pod["containers"]) != 1:
        raise ManifestError(f"spec.template.spec.containers: expected one container, got {len(pod['containers'])}")
    texts(pod.get("nodeSelector") or {}, "spec.template.spec.nodeSelector")
    containers.check(pod["containers"][0], containers.volumes_of(pod))
    for seconds in (pod.get("terminationGracePeriodSeconds", 30), document["spec"].get("progressDeadlineSeconds", 600)):
        float(seconds)
    limits_of(document)


def _application(document: Object) -> None:
    for deployment in deployments_of(document):
        _workload(deployment)


def _group(document: Object) -> None:
    labels = document["spec"].get("matchLabels")
    if not labels:
        raise ManifestError("spec.matchLabels: expected labels (without any, KubeEdge takes every unlabelled node)")
    texts(labels, "spec.matchLabels")
    names(document["spec"].get("nodes") or [], "spec.nodes")


def _job(document: Object) -> None:
    template = document["spec"]["imagePrePullTemplate"]
    if bool(template.get("nodeNames")) == bool(template.get("labelSelector")):
        raise ManifestError("imagePrePullTemplate: expected either nodeNames or labelSelector")
    names(template["images"], "imagePrePullTemplate.images")
    names(template.get("nodeNames") or [], "imagePrePullTemplate.nodeNames")
    texts((template.get("labelSelector") or {}).get("matchLabels") or {}, "imagePrePullTemplate.labelSelector")
    for image in template["images"]:
        images.parse(image)


def _rule(document: Object) -> None:
    spec = document["spec"]
    for field in ("source", "target"):
        names([spec[field]], f"spec.{field}")
    for field in ("sourceResource", "targetResource"):
        texts(spec[field], f"spec.{field}")


def _endpoint(document: Object) -> None:
    kind = document["spec"].get("ruleEndpointType")
    if kind not in ("rest", "eventbus"):
        raise ManifestError(
            f"spec.ruleEndpointType: expected rest or eventbus (servicebus is not supported), got {kind!r}"
        )


def _node(document: Object) -> None:
    texts(node_view(document).labels, "metadata.labels")
    texts(document["metadata"].get("annotations") or {}, "metadata.annotations")


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
    if not isinstance(document, Mapping) or not isinstance(document.get("metadata"), Mapping):
        raise ManifestError(f"expected an object with kind and metadata, got {str(document)[:60]!r}")
    kind, metadata = str(document.get("kind")), document["metadata"]
    if kind not in _KINDS:
        raise ManifestError(f"kind: the stand-in does {', '.join(_KINDS)}, got {kind!r}")
    version, check = _KINDS[kind]
    if document.get("apiVersion") != version:
        raise ManifestError(f"apiVersion: expected {version} for a {kind}, got {document.get('apiVersion')!r}")
    _scope(kind, metadata)
    try:
        check(document)
    except ManifestError:
        raise
    except (KeyError, TypeError, AttributeError, LookupError, ValueError) as error:
        raise ManifestError(f"{kind} {metadata['name']}: {type(error).__name__}: {error}") from error


def _scope(kind: str, metadata: Object) -> None:
    """A name that can be a file's, and a namespace where the kind has one."""
    wide = kind in _CLUSTER_WIDE
    if wide == ("namespace" in metadata):
        raise ManifestError(f"metadata: expected {'no namespace' if wide else 'a namespace'} for a {kind}")
    for name in (metadata.get("name"), *([] if wide else [metadata["namespace"]])):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ManifestError(f"metadata: expected a name of lower-case letters, digits, '-' and '.', got {name!r}")
