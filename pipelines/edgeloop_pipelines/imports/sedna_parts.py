"""The parts of a job that loop.yaml can say: data, training, the gate, causes of runs, nodes and budget.

Each function gives values of loop.yaml and notes in a `Part` where they came from, what is to be looked at, and which values
could not be taken over, with what to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from edgeloop_contracts.loop import METRICS, Platform, Retrain
from edgeloop_contracts.loop import Champion as ChampionOf
from edgeloop_pipelines.imports.documents import Document, get
from edgeloop_pipelines.quantities import quantity

__all__ = [
    "Part",
    "budget",
    "name_of",
    "nodes",
    "number",
    "platform",
    "retraining",
    "source",
    "training",
    "validation",
]

TRAIN, DEPLOY = "spec.trainSpec", "spec.deploySpec"
TRAINER, SERVER = f"{TRAIN}.template.spec.containers[0]", f"{DEPLOY}.template.spec.containers[0]"
PLATFORMS = {"amd64": "linux/amd64", "arm64": "linux/arm64", "arm": "linux/arm/v7", "riscv64": "linux/riscv64"}
ARCH = "kubernetes.io/arch"
OPERATORS = {"gt": ">", ">": ">", "ge": ">=", ">=": ">=", "lt": "<", "<": "<", "le": "<=", "<=": "<="}
SAME = {"accuracy_delta": "accuracy", "precision_delta": "accuracy", "f1_score_delta": "balanced_accuracy"}
MIB = 2**20


@dataclass
class Part:
    """What became of the fields so far. Keys of `mapped` are `Kind path`; of `kept_out`, with the advice, too."""

    mapped: dict[str, str] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    kept_out: dict[str, str] = field(default_factory=dict)

    def take(self, document: Document, path: str, to: str) -> None:
        self.mapped[f"{document.kind} {path}"] = to

    def refuse(self, document: Document, path: str, do: str) -> None:
        self.kept_out[f"{document.kind} {path}"] = do

    def is_mapped(self, document: Document, path: str) -> bool:
        return any(_begins(f"{document.kind} {path}", taken) for taken in self.mapped)

    def advice(self, document: Document, path: str) -> tuple[str, str] | None:
        """The refused field that this path belongs to, and what to do."""
        for refused, do in self.kept_out.items():
            if _begins(f"{document.kind} {path}", refused):
                return refused.partition(" ")[2], do
        return None


def _begins(path: str, beginning: str) -> bool:
    return path == beginning or path.startswith((f"{beginning}.", f"{beginning}["))


def name_of(text: str) -> str:
    """A name as loops and groups have it: lower-case letters, digits and '-', at most 48."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "loop"


def number(value: Any) -> float | None:
    """A finite number, or text that is one."""
    try:
        found = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None
    return found if found is not None and math.isfinite(found) else None


def source(job: Document, dataset: Document | None, part: Part) -> str:
    """`data.source`."""
    name = str(get(job.value, "spec.dataset.name") or "dataset")
    url = get(dataset.value, "spec.url") if dataset else None
    if dataset is None or not isinstance(url, str) or not url:
        part.open["data.source"] = f"the Dataset {name} is in none of the files: say where its rows are"
        return f"s3://edgeloop/{name_of(name)}/"
    part.take(job, "spec.dataset.name", "data.source")
    part.take(dataset, "spec.url", "data.source")
    if get(dataset.value, "spec.format") == "csv":
        part.take(dataset, "spec.format", "data.source")
    else:
        part.refuse(dataset, "spec.format", "edgeloop reads CSV and Parquet with named columns: convert the data")
    if not url.startswith("s3://"):
        part.open["data.source"] = "a path of one node: on a cluster the data must be in S3 (s3://bucket/prefix/)"
    return url


def training(job: Document, part: Part) -> dict[str, Any]:
    """`train`: the script as an entry point, and its environment as parameters."""
    return {"entrypoint": _entrypoint(job, part), "params": _params(job, part)}


def _entrypoint(job: Document, part: Part) -> str:
    for path in (f"{TRAINER}.args", f"{TRAINER}.command"):
        given = get(job.value, path)
        scripts = [word for word in given if isinstance(word, str)] if isinstance(given, list) else []
        module = next((found[1] for word in scripts if (found := re.search(r"([A-Za-z_]\w*)\.py$", word))), "")
        if module:
            part.take(job, path, "train.entrypoint")
            part.open["train.entrypoint"] = (
                f"make {module}.py, beside loop.yaml, a module with fit(features, labels, **params) that gives a "
                "fitted scikit-learn classifier: docs/loop.md"
            )
            return f"{module}:fit"
    part.open["train.entrypoint"] = "no Python script is named there: write a training function (docs/loop.md)"
    return "my_training:fit"


def _params(job: Document, part: Part) -> dict[str, Any]:
    params: dict[str, Any] = {}
    given = get(job.value, f"{TRAINER}.env")
    for index, variable in enumerate(given if isinstance(given, list) else []):
        path, name = f"{TRAINER}.env[{index}]", get(variable, "name")
        value = get(variable, "value")
        if isinstance(name, str) and name.isidentifier() and isinstance(value, (str, int, float)):
            params[name] = _plain(value)
            part.take(job, path, f"train.params.{name}")
        else:
            part.refuse(job, path, "parameters are plain values with Python names; read secrets in the function itself")
    return params


def _plain(value: str | float) -> Any:
    """Text that is a number as that number."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,15}", value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d+\.\d+(e-?\d{1,2})?", value):
        return float(value)
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def validation(job: Document, part: Part) -> dict[str, Any]:
    """`validate`: the share that is held out, and what a new version must show before it is deployed."""
    found: dict[str, Any] = {}
    share = number(get(job.value, "spec.dataset.trainProb"))
    if share is not None and 0.1 <= share <= 0.99:
        part.take(job, "spec.dataset.trainProb", "validate.holdout")
        found["holdout"] = round(1 - share, 6)
    elif get(job.value, "spec.dataset.trainProb") is not None:
        part.refuse(job, "spec.dataset.trainProb", "validate.holdout is from 0.01 to 0.9; 0.2 is taken")
    return {**found, **_gate(job, part)}


def _gate(job: Document, part: Part) -> dict[str, Any]:
    path = f"{DEPLOY}.trigger.condition"
    condition = get(job.value, path)
    metric, threshold = get(condition, "metric"), number(get(condition, "threshold"))
    operator = OPERATORS.get(str(get(condition, "operator")))
    if condition is None:
        return {}
    if metric in SAME and operator in (">", ">=") and threshold is not None and threshold >= 0:
        part.take(job, path, "validate.champion")
        if metric != f"{SAME[metric]}_delta":
            part.open["validate.champion.margin"] = (
                f"there it was {metric}, here it is {SAME[metric]}: is {threshold:g} still what you want?"
            )
        return {"champion": ChampionOf(metric=SAME[metric], margin=threshold)}  # type: ignore[arg-type]
    if metric in METRICS and operator and threshold is not None:
        part.take(job, path, f"validate.require.{metric}")
        return {"require": {metric: f"{operator} {threshold:.6f}".rstrip("0").rstrip(".")}}
    known = ", ".join(METRICS)
    part.refuse(job, path, f"say it with one of {known}: validate.require, or validate.champion for a difference")
    return {}


def retraining(job: Document, part: Part) -> Retrain:
    """`retrain.on`. The number of rows, the period and the hours have no counterpart."""
    path = f"{TRAIN}.trigger"
    metric = get(job.value, f"{path}.condition.metric")
    start = str(get(job.value, f"{path}.timer.start") or "")
    at = re.fullmatch(r"([01]?\d|2[0-3]):([0-5]\d)", start)
    cron = (
        f'retrain: {{on: [schedule], schedule: "{int(at[2])} {int(at[1])} * * *"}} starts runs at {start}; '
        if at
        else ""
    )
    part.refuse(job, f"{path}.timer", f"{cron}loop.yaml has no hours in which runs may start, see cooldown and budget")
    if metric == "num_of_samples":
        part.take(job, f"{path}.condition.metric", "retrain.on")
        do = "nothing counts rows before a run: retrain.cooldown and retrain.budget say how often runs may start"
        part.refuse(job, f"{path}.condition", do)
        part.open["retrain.on"] = (
            "new_data: who delivers data starts the run (edgeloop submit); performance and drift were added, for which the "
            "fleet service starts runs by itself"
        )
        return Retrain(on=("new_data", "performance", "drift"))
    if isinstance(metric, str) and re.match(r"precision|recall|accuracy|f1", metric):
        part.take(job, f"{path}.condition.metric", "retrain.on")
        do = "the judge takes errors for worse when they cannot be chance: monitor.false_alarms says how sure it is"
        part.refuse(job, f"{path}.condition", do)
        return Retrain(on=("performance",))
    part.refuse(job, f"{path}.condition", "retrain.on names causes: performance, drift, new_data, schedule")
    part.open["retrain.on"] = "say what may start a run"
    return Retrain()


def nodes(job: Document, part: Part) -> tuple[str, dict[str, str]]:
    """Group and labels of the target."""
    path = f"{DEPLOY}.template.spec"
    name, selector = get(job.value, f"{path}.nodeName"), get(job.value, f"{path}.nodeSelector")
    if isinstance(name, str) and re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", name):
        part.take(job, f"{path}.nodeName", "targets[0].nodes")
        return name_of(name), {"kubernetes.io/hostname": name}
    if isinstance(selector, Mapping) and selector and all(isinstance(each, str) for each in selector.values()):
        part.take(job, f"{path}.nodeSelector", "targets[0].nodes.labels")
        part.open["targets[0].nodes.group"] = "the group was named after the job"
        return name_of(job.name), dict(selector)
    if name is not None:
        part.refuse(
            job, f"{path}.nodeName", "name the nodes by a label: kubectl label node NODE edgeloop.dev/group=edge"
        )
    part.open["targets[0].nodes.group"] = "no node is named there: label yours with edgeloop.dev/group=edge"
    return "edge", {}


def platform(job: Document, given: str, part: Part) -> Any:
    """The target's platform: as given, by the node selector, else linux/amd64."""
    told = get(job.value, f"{DEPLOY}.template.spec.nodeSelector")
    known = PLATFORMS.get(str(told.get(ARCH)), "") if isinstance(told, Mapping) else ""
    if not given and not known:
        part.open["targets[0].platform"] = "it is not said there: linux/amd64 is taken (--platform)"
    return given or known or get_args(Platform)[0]


def budget(job: Document, part: Part) -> Any:
    """The target's budget, by the limits of the serving container."""
    found: dict[str, float] = {}
    for name, resource, unit, least in (("memory_mib", "memory", MIB, 4.0), ("cpu_m", "cpu", 0.001, 10.0)):
        path = f"{SERVER}.resources.limits.{resource}"
        given = get(job.value, path)
        amount = quantity(given)
        if amount is not None and least <= amount / unit < 1e9:
            part.take(job, path, f"targets[0].budget.{name}")
            found[name] = round(amount / unit, 3)
        elif given is not None:
            part.refuse(job, path, f"targets[0].budget.{name} is {least:g} or more: say what the node can spare")
    return found
