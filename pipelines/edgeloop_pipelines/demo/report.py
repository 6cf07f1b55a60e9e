"""Puts together what the demo found: report.json, report.html and accuracy.svg.

The document is plain JSON; the page and the plot are made from it alone. Pure but for `write`, which replaces files whole.
"""

from __future__ import annotations

import json
import os
import platform as machine_facts
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_components.steps import write_text
from edgeloop_contracts import ModelVersion
from edgeloop_pipelines.demo.answers import Answers
from edgeloop_pipelines.demo.page import accuracy_chart, page
from edgeloop_pipelines.demo.prepared import Prepared

__all__ = ["Findings", "closed", "document", "machine", "seconds_to_serving", "write"]

FILES = ("report.json", "report.html", "accuracy.svg")


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that was seen while the demo ran. Documents are as the fleet service, the runs and the catalog gave them."""

    prepared: Prepared
    answers: Answers
    evaluation: Mapping[str, Any]
    versions: Sequence[ModelVersion]
    nodes: Mapping[str, tuple[str, int | None]]  # node: (group, version that it says it serves)
    runs: Sequence[Mapping[str, Any]]  # results, with `reason`, `by`, `requested_s` and wall times
    rollouts: Sequence[Mapping[str, Any]]
    shipped: Sequence[Mapping[str, Any]]  # version, node, bytes
    timeline: Sequence[Mapping[str, Any]]
    counts_differ: Sequence[str]  # where fleet and stream disagree; empty: nowhere
    data: Mapping[str, Any]
    seconds: Mapping[str, float]
    stand_ins: Sequence[str]
    chaos: Sequence[Mapping[str, Any]] = ()
    requests: Mapping[str, Any] = field(default_factory=dict)


def closed(findings: Findings) -> list[str]:
    """What is missing for the loop to be called closed; nothing when it is.

    Closed: a run that the fleet started by itself, from evidence, made a version that was promoted, and every node serves the
    newest promoted version at the end.
    """
    started = {run["version"] for run in findings.runs if run["cause"] != "manual"}
    promoted = [r["version"] for r in findings.rollouts if r["state"] == "done"]
    missing = []
    if not started & set(promoted):
        missing.append("no version of a run that the fleet started by itself was promoted")
    newest = promoted[-1] if promoted else None
    behind = [node for node, (_, version) in sorted(findings.nodes.items()) if version != newest]
    if behind:
        missing.append(f"nodes that do not serve version {newest}: {', '.join(behind)}")
    return missing


def document(findings: Findings) -> dict[str, Any]:
    """The report as plain JSON values."""
    missing, prepared, answers = closed(findings), findings.prepared, findings.answers
    loop = prepared.document
    return {
        "loop_closed": not missing,
        "missing": missing,
        "loop": loop["metadata"]["name"],
        "data": {**findings.data, "stream_rows": len(prepared.stream), "history_rows": len(prepared.history)},
        "story": list(prepared.story),
        "step": prepared.step_name,
        "accuracy": {arm: findings.evaluation[arm] for arm in ("left_alone", "calendar", "loop")},
        "evaluation": dict(findings.evaluation),
        "versions": [_version(v, answers, findings.rollouts) for v in findings.versions],
        "served": sorted({version for version, _ in answers.sums}),
        "nodes": [{"node": n, "group": g, "version": v} for n, (g, v) in sorted(findings.nodes.items())],
        "runs": list(findings.runs),
        "rollouts": [_rollout(r) for r in findings.rollouts],
        "shipped": list(findings.shipped),
        "seconds_to_serving": seconds_to_serving(findings.runs, findings.timeline),
        "timeline": list(findings.timeline),
        "requests": dict(findings.requests),
        "mass": _mass(answers, findings.counts_differ),
        "chaos": list(findings.chaos),
        "machine": machine(),
        "seconds": {name: round(value, 1) for name, value in findings.seconds.items()},
        "stand_ins": list(findings.stand_ins),
    }


def _version(version: ModelVersion, answers: Answers, rollouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    held_out = next((m for m in version.metrics if m.name == "accuracy" and not m.slice), None)
    return {
        "version": version.number,
        "state": version.state,
        "cause": version.cause,
        "run": version.run_key,
        "promoted": any(r["version"] == version.number and r["state"] == "done" for r in rollouts),
        "held_out_accuracy": None
        if held_out is None
        else {"value": held_out.value, "low": held_out.low, "high": held_out.high},
        "onnx_bytes": version.onnx_size_bytes,
        "rows": sum(part.rows for (number, _), part in answers.sums.items() if number == version.number),
        "gates": [{"gate": g.gate, "passed": g.passed, "expected": g.expected, "got": g.got} for g in version.gates],
    }


def _rollout(rollout: Mapping[str, Any]) -> dict[str, Any]:
    names = ("groups", "state", "started_s", "settled_s", "finished_s", "evidence")
    return {
        "version": rollout["version"],
        "previous": rollout.get("previous"),
        "state": rollout["state"],
        "waves": [{name: wave.get(name) for name in names} for wave in rollout["waves"]],
    }


def _mass(answers: Answers, differ: Sequence[str]) -> dict[str, Any]:
    return {
        "equal": not differ,
        "differences": list(differ),
        "rows": answers.answered,
        "labelled": sum(part.labelled for part in answers.sums.values()),
        "correct": sum(part.correct for part in answers.sums.values()),
        "by_version_and_node": [
            {"version": version, "node": node, **part._asdict()}
            for (version, node), part in sorted(answers.sums.items())
        ],
    }


def seconds_to_serving(
    runs: Sequence[Mapping[str, Any]], timeline: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """For each version that came from evidence to the nodes: wall seconds from it to the run's end, the first nodes, all nodes.

    Soaking passes in stream time, so the last figure holds the time that the stream took in between.
    """
    found = []
    for run in runs:
        settled = [e["wall_s"] for e in timeline if _is_settled(e, run["version"])]
        if run["cause"] == "manual" or not settled:
            continue
        begin_s = run["asked_wall_s"]
        found.append(
            {
                "version": run["version"],
                "run_ended": round(run["ended_wall_s"] - begin_s, 2),
                "first_nodes": round(settled[0] - begin_s, 2),
                "all_nodes": round(settled[-1] - begin_s, 2),
            }
        )
    return found


def _is_settled(event: Mapping[str, Any], version: int) -> bool:
    of_version = event.get("numbers", {}).get("version") == version
    return event["kind"] == "wave" and of_version and "on every node" in event["text"]


def machine() -> dict[str, Any]:
    """What this was run on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processors": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "architecture": machine_facts.machine(),
        "system": machine_facts.system(),
        "python": machine_facts.python_version(),
    }


def write(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Writes the report's three files into `folder`, each of them whole or not at all; gives their paths."""
    texts = (
        json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        page(found),
        accuracy_chart(found),
    )
    paths = [folder / name for name in FILES]
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    return paths
