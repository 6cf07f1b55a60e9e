"""Reads a cluster through the Kubernetes client: lists only, raw documents, a time limit for each request and for all.

What may not be read, or is not known to the API server, is put down with its status; nothing is written to the cluster.
"""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from edgeloop_pipelines.doctor.facts import Clock, Cluster
from edgeloop_pipelines.doctor.objects import get, is_ready, name_of

__all__ = ["RESOURCES", "kubeconfig_files", "read_cluster"]

PAGE = 500
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"  # no content leaves the API server
NAMED = ("Secret",)
CONNECT_S = 3.0
LEASE_S = 60.0  # how old the lease of a ready node may be: renewed every 10 s, and carried over a slow link
AHEAD_S = 5.0  # how far it may lie ahead
LEASES = "kube-node-lease"

RESOURCES: Mapping[str, tuple[str, str]] = {  # resource: path, kind; {ns} and the like are namespaces
    "nodes": ("/api/v1/nodes", "Node"),
    "nodegroups": ("/apis/apps.kubeedge.io/v1alpha1/nodegroups", "NodeGroup"),
    "edgeapplications": ("/apis/apps.kubeedge.io/v1alpha1/namespaces/{ns}/edgeapplications", "EdgeApplication"),
    "imageprepulljobs": ("/apis/operations.kubeedge.io/v1alpha2/imageprepulljobs", "ImagePrePullJob"),
    "rules": ("/apis/rules.kubeedge.io/v1/namespaces/{ns}/rules", "Rule"),
    "ruleendpoints": ("/apis/rules.kubeedge.io/v1/namespaces/{ns}/ruleendpoints", "RuleEndpoint"),
    "modelrollouts": ("/apis/edgeloop.dev/v1alpha1/namespaces/{ns}/modelrollouts", "ModelRollout"),
    "deployments": ("/apis/apps/v1/namespaces/{ns}/deployments", "Deployment"),
    "daemonsets": ("/apis/apps/v1/namespaces/{ns}/daemonsets", "DaemonSet"),
    "cloud deployments": ("/apis/apps/v1/namespaces/{cloud}/deployments", "Deployment"),
    "cloud statefulsets": ("/apis/apps/v1/namespaces/{cloud}/statefulsets", "StatefulSet"),
    "kubeflow deployments": ("/apis/apps/v1/namespaces/{kubeflow}/deployments", "Deployment"),
    "secrets": ("/api/v1/namespaces/{ns}/secrets", "Secret"),
    "configmaps": ("/api/v1/namespaces/{ns}/configmaps", "ConfigMap"),
    "cloud secrets": ("/api/v1/namespaces/{cloud}/secrets", "Secret"),
    "cloud configmaps": ("/api/v1/namespaces/{cloud}/configmaps", "ConfigMap"),
    "serviceaccounts": ("/api/v1/namespaces/{ns}/serviceaccounts", "ServiceAccount"),
    "kubeedge deployments": ("/apis/apps/v1/namespaces/{kubeedge}/deployments", "Deployment"),
    "cloudcore config": ("/api/v1/namespaces/{kubeedge}/configmaps/cloudcore", "ConfigMap"),
    "leases": (f"/apis/coordination.k8s.io/v1/namespaces/{LEASES}/leases", "Lease"),
}


def kubeconfig_files(given: str) -> list[Path]:
    """The kubeconfig files that there are: the given one, else those of KUBECONFIG, else ~/.kube/config."""
    listed = given or os.environ.get("KUBECONFIG") or "~/.kube/config"
    paths = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
    return [path for path in paths if path.is_file()]


def in_cluster() -> bool:
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST"))


def read_cluster(
    kubeconfig: str, context: str, *, namespaces: Mapping[str, str], timeout_s: float
) -> tuple[Cluster, list[Clock]]:
    """All that the checks ask of a cluster, and its clocks. Never raises for what the cluster does.

    `namespaces` gives the names of `ns`, `cloud`, `kubeedge` and `kubeflow` in the paths.
    """
    where = f"context {context}" if context else "cluster"
    try:
        client, where = _client(kubeconfig, context)
        reader = _Reader(client, time.monotonic() + timeout_s, timeout_s)
        version, clocks = reader.version()
    except Exception as error:
        return Cluster(where=where, away=_said(error)[1]), []
    objects: dict[str, list[Mapping[str, Any]]] = {}
    unread: dict[str, tuple[int, str]] = {}
    for resource, (path, kind) in RESOURCES.items():
        try:
            objects[resource] = list(reader.documents(path.format(**namespaces), kind))
        except Exception as error:
            unread[resource] = _said(error)
    clocks += _node_clocks(objects, reader.ahead_s)
    return Cluster(where=where, version=version, objects=objects, unread=unread), clocks


def _client(kubeconfig: str, context: str) -> tuple[Any, str]:
    """An API client that asks once, and what to call the cluster."""
    from kubernetes import client, config

    settings = client.Configuration()
    if not kubeconfig and not kubeconfig_files("") and in_cluster():
        config.load_incluster_config(client_configuration=settings)
        where = "this cluster"
    else:
        config.load_kube_config(kubeconfig or None, context or None, client_configuration=settings)
        active = config.list_kube_config_contexts(kubeconfig or None)[1]["name"]
        where = f"context {context or active}"
    settings.retries = False
    return client.ApiClient(settings), where


class _Reader:
    """GET requests to one API server. `ahead_s`: by how much its clock is ahead of ours."""

    def __init__(self, client: Any, end_s: float, timeout_s: float) -> None:
        self._client, self._end_s, self._timeout_s = client, end_s, timeout_s
        self.ahead_s = 0.0

    def version(self) -> tuple[str, list[Clock]]:
        """Its version, and its clock."""
        sent_s = time.time()
        document, headers = self.get("/version")
        ours_s = (sent_s + time.time()) / 2
        theirs = email.utils.parsedate_to_datetime(headers["Date"]) if headers.get("Date") else None
        clocks = []
        if theirs is not None:
            self.ahead_s = theirs.timestamp() + 0.5 - ours_s  # the header leaves out what is less than a second
            clocks = [Clock("API server", ours_s + self.ahead_s, ours_s, 1.0 + time.time() - sent_s)]
        return str(get(document, "gitVersion") or ""), clocks

    def get(self, path: str, accept: str = "application/json", **query: str) -> tuple[Any, Mapping[str, str]]:
        left_s = self._end_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(f"no answer within {self._timeout_s:g} s for all requests together")
        document, _, headers = self._client.call_api(
            path,
            "GET",
            query_params=list(query.items()),
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
            response_type="object",
            _request_timeout=(min(CONNECT_S, left_s), left_s),
        )
        return document, headers

    def documents(self, path: str, kind: str) -> Iterator[Mapping[str, Any]]:
        """The documents of a list, page by page, or the one document at the path."""
        query = {"limit": str(PAGE)}
        while True:
            document, _ = self.get(path, NAMES_ONLY if kind in NAMED else "application/json", **query)
            items = document.get("items") if isinstance(document, dict) and "items" in document else [document]
            yield from ({**item, "kind": kind} for item in items or [] if isinstance(item, dict))
            more = get(document, "metadata", "continue")
            if not more:
                return
            query = {"limit": str(PAGE), "continue": str(more)}


def _node_clocks(objects: Mapping[str, list[Mapping[str, Any]]], ahead_s: float) -> Iterator[Clock]:
    """Clocks of ready nodes, by the moment at which each says that it renewed its lease, against the API server's."""
    ready = {name_of(node) for node in objects.get("nodes", []) if is_ready(node)}
    for lease in objects.get("leases", []):
        renewed = get(lease, "spec", "renewTime")
        if renewed and name_of(lease) in ready:
            try:
                theirs_s = datetime.fromisoformat(str(renewed)).timestamp()
            except ValueError:
                continue
            now_s = time.time() + ahead_s
            yield Clock(f"Node {name_of(lease)}", theirs_s, now_s, AHEAD_S if theirs_s > now_s else LEASE_S)


def _said(error: Exception) -> tuple[int, str]:
    """HTTP status (0: none) and one line of what went wrong."""
    status = int(getattr(error, "status", 0) or 0)
    reason = getattr(error, "reason", None)
    text = f"{status} {reason}" if status else " ".join(str(reason or error or type(error).__name__).split())
    return status, text[:300]
