"""The stand-in's rules in force, as KubeEdge's router has them."""

from __future__ import annotations

from typing import Any

from edgeloop_pipelines.local.standin import rules


def endpoint(name: str, kind: str) -> dict[str, Any]:
    return {"kind": "RuleEndpoint", "metadata": {"namespace": "ns", "name": name}, "spec": {"ruleEndpointType": kind}}


def up(name: str, url: str = "http://t/x", node: str = "n1") -> dict[str, Any]:
    source = {"topic": f"reports/{node}", "node_name": node}
    spec = {"source": "bus", "sourceResource": source, "target": "rest", "targetResource": {"resource": url}}
    return {"kind": "Rule", "metadata": {"namespace": "ns", "name": name}, "spec": spec}


ENDS = [endpoint("bus", "eventbus"), endpoint("rest", "rest")]


def urls(table: rules.RuleTable) -> dict[str, str]:
    return {topic: rule.url for topic, rule in table.ups.items()}


def test_a_rule_waits_for_its_endpoint_half_a_minute() -> None:
    """An endpoint that comes within 30 s puts the rule in force; later it is dead until it is created anew."""
    first = rules.updated(rules.RuleTable(), [up("r")], ["n1"], 0.0)
    assert "source endpoint bus is not there" in first.problems()["r"]
    assert urls(rules.updated(first, [*ENDS, up("r")], ["n1"], 29.0)) == {"ns/reports/n1": "http://t/x"}
    late = rules.updated(first, [*ENDS, up("r")], ["n1"], 31.0)
    assert urls(late) == {}
    anew = rules.updated(rules.updated(late, ENDS, ["n1"], 32.0), [*ENDS, up("r")], ["n1"], 33.0)
    assert urls(anew) == {"ns/reports/n1": "http://t/x"}


def test_a_rule_for_a_node_that_is_not_there_never_subscribes() -> None:
    """Not even when the node comes: as observed. The reason is said."""
    table = rules.updated(rules.RuleTable(), [*ENDS, up("r")], [], 0.0)
    table = rules.updated(table, [*ENDS, up("r")], ["n1"], 1.0)
    assert urls(table) == {}
    assert "was not there when the rule was created" in table.problems()["r"]


def test_updates_are_ignored_and_deleting_forgets_the_topic() -> None:
    """Changed content of a name changes nothing. Deleting the old rule after the new one takes the topic with it; a deletion
    seen together with a creation comes first, which is how edgeloop replaces rules."""
    table = rules.updated(rules.RuleTable(), [*ENDS, up("a")], ["n1"], 0.0)
    assert urls(rules.updated(table, [*ENDS, up("a", "http://t/new")], ["n1"], 1.0)) == {"ns/reports/n1": "http://t/x"}
    both = rules.updated(table, [*ENDS, up("a"), up("b", "http://t/b")], ["n1"], 1.0)
    assert urls(both) == {"ns/reports/n1": "http://t/b"}
    assert urls(rules.updated(both, [*ENDS, up("b", "http://t/b")], ["n1"], 2.0)) == {}
    assert urls(rules.updated(table, [*ENDS, up("b", "http://t/b")], ["n1"], 1.0)) == {"ns/reports/n1": "http://t/b"}


def test_the_router_appends_the_rest_of_the_path() -> None:
    """Whole path parts only, the longest rule first; other namespaces and paths have no rule."""
    downs = {("ns", path): rules.Down("ns", path, topic) for path, topic in (("acks", "acks"), ("acks/x", "special"))}
    table = rules.RuleTable(downs=downs)
    assert rules.matching(table, "/n1/ns/acks/n1") == ("n1", "acks/n1")
    assert rules.matching(table, "/n1/ns/acks") == ("n1", "acks")
    assert rules.matching(table, "/n1/ns/acks/x/y") == ("n1", "special/y")
    assert rules.matching(table, "/n1/ns/ackss") is None
    assert rules.matching(table, "/n1/other/acks") is None
    assert rules.matching(table, "/") is None
