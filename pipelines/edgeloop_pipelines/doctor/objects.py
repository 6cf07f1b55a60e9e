"""Questions to raw Kubernetes objects: names, labels, quantities, which nodes a selector takes, what an image is pinned to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeloop_fleet.render.values import EDGE_ROLE
from edgeloop_pipelines.doctor.facts import Facts

__all__ = [
    "by_digest",
    "edge_nodes",
    "fits",
    "fitting",
    "get",
    "is_ready",
    "labels_of",
    "name_of",
    "owned_by_application",
    "pinned_to_edge",
    "reaches",
    "subject",
    "version_in",
]

Object = Mapping[str, Any]


def get(document: Any, *path: str | int) -> Any:
    """The value at a path; None where anything on the way is missing."""
    for step in path:
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and len(document) > step else None
        else:
            document = document.get(step) if isinstance(document, Mapping) else None
    return document


def name_of(document: Object) -> str:
    return str(get(document, "metadata", "name") or "")


def labels_of(document: Object) -> Mapping[str, str]:
    return get(document, "metadata", "labels") or {}


def subject(document: Object) -> str:
    """`Kind name`, as findings name objects."""
    return f"{document.get('kind', 'object')} {name_of(document)}"


def version_in(text: str) -> tuple[int, int, int] | None:
    """The first version `1.23.0` in a text; what follows it (`-98+g16cd`) is left out."""
    found = re.search(r"v?(\d+)\.(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def edge_nodes(facts: Facts) -> list[Object]:
    return [node for node in facts.objects("nodes") if EDGE_ROLE in labels_of(node)]


def is_ready(node: Object) -> bool:
    """Whether the node's Ready condition is True. A node without conditions was written by hand: it counts as ready."""
    conditions = get(node, "status", "conditions") or []
    return all(each.get("status") == "True" for each in conditions if each.get("type") == "Ready")


def fits(node: Object, selector: Mapping[str, str]) -> bool:
    return all(labels_of(node).get(key) == value for key, value in selector.items())


def fitting(nodes: Sequence[Object], selector: Mapping[str, str]) -> list[Object]:
    return [node for node in nodes if fits(node, selector)]


def by_digest(image: str) -> bool:
    return re.search(r"@sha256:[0-9a-f]{64}$", image) is not None


def owned_by_application(document: Object) -> bool:
    """Whether KubeEdge made the object out of an EdgeApplication, which is looked at in its place."""
    return any(owner.get("kind") == "EdgeApplication" for owner in get(document, "metadata", "ownerReferences") or [])


def _terms(pod: Object) -> list[Object]:
    required = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
    return get(pod, *required) or []


def pinned_to_edge(pod: Object) -> bool:
    """Whether the pod spec asks for edge nodes: by their role, or by a label of edgeloop's or KubeEdge's groups."""
    wanted = set(get(pod, "nodeSelector") or {})
    for term in _terms(pod):
        wanted |= {each["key"] for each in term.get("matchExpressions") or [] if each["operator"] in ("Exists", "In")}
    marks = ("edgeloop.dev/group", "apps.kubeedge.io/belonging-to")
    return any(key == EDGE_ROLE or key in marks for key in wanted)


def reaches(pod: Object, node: Object) -> bool:
    """Whether the scheduler may put the pod on the node, as far as selectors, required affinity and taints say."""
    terms = _terms(pod)
    if not fits(node, get(pod, "nodeSelector") or {}) or (terms and not any(_met(term, node) for term in terms)):
        return False
    taints = [t for t in get(node, "spec", "taints") or [] if t.get("effect") in ("NoSchedule", "NoExecute")]
    return all(any(_tolerates(each, taint) for each in get(pod, "tolerations") or []) for taint in taints)


def _met(term: Object, node: Object) -> bool:
    return all(_matches(each, labels_of(node)) for each in term.get("matchExpressions") or [])


def _matches(expression: Object, marks: Mapping[str, str]) -> bool:
    value, values = marks.get(expression["key"]), expression.get("values") or []
    answers = {
        "Exists": value is not None,
        "DoesNotExist": value is None,
        "In": value in values,
        "NotIn": value not in values,
    }
    return answers.get(expression["operator"], True)


def _tolerates(toleration: Object, taint: Object) -> bool:
    key = toleration.get("key") in (None, "", taint.get("key"))
    effect = toleration.get("effect") in (None, "", taint.get("effect"))
    exists = toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")
    return key and effect and exists


def containers_of(pod: Object) -> Iterator[Object]:
    yield from get(pod, "initContainers") or []
    yield from get(pod, "containers") or []
