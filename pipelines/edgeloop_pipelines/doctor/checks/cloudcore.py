"""The switches of CloudCore, as its ConfigMap has them. What the file leaves out has KubeEdge's default, which is off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import SEEN, Check, Hit, plural
from edgeloop_pipelines.doctor.objects import edge_nodes, get

__all__ = ["CHECKS"]

NODE_LIMIT = 500  # where the file does not say


def _config(facts: Facts) -> Mapping[str, Any] | None:
    """cloudcore.yaml; None where it is not known, {} where it cannot be read as YAML."""
    import yaml

    found = facts.objects("cloudcore config")
    if not found:
        return None
    try:
        document = yaml.safe_load(get(found[0], "data", "cloudcore.yaml") or "")
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def _restart(facts: Facts) -> str:
    return f"then: kubectl -n {facts.kubeedge} rollout restart deployment cloudcore"


def _switch(module: str, needed: Callable[[Facts], bool], facts: Facts) -> Iterator[Hit]:
    config = _config(facts)
    if config and get(config, "modules", module, "enable") is not True and needed(facts):
        fix = f"set modules.{module}.enable: true in ConfigMap {facts.kubeedge}/cloudcore, {_restart(facts)}"
        yield Hit("CloudCore", f"modules.{module} is off", fix)


def _always(_: Facts) -> bool:
    return True


def _mqtt(facts: Facts) -> bool:
    """Whether reports travel over the router: by the agent's arguments; a cluster without an agent counts as such."""
    agents = [each for each in facts.objects("daemonsets") if get(each, "metadata", "name") == "agent"]
    arguments = [get(each, "spec", "template", "spec", "containers", 0, "args") or [] for each in agents]
    return not arguments or any("--mqtt" in each for each in arguments)


def _unknown(facts: Facts) -> Iterator[Hit]:
    unread = facts.cluster.unread.get("cloudcore config") if facts.cluster and not facts.cluster.away else None
    if (unread and unread[0] == 404) or _config(facts) == {}:
        what = f"there is no readable cloudcore.yaml in ConfigMap {facts.kubeedge}/cloudcore"
        fix = (
            "say KubeEdge's namespace with --kubeedge; if CloudCore runs outside the cluster, look at its file yourself"
        )
        yield Hit("CloudCore", what, fix)


def _limit(facts: Facts) -> Iterator[Hit]:
    config, count = _config(facts), len(edge_nodes(facts))
    limit = get(config, "modules", "cloudHub", "nodeLimit") if config else None
    most = int(str(limit)) if str(limit).isdigit() else NODE_LIMIT
    if config and count > most:
        what = f"modules.cloudHub.nodeLimit is {most}{'' if limit else ' by default'}, the cluster has "
        fix = f"set nodeLimit to {count * 3 // 2} or more ({_restart(facts)}), or run more CloudCores"
        yield Hit("CloudCore", what + plural(count, "edge node"), fix)


OFF = f"KubeEdge, cloudcore default.go; {SEEN}"

CHECKS = (
    Check(
        "cloudcore-unknown", "warning", "CloudCore's settings cannot be read", "its switches were not checked",
        "KubeEdge, manifests/charts/cloudcore", _unknown,
    ),
    Check(
        "router-off", "error", "CloudCore's router is off, and reports travel over MQTT",
        "Rules do nothing without it: no report leaves a node, no acknowledgement arrives", OFF,
        partial(_switch, "router", _mqtt),
    ),
    Check(
        "task-manager-off", "error", "CloudCore's task manager is off",
        "ImagePrePullJobs stay as they are, so images are pulled only when a server starts",
        f"KubeEdge, docs/advanced/image-prepull; {OFF}", partial(_switch, "taskManager", _always),
    ),
    Check(
        "dynamic-controller-off", "warning", "CloudCore's dynamic controller is off",
        "MetaServer, the nodes' own Kubernetes API, asks it for whatever is not on the node yet",
        f"KubeEdge, docs/advanced/inclusterconfig, metaserver storage.go; {OFF}", partial(_switch, "dynamicController", _always),
    ),
    Check(
        "node-limit", "error", "there are more edge nodes than CloudCore takes",
        "a node above the limit is not let in, and the number of CloudCore's workers follows the limit",
        "KubeEdge, cloudcore default.go and constants/default.go", _limit,
    ),
)  # fmt: skip
