"""Rules of KubeEdge's router: it ignores updates, knows no wildcards, and forgets what was made too early."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from edgeloop_fleet.render.labels import MANAGED_BY, NAME, hashed_name
from edgeloop_fleet.render.rules import REPORTS
from edgeloop_pipelines.doctor.checks.groups import groups_of_nodes
from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import SEEN, Check, Hit, Object
from edgeloop_pipelines.doctor.objects import edge_nodes, get, is_ready, labels_of, name_of, subject

__all__ = ["CHECKS"]

RENDER = "edgeloop render the loop again, delete what it names as superseded, and apply what it writes"


def _made(document: Object) -> str:
    return str(get(document, "metadata", "creationTimestamp") or "")


def _node(rule: Object) -> str:
    return str(get(rule, "spec", "sourceResource", "node_name") or "")


def _topic(rule: Object) -> str:
    return str(get(rule, "spec", "sourceResource", "topic") or "")


def _from_bus(rule: Object, facts: Facts) -> bool:
    kinds = {name_of(each): get(each, "spec", "ruleEndpointType") for each in facts.objects("ruleendpoints")}
    return kinds.get(str(get(rule, "spec", "source"))) == "eventbus"


def _name(facts: Facts) -> Iterator[Hit]:
    for rule in (*facts.objects("rules"), *facts.objects("ruleendpoints")):
        if labels_of(rule).get(MANAGED_BY) != "edgeloop":
            continue
        content = {"namespace": get(rule, "metadata", "namespace"), **(rule.get("spec") or {})}
        wanted = hashed_name(labels_of(rule).get(NAME) or "rule", content)
        if name_of(rule) != wanted:
            what = f"its content has the name {wanted}: it was edited, and KubeEdge still does what it said before"
            yield Hit(subject(rule), what, f"delete it; {RENDER}")


def _endpoints(facts: Facts) -> Iterator[Hit]:
    ends = {name_of(each): each for each in facts.objects("ruleendpoints")}
    for rule in facts.objects("rules") if facts.read("ruleendpoints") else ():
        for side in ("source", "target"):
            name = str(get(rule, "spec", side) or "")
            if name not in ends:
                yield Hit(subject(rule), f"{side} {name}: there is no such RuleEndpoint", RENDER)
            elif _made(ends[name]) > _made(rule) > "":
                what = f"{side} {name} was made after it"
                yield Hit(subject(rule), what, "delete the Rule and apply it again")


def _nodes(facts: Facts) -> Iterator[Hit]:
    nodes = {name_of(node): node for node in facts.objects("nodes")}
    for rule in facts.objects("rules") if facts.read("nodes") else ():
        name = _node(rule)
        if not name and _from_bus(rule, facts):
            yield Hit(subject(rule), "takes from the event bus and names no node", "one Rule a node: set node_name")
        elif name and name not in nodes:
            yield Hit(subject(rule), f"there is no node {name}", "delete the Rule")
        elif name and _made(nodes[name]) > _made(rule) > "":
            what = f"was made before the node {name} had joined"
            yield Hit(subject(rule), what, "delete the Rule and apply it again")


def _wildcards(facts: Facts) -> Iterator[Hit]:
    for rule in facts.objects("rules"):
        if any(mark in _topic(rule) for mark in "+#"):
            yield Hit(subject(rule), f"its topic is {_topic(rule)}", "one Rule a topic, without + and #")


def _twice(facts: Facts) -> Iterator[Hit]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for rule in facts.objects("rules"):
        if _topic(rule):
            found[_node(rule), _topic(rule)].append(name_of(rule))
    for (node, topic), names in found.items():
        if len(names) > 1:
            what = f"{', '.join(names)} all carry {topic} of {node}"
            yield Hit("Rules", what, "delete all of them, then apply the newest again")


def _silent(facts: Facts) -> Iterator[Hit]:
    """A node of a group without a Rule for its reports, where other nodes have one."""
    carried = {_node(rule) for rule in facts.objects("rules") if _topic(rule).startswith(f"{REPORTS}/")}
    groups = groups_of_nodes(facts)
    for node in edge_nodes(facts) if carried else ():
        if name_of(node) not in carried and groups[name_of(node)] and is_ready(node):
            yield Hit(subject(node), "is up, and no Rule carries its reports", RENDER)


CHECKS = (
    Check(
        "rule-edited", "error", "a Rule or RuleEndpoint was edited in place", "KubeEdge ignores updates of both",
        f"KubeEdge, edgecontroller/controller/downstream.go:281; {SEEN}", _name,
    ),
    Check(
        "rule-endpoint", "error", "a Rule's endpoint is missing, or younger than the Rule",
        "the endpoint must be there when the Rule is made", SEEN, _endpoints,
    ),
    Check(
        "rule-node", "error", "a Rule names no node, an unknown one, or one that joined later",
        "a Rule made before its node has connected never subscribes at the edge",
        f"KubeEdge, router/provider/eventbus/eventbus.go; {SEEN}", _nodes,
    ),
    Check(
        "rule-wildcard", "error", "a Rule's topic has a wildcard", "wildcards do not work: nothing arrives", SEEN,
        _wildcards,
    ),
    Check(
        "rule-twice", "error", "two Rules carry one topic of a node",
        "reports arrive twice, and deleting one of the Rules silences the topic", SEEN, _twice,
    ),
    Check(
        "rule-missing", "warning", "a node that is up has no Rule for its reports",
        "what it publishes stays there; a node that joined after rendering gets its Rule at the next one", SEEN, _silent,
    ),
)  # fmt: skip
