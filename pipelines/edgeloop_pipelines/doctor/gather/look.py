"""Decides what to ask, asks all of it side by side, and puts the answers together; what is not asked is listed with why."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Loop
from edgeloop_pipelines.doctor.facts import Cluster, Facts, Image, Service, Skipped
from edgeloop_pipelines.doctor.gather import services
from edgeloop_pipelines.doctor.gather.bounded import together
from edgeloop_pipelines.doctor.gather.cluster import in_cluster, kubeconfig_files, read_cluster
from edgeloop_pipelines.doctor.gather.folder import read_folder
from edgeloop_pipelines.doctor.objects import by_digest, get, pinned_to_edge

if TYPE_CHECKING:
    from edgeloop_pipelines.submit import Settings

__all__ = ["Wanted", "look"]

PLACEHOLDER = "edgeloop.local"
Probe = Callable[[], Any]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to look at. Empty texts: what the environment and `home` say, else it is not looked at.

    `folder` stands in for a cluster. `timeout_s` is for each service, and for all requests to the cluster together.
    """

    kubeconfig: str = ""
    context: str = ""
    namespace: str = "edgeloop"
    cloud: str = "edgeloop-cloud"
    kubeedge: str = "kubeedge"
    kubeflow: str = "kubeflow"
    folder: Path | None = None
    loops: tuple[Loop, ...] = ()
    kfp: Settings | None = None
    fleet: str = ""
    home: Path = Path(".edgeloop")
    registries: tuple[str, ...] = ()
    write: bool = False
    timeout_s: float = 10.0
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def look(wanted: Wanted) -> Facts:
    """The facts. It raises for nothing that a cluster or a service does."""
    probes: dict[str, Probe] = {}
    skipped: list[Skipped] = []
    for name, planned in (
        ("cluster", _cluster(wanted)),
        ("kfp", _kfp(wanted)),
        ("objects", _objects(wanted)),
        ("fleet", _fleet(wanted)),
    ):
        if isinstance(planned, Skipped):
            skipped.append(planned)
        else:
            probes[name] = planned
    answers = together(probes, wanted.timeout_s + 1.0)
    facts = Facts(
        namespace=wanted.namespace,
        cloud=wanted.cloud,
        kubeedge=wanted.kubeedge,
        kubeflow=wanted.kubeflow,
        loops=wanted.loops,
        skipped=tuple(skipped),
    )
    for name, answer in answers.items():
        facts = _with(facts, wanted, name, answer)
    return _with_registries(_with_remarks(facts), wanted)


def _cluster(wanted: Wanted) -> Probe | Skipped:
    own = wanted.home / "cluster"
    if wanted.folder:
        return lambda: (read_folder(wanted.folder or own), [])
    if wanted.kubeconfig or wanted.context or kubeconfig_files("") or in_cluster():
        return lambda: read_cluster(
            wanted.kubeconfig,
            wanted.context,
            namespaces={
                "ns": wanted.namespace,
                "cloud": wanted.cloud,
                "kubeedge": wanted.kubeedge,
                "kubeflow": wanted.kubeflow,
            },
            timeout_s=wanted.timeout_s,
        )
    if (own / "apply").is_dir():
        return lambda: (read_folder(own), [])
    return Skipped(
        "cluster", "no kubeconfig is here (--kubeconfig, KUBECONFIG, ~/.kube/config), and no --folder is named"
    )


def _kfp(wanted: Wanted) -> Probe | Skipped:
    settings = wanted.kfp
    if settings is None or not settings.host:
        return Skipped("Kubeflow Pipelines", "no host is named: --kfp or KF_PIPELINES_ENDPOINT")
    return lambda: services.ask_kfp(settings)


def _objects(wanted: Wanted) -> Probe | Skipped:
    environment = wanted.environment
    if not (environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")):
        from edgeloop_components.stores.ports import is_locked, read_env

        folder = wanted.home / "objects"
        own = read_env(folder) if is_locked(folder) else None
        if own is None:
            return Skipped("object store", f"AWS_ENDPOINT_URL_S3 is not set, and none runs in {wanted.home}")
        environment = own
    return lambda: services.ask_objects(environment, write=wanted.write)


def _fleet(wanted: Wanted) -> Probe | Skipped:
    if wanted.fleet:
        return lambda: services.ask_fleet(wanted.fleet, wanted.timeout_s)
    from edgeloop_pipelines.cli.status import local_url

    url = local_url(wanted.home)
    if url and _listens(url):
        return lambda: services.ask_fleet(url, wanted.timeout_s)
    return Skipped("fleet service", f"none is named (--fleet or EDGELOOP_FLEET_URL), and none runs in {wanted.home}")


def _listens(url: str) -> bool:
    import socket
    from urllib.parse import urlsplit

    at = urlsplit(url)
    try:
        socket.create_connection((at.hostname or "", at.port or 80), timeout=1).close()
    except OSError:
        return False
    return True


def _with(facts: Facts, wanted: Wanted, name: str, answer: Any) -> Facts:
    """The facts with what one probe gave."""
    if isinstance(answer, Exception):
        if name == "cluster":
            return replace(facts, cluster=Cluster(where=wanted.context or "cluster", away=str(answer)))
        where = {"kfp": wanted.kfp.host if wanted.kfp else "", "fleet": wanted.fleet}.get(name, "")
        return replace(facts, services=(*facts.services, services.late(name, where, answer)))
    if name == "cluster":
        cluster, clocks = answer
        return replace(facts, cluster=cluster, clocks=(*facts.clocks, *clocks))
    if name == "fleet":
        service, clocks, heard = answer
        return replace(facts, services=(*facts.services, service), clocks=(*facts.clocks, *clocks), heard=heard)
    return replace(facts, services=(*facts.services, answer))


def _with_remarks(facts: Facts) -> Facts:
    """What cannot be seen from here, whatever is asked."""
    cluster = facts.cluster
    if cluster is None or cluster.away:
        return facts
    remarks = [] if cluster.live else [Skipped("CloudCore, versions, clocks", f"{cluster.where} holds objects alone")]
    if not cluster.read("nodes") and "nodes" not in cluster.unread:
        remarks.append(Skipped("nodes", f"{cluster.where} has none"))
    if cluster.live:
        remarks.append(Skipped("edgecore.yaml (MetaServer, event bus, service bus)", "it is on the nodes"))
        closed = [name for name in ("secrets", "cloud secrets") if cluster.unread.get(name, (0, ""))[0] == 403]
        remarks += [Skipped(name, "your user may not list them") for name in closed]
        if not cluster.all("leases"):
            remarks.append(Skipped("clocks of nodes", "no lease of a node could be read"))
    if not facts.loops:
        remarks.append(Skipped("loops", "no loop.yaml was named"))
    return replace(facts, skipped=(*facts.skipped, *remarks))


def _with_registries(facts: Facts, wanted: Wanted) -> Facts:
    """Asks each registry for the images that are applied."""
    asked: dict[str, list[str]] = {registry: [] for registry in wanted.registries}
    for image in sorted(set(_images(facts))):
        asked.setdefault(image.partition("/")[0], []).append(image)
    if asked.pop(PLACEHOLDER, None) is not None:
        facts = replace(
            facts, skipped=(*facts.skipped, Skipped(f"registry {PLACEHOLDER}", "it is a name and no registry"))
        )
    elif not asked:
        why = "none is named (--registry), and no image is known by its digest"
        facts = replace(facts, skipped=(*facts.skipped, Skipped("registry", why)))
    probes = {
        registry: lambda registry=registry, names=names: services.ask_registry(registry, names, wanted.timeout_s)
        for registry, names in asked.items()
    }
    for registry, answer in together(probes, wanted.timeout_s + 1.0).items():
        given: tuple[Service, list[Image]] = (
            (services.late("registry", registry, answer), []) if isinstance(answer, Exception) else answer
        )
        facts = replace(facts, services=(*facts.services, given[0]), images=(*facts.images, *given[1]))
    return facts


def _images(facts: Facts) -> Iterator[str]:
    """Images by digest that pods of the edge have in a live cluster. Others are found by the checks of the pods."""
    live = facts.cluster is not None and facts.cluster.live
    for resource in ("deployments", "daemonsets") if live else ():
        for document in facts.objects(resource):
            pod = get(document, "spec", "template", "spec") or {}
            for container in get(pod, "containers") or [] if pinned_to_edge(pod) else ():
                image = str(container.get("image") or "")
                if by_digest(image) and "/" in image:
                    yield image
