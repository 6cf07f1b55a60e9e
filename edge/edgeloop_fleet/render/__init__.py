"""Renders a loop and its packages as Kubernetes and KubeEdge objects: plain values in, plain dicts out.

`render_loop` gives all that a loop needs on a cluster, in an order in which it can be applied. It talks to no cluster; files
are written by `files`, clusters are spoken to by `edgeloop_fleet.clusters`. It puts nothing but checked names into objects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeloop_contracts import Loop, Package, Target
from edgeloop_fleet.render.agent import agent_daemon_set
from edgeloop_fleet.render.boards import board_objects
from edgeloop_fleet.render.fits import check_packages
from edgeloop_fleet.render.groups import image_of, node_group, prepull_job
from edgeloop_fleet.render.labels import GROUP, LOOP, MANAGED_BY, application_name, deployment_name, group_labels
from edgeloop_fleet.render.rules import endpoints, rules
from edgeloop_fleet.render.values import AGENT_IMAGE, Node, RenderError, Settings, members, node_of
from edgeloop_fleet.render.workload import edge_application

__all__ = [
    "AGENT_IMAGE",
    "Node",
    "RenderError",
    "Settings",
    "application_name",
    "deployment_name",
    "identity",
    "node_of",
    "render_loop",
    "render_platform",
    "superseded",
]

Object = dict[str, Any]
Identity = tuple[str, str, str]  # kind, namespace, name
_NAMED_BY_CONTENT = ("Rule", "RuleEndpoint", "ImagePrePullJob")


def identity(document: Mapping[str, Any]) -> Identity:
    """Kind, namespace ('' for an object without one) and name."""
    metadata = document["metadata"]
    return str(document["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


def render_platform(nodes: Sequence[Node], settings: Settings) -> list[Object]:
    """What all loops share: the agent, and with MQTT the rules of the given nodes."""
    routes = [*endpoints(settings), *rules(nodes, settings)] if settings.transport == "mqtt" else []
    return [*routes, agent_daemon_set(settings)]


def _checked_groups(loop: Loop, packages: Mapping[str, Package]) -> dict[str, Target]:
    targets = {target.nodes.group: target for target in loop.targets}
    unknown = [group for group in packages if group not in targets]
    if unknown:
        known = ", ".join(targets)
        raise RenderError(
            f"loop {loop.name}: expected packages for its groups ({known}), got one for {', '.join(unknown)}"
        )
    wrong = [f"{package.loop} for {group}" for group, package in packages.items() if package.loop != loop.name]
    if wrong:
        raise RenderError(f"loop {loop.name}: expected packages of this loop, got one of {', '.join(wrong)}")
    return targets


def _jobs(
    loop: str, packages: Mapping[str, Package], by_group: Mapping[str, Sequence[Node]], settings: Settings
) -> list[Object]:
    return [
        prepull_job(loop, group, image_of(package, settings, group), by_group[group])
        for group, package in packages.items()
    ]


def render_loop(loop: Loop, packages: Mapping[str, Package], nodes: Iterable[Node], settings: Settings) -> list[Object]:
    """All objects of a loop: its node groups, what all loops share, and for the groups with a package image and server.

    `packages` is group: package; a group left out gets no server. `nodes` are all nodes that are known. RenderError when
    the values do not go together, a package may not go to its group (fits.py), or a text cannot stand in an object.
    """
    targets = _checked_groups(loop, packages)
    check_packages(targets, packages, settings)
    known = tuple(nodes)
    by_group = {group: members(known, group_labels(target)) for group, target in targets.items()}
    mine = sorted({node.name: node for group in by_group.values() for node in group}.items())
    ordered = {group: packages[group] for group in targets if group in packages}
    replicas = {group: len(by_group[group]) for group in ordered}
    objects = [
        *(node_group(target) for target in targets.values()),
        *render_platform([node for _, node in mine], settings),
        *_jobs(loop.name, ordered, by_group, settings),
        *board_objects(loop.name, targets, by_group, settings),
        *([edge_application(loop.name, ordered, replicas, settings, targets)] if ordered else []),
    ]
    return [
        json.loads(json.dumps(document)) for document in objects
    ]  # no part is shared: a caller may change one place


def _subject(document: Mapping[str, Any]) -> tuple[Any, ...]:
    """What an object named by its content is about: of two with one subject, one is out of date."""
    spec, marks = document.get("spec") or {}, document["metadata"].get("labels") or {}
    source = spec.get("sourceResource") or {}
    about = (source.get("topic"), source.get("node_name"), source.get("path"), spec.get("ruleEndpointType"))
    return (*identity(document)[:2], *about, marks.get(LOOP), marks.get(GROUP))


def superseded(existing: Iterable[Mapping[str, Any]], rendered: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of the existing objects those that a rendered one with another name replaces. Delete them before applying.

    Only edgeloop's own objects whose names are hashes of their content; an object of anybody else is never named.
    """
    fresh = [document for document in rendered if document["kind"] in _NAMED_BY_CONTENT]
    names, subjects = {identity(document) for document in fresh}, {_subject(document) for document in fresh}
    return [
        document
        for document in existing
        if document.get("kind") in _NAMED_BY_CONTENT
        and (document["metadata"].get("labels") or {}).get(MANAGED_BY) == "edgeloop"
        and identity(document) not in names
        and _subject(document) in subjects
    ]
