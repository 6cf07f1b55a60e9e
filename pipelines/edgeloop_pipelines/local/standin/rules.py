"""Which rules are in force, after KubeEdge's router: created and deleted, never updated.

- A Rule whose endpoints are not there yet is tried for 30 s, then it is dead until it is created anew.
- A Rule for a node that is not there when the Rule is created never subscribes.
- One topic of a node has one Rule: a later one takes its place, and deleting either forgets the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgeloop_fleet.render import identity

__all__ = ["Down", "RuleTable", "Up", "matching", "updated"]

Object = Mapping[str, Any]
Identity = tuple[str, str, str]
_TRIED_FOR_S = 30.0


@dataclass(frozen=True)
class Up:
    """From a node's topic to a URL. `topic` is the full one, with the namespace."""

    topic: str
    url: str


@dataclass(frozen=True)
class Down:
    """From a path of the router to a node's topic."""

    namespace: str
    path: str
    topic: str


@dataclass(frozen=True)
class _Entry:
    spec: Mapping[str, Any]
    created_s: float
    node_was_there: bool
    route: Up | Down | None = None
    why: str = ""


@dataclass(frozen=True)
class RuleTable:
    """Rules and endpoints as the router has them. `ups` is (topic): rule, `downs` is (namespace, path): rule."""

    endpoints: Mapping[tuple[str, str], str] = field(default_factory=dict)
    entries: Mapping[Identity, _Entry] = field(default_factory=dict)
    ups: Mapping[str, Up] = field(default_factory=dict)
    downs: Mapping[tuple[str, str], Down] = field(default_factory=dict)

    def problems(self) -> dict[str, str]:
        """rule: why it does nothing."""
        return {name: entry.why for (_, _, name), entry in self.entries.items() if entry.why}


def _endpoints(table: RuleTable, found: Iterable[Object]) -> dict[tuple[str, str], str]:
    """The first content of an endpoint stays: updates are ignored."""
    there = {identity(item)[1:]: str(item["spec"]["ruleEndpointType"]) for item in found}
    return {key: table.endpoints.get(key, kind) for key, kind in there.items()}


def _route(spec: Mapping[str, Any], namespace: str, kinds: Mapping[tuple[str, str], str]) -> Up | Down | str:
    """The way a rule makes, or why it makes none."""
    ends = [(end, kinds.get((namespace, spec[end]))) for end in ("source", "target")]
    missing = [f"{end} endpoint {spec[end]} is not there" for end, kind in ends if kind is None]
    if missing:
        return missing[0]
    source, target, kind = spec["sourceResource"], spec["targetResource"], tuple(kind for _, kind in ends)
    try:
        if kind == ("eventbus", "rest"):
            return Up(f"{namespace}/{source['topic']}", target["resource"])
        if kind == ("rest", "eventbus"):
            return Down(namespace, source["path"].strip("/"), target["topic"].rstrip("/"))
    except KeyError as error:
        return f"expected {error} in sourceResource or targetResource"
    return f"from {kind[0]} to {kind[1]} is not supported"


def _created(item: Object, nodes: Iterable[str], now: float) -> _Entry:
    node = item["spec"]["sourceResource"].get("node_name")
    return _Entry(item["spec"], now, node is None or node in set(nodes))


def _settled(entry: _Entry, namespace: str, kinds: Mapping[tuple[str, str], str], now: float) -> _Entry:
    """The entry after one more try to put it in force."""
    if entry.route or (entry.why and now - entry.created_s > _TRIED_FOR_S):
        return entry
    if not entry.node_was_there:
        return replace(entry, why="its node was not there when the rule was created; delete and create it")
    route = _route(entry.spec, namespace, kinds)
    return replace(entry, why=route) if isinstance(route, str) else replace(entry, route=route, why="")


def _removed(table: RuleTable, gone: Iterable[Identity]) -> RuleTable:
    ups, downs = dict(table.ups), dict(table.downs)
    for key in gone:
        route = table.entries[key].route
        if isinstance(route, Up):
            ups.pop(route.topic, None)
        elif isinstance(route, Down):
            downs.pop((route.namespace, route.path), None)
    return replace(table, ups=ups, downs=downs)


def updated(table: RuleTable, objects: Iterable[Object], nodes: Iterable[str], now: float) -> RuleTable:
    """The table after a look at the objects that are there: deletions first, then what is new."""
    found, names = list(objects), list(nodes)
    rules = {identity(item): item for item in found if item["kind"] == "Rule"}
    kinds = _endpoints(table, (item for item in found if item["kind"] == "RuleEndpoint"))
    table = _removed(table, [key for key in table.entries if key not in rules])
    entries = {key: table.entries.get(key) or _created(item, names, now) for key, item in rules.items()}
    settled = {key: _settled(entry, key[1], kinds, now) for key, entry in entries.items()}
    fresh = [entry.route for key, entry in settled.items() if entry.route and not entries[key].route]
    ups = {**table.ups, **{route.topic: route for route in fresh if isinstance(route, Up)}}
    downs = {**table.downs, **{(r.namespace, r.path): r for r in fresh if isinstance(r, Down)}}
    return RuleTable(kinds, settled, ups, downs)


def matching(table: RuleTable, path: str) -> tuple[str, str] | None:
    """Node and topic of a POST to `/<node>/<namespace>/<path>[/rest]`; the rest is appended to the topic. None: no rule."""
    node, _, rest = path.strip("/").partition("/")
    namespace, _, resource = rest.partition("/")
    fitting = [
        down
        for down in table.downs.values()
        if down.namespace == namespace and f"{resource}/".startswith(f"{down.path}/")
    ]
    if not fitting:
        return None
    best = max(fitting, key=lambda down: len(down.path))
    tail = resource[len(best.path) :].strip("/")
    return node, f"{best.topic}/{tail}" if tail else best.topic
