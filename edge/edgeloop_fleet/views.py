"""What the service shows: status, nodes, and metrics, as plain values read from the store. It changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from edgeloop_contracts import Loop, to_json
from edgeloop_fleet import rollouts
from edgeloop_fleet.service import Fleet

__all__ = ["metrics", "nodes", "status"]


def nodes(fleet: Fleet) -> list[dict[str, Any]]:
    """Each node with what its agent said last, and whether it is in reach."""
    latest_s = time.time() - fleet.settings.node_timeout_s
    return [{**row, "reachable": row["seen_s"] >= latest_s} for row in fleet.store.nodes()]


def _run(run: Any) -> dict[str, Any]:
    names = ("key", "version", "cause", "evidence", "at_s", "started", "why")
    return {name: getattr(run, name) for name in names}


def _loop(fleet: Fleet, loop: Loop, places: list[dict[str, Any]]) -> dict[str, Any]:
    store, name = fleet.store, loop.name
    kept, verdicts, runs = rollouts.listed(store, name), store.verdicts(name), store.runs(name)
    fleet_wide = next((v for v in verdicts if v.scope == "fleet"), None)
    return {
        "loop": name,
        "owner": loop.metadata.owner,
        "serving": store.serving(name),
        "versions": sorted(store.versions(name)),
        "nodes": {p["node"]: [x["version"] for x in p["loaded"] if x["loop"] == name] for p in places},
        "verdict": to_json(fleet_wide) if fleet_wide else None,
        "faulty": [v.scope for v in verdicts if v.scope != "fleet"],
        "rollout": to_json(kept[-1].rollout) if kept else None,
        "last_run": _run(runs[-1]) if runs else None,
        "active_runs": list(fleet.trigger.active(name)),
    }


def status(fleet: Fleet) -> dict[str, Any]:
    """The whole fleet at a glance: each loop's serving version, nodes, last verdict, last rollout, last run."""
    places = nodes(fleet)
    return {
        "now_s": fleet.clock.now_s(),
        "wall_s": time.time(),
        "clock": fleet.settings.clock,
        "loops": [_loop(fleet, loop, places) for loop in fleet.store.loops().values()],
        "nodes": len(places),
        "reachable": sum(place["reachable"] for place in places),
    }


def _label(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _line(name: str, value: float, labels: Mapping[str, str] | None = None) -> str:
    inside = ",".join(f'{key}="{_label(text)}"' for key, text in (labels or {}).items())
    return f"edgeloop_fleet_{name}{{{inside}}} {value:g}" if inside else f"edgeloop_fleet_{name} {value:g}"


def _counters(counts: Counter[str]) -> list[str]:
    lines = []
    for name, value in sorted(counts.items()):
        lines += [f"# TYPE edgeloop_fleet_{name}_total counter", f"edgeloop_fleet_{name}_total {value}"]
    return lines


def _gauges(seen: Mapping[str, Any]) -> list[str]:
    lines = ["# TYPE edgeloop_fleet_nodes gauge", _line("nodes", seen["nodes"])]
    lines += ["# TYPE edgeloop_fleet_nodes_reachable gauge", _line("nodes_reachable", seen["reachable"])]
    lines += ["# TYPE edgeloop_fleet_clock_seconds gauge", f"edgeloop_fleet_clock_seconds {seen['now_s']:.3f}"]
    lines.append("# TYPE edgeloop_fleet_serving_version gauge")
    lines += [_line("serving_version", x["serving"] or 0, {"loop": x["loop"]}) for x in seen["loops"]]
    lines.append("# TYPE edgeloop_fleet_verdict gauge")
    named = [(x["loop"], x["verdict"]["judgement"]) for x in seen["loops"] if x["verdict"]]
    return lines + [_line("verdict", 1, {"loop": loop, "judgement": judgement}) for loop, judgement in named]


def metrics(fleet: Fleet) -> str:
    """The Prometheus text exposition of the service."""
    return "\n".join([*_counters(fleet.metrics), *_gauges(status(fleet)), ""])
