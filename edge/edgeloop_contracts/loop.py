"""The Loop: all that a person says of one model's life, as loop.yaml holds it (design, `loop.yaml`)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from edgeloop_contracts import units
from edgeloop_contracts.artifacts import DIGEST
from edgeloop_contracts.codec import Contract, Problem, option
from edgeloop_contracts.processors import SETS_OF

__all__ = [
    "DEMAND_PER_S",
    "THREADED",
    "Budget",
    "Capabilities",
    "Champion",
    "DataSource",
    "Fpga",
    "Loop",
    "LoopMetadata",
    "Monitor",
    "NodeSelector",
    "Offline",
    "Retrain",
    "RolloutPolicy",
    "RuntimeName",
    "Target",
    "Train",
    "Validate",
    "groups_of",
    "inconsistencies",
]

NAME = r"[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?"
NAME_FORM = "a name of lower-case letters, digits and '-' (at most 48: run keys and Kubernetes names are made of it)"
RuntimeName = Literal["onnxruntime", "native", "fpga", "fpga-sim"]
THREADED: tuple[RuntimeName, ...] = (
    "onnxruntime",
)  # whose servers can be told their number of threads; others have one
DEMAND_PER_S = 50.0  # requests that CPU is planned for where a budget does not say
Platform = Literal["linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"]
CauseName = Literal["performance", "drift", "new_data", "schedule", "manual"]


def _name(default: Any = None, doc: str = "") -> Any:
    return (
        option(default, doc=doc, pattern=NAME, form=NAME_FORM)
        if default is not None
        else option(doc=doc, pattern=NAME, form=NAME_FORM)
    )


def _duration(default: str, doc: str) -> Any:
    return option(default, doc=doc, pattern=units.DURATION, form=units.DURATION_FORM)


@dataclass(frozen=True, kw_only=True)
class LoopMetadata(Contract):
    """Who the loop is."""

    name: str = _name(doc="the loop's name; the model's too")
    owner: str = option("", doc="team or person that answers for it")


@dataclass(frozen=True, kw_only=True)
class DataSource(Contract):
    """Where rows come from and what their columns mean."""

    source: str = option(doc="a CSV or Parquet file, a folder of them, s3://bucket/prefix/, or module:function")
    label: str = option(doc="column with what the model shall predict")
    features: tuple[str, ...] = option(doc="columns that the model sees")
    time: str = option("", doc="column with the row's time (ISO 8601 or Unix seconds); empty: rows have no time")
    node: str = option("", doc="column with the node that made the row; empty: one node")
    window: str = _duration("60d", "how far back training looks from the newest row")


@dataclass(frozen=True, kw_only=True)
class Train(Contract):
    """How a model is made: exactly one of `estimator`, `entrypoint` and `onnx`."""

    estimator: str = option("", doc="a scikit-learn estimator, such as sklearn.ensemble.RandomForestClassifier")
    entrypoint: str = option(
        "", doc="module:function that takes (features, labels, **params) and gives a fitted estimator"
    )
    onnx: str = option("", doc="a ready ONNX file")
    params: Mapping[str, Any] = option({}, doc="arguments of the estimator or the entrypoint")
    seed: int = option(0, doc="seed of everything random", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Champion(Contract):
    """How a new version is compared with the one that serves, on the same newest rows."""

    metric: Literal["accuracy", "balanced_accuracy", "log_loss", "ece", "brier"] = option(
        "accuracy", doc="what is compared"
    )
    margin: float = option(0.0, doc="by how much the challenger must be better", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Validate(Contract):
    """The gate before a version may be registered as good."""

    require: Mapping[str, str] = option(
        {},
        doc="metric: bound; metrics: accuracy, balanced_accuracy, log_loss, ece, brier",
        pattern=units.BOUND,
        form=units.BOUND_FORM,
    )
    slices: tuple[str, ...] = option((), doc="columns; the metrics are also computed for each of their values")
    champion: Champion = option(Champion(), doc="challenger against champion")
    holdout: float = option(
        0.2, doc="share of the newest rows kept from training to judge on", minimum=0.01, maximum=0.9
    )


@dataclass(frozen=True, kw_only=True)
class NodeSelector(Contract):
    """Which nodes a target stands for."""

    group: str = _name(doc="a KubeEdge NodeGroup")
    labels: Mapping[str, str] = option({}, doc="the NodeGroup's matchLabels; default: edgeloop.dev/group: <group>")


@dataclass(frozen=True, kw_only=True)
class Budget(Contract):
    """What a model may cost on the target, and what it must bear. Absent: no limit.

    Below the minimums no server can be: an answer takes system calls of two processes, a pod's memory is asked for in steps of
    4 MiB (its container's start alone takes that), and the kernel's least CPU quota is 1 ms of 100.
    """

    latency_p99_ms: float | None = option(None, minimum=0.01)
    memory_mib: float | None = option(None, minimum=4)
    cpu_m: float | None = option(None, doc="thousandths of a core", minimum=10)
    image_mib: float | None = option(None, minimum=0)
    requests_per_s: float | None = option(
        None,
        doc="what a server must bear, and CPU is planned for; absent: planned for 50, and refused for none",
        minimum=0.1,
    )

    @property
    def demand_per_s(self) -> float:
        """What CPU is planned for."""
        return DEMAND_PER_S if self.requests_per_s is None else self.requests_per_s


@dataclass(frozen=True, kw_only=True)
class Capabilities(Contract):
    """What the target's nodes have. A package that needs more is refused when the rollout is planned."""

    runtimes: tuple[str, ...] = option(
        (), doc="what they lend to images besides a container engine, such as python3.11; empty: nothing"
    )
    instruction_set: str = option("", doc="such as x86-64-v3; empty: the platform's baseline")
    accelerator: str = option("", doc="such as ice40-up5k; empty: none")
    driver: str = option("", doc="driver of the accelerator; empty: none")
    memory_mib: float | None = option(None, doc="memory for the model's server; absent: not known", minimum=0)
    disk_mib: float | None = option(None, doc="disk for its image; absent: not known", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Fpga(Contract):
    """Of targets with the runtimes fpga and fpga-sim: what quantising may cost; of fpga, how the node reaches its board."""

    agreement: float = option(
        0.99, doc="least share of rows with the label of the model that was trained", minimum=0, maximum=1
    )
    accuracy_loss: float = option(
        0.005, doc="most accuracy that may be lost, where labels are there", minimum=0, maximum=1
    )
    board: str = option("", doc="such as icebreaker; empty: the first known board with the part")
    device: str = option(
        "",
        doc="such as /dev/ttyUSB1; empty: no board, the design is simulated on the node",
        pattern=r"|/dev/[A-Za-z0-9][A-Za-z0-9._-]{0,62}",
        form="a device directly in /dev, such as /dev/ttyUSB1",
    )
    baud: int = option(115200, doc="bits per second of a serial link", minimum=1200)


@dataclass(frozen=True, kw_only=True)
class Target(Contract):
    """One kind of hardware: platform + runtime + budget + node group."""

    KIND: ClassVar[str] = ""

    name: str = _name()
    nodes: NodeSelector = option()
    platform: Platform = option("linux/amd64", doc="operating system and processor")
    runtime: RuntimeName = option("onnxruntime", doc="what runs the model there")
    part: str = option("", doc="FPGA part, for runtime fpga; fpga-sim keeps the width of designs placed for it")
    fpga: Fpga = option(Fpga(), doc="for runtimes fpga and fpga-sim")
    budget: Budget = option(Budget())
    has: Capabilities = option(Capabilities())
    base: str = option(
        "",
        doc="image that a Python server's image stands on; empty: the installation's",
        pattern=rf"|debian|\S+@{DIGEST}",
        form="debian, an image such as registry.example/base@sha256:<64 hex digits>, or oci:FOLDER@sha256:<64 hex digits>",
    )


@dataclass(frozen=True, kw_only=True)
class Monitor(Contract):
    """How the fleet is watched."""

    window: str = _duration("1h", "length of the windows that nodes count in")
    false_alarms: str = option(
        "1/year", doc="how often the judge may cry wolf", pattern=units.RATE, form=units.RATE_FORM
    )
    label_delay: str = _duration("1d", "how late labels usually come")


@dataclass(frozen=True, kw_only=True)
class Retrain(Contract):
    """What may start a run by itself, and how often."""

    on: tuple[CauseName, ...] = option(("performance", "drift"), doc="causes that may start a run")
    schedule: str = option(
        "",
        doc="cron rule with five fields; empty: none",
        pattern=r"|\S+( \S+){4}",
        form="a cron rule of five fields such as '0 3 * * 0'",
    )
    cooldown: str = _duration("6h", "least time between two runs")
    budget: str = option("4/day", doc="most runs in a time", pattern=units.RATE, form=units.RATE_FORM)


@dataclass(frozen=True, kw_only=True)
class RolloutPolicy(Contract):
    """How a new version reaches the nodes."""

    waves: tuple[tuple[str, ...], ...] = option((), doc="lists of node groups, in order; empty: all groups in one wave")
    soak: str = _duration("1h", "how long a wave is watched before the next")
    approval: Literal["auto", "manual"] = option("auto", doc="who lets a rollout begin")
    tolerance: float = option(
        0.05, doc="by how much a wave's accuracy may be lower than that of the rest", minimum=0, maximum=1
    )


@dataclass(frozen=True, kw_only=True)
class Offline(Contract):
    """What the node keeps for the time without a link."""

    priority: Literal["critical", "high", "normal", "low"] = option("normal")
    storage_mib: int = option(0, doc="disk for images on a node; 0: no limit", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Loop(Contract):
    """One model's whole life."""

    KIND: ClassVar[str] = "Loop"

    metadata: LoopMetadata
    data: DataSource
    train: Train
    targets: tuple[Target, ...]
    validate: Validate = option(Validate())
    monitor: Monitor = option(Monitor())
    retrain: Retrain = option(Retrain())
    rollout: RolloutPolicy = option(RolloutPolicy())
    offline: Offline = option(Offline())

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def waves(self) -> tuple[tuple[str, ...], ...]:
        """The waves as they are run: one wave with every group where the loop names none."""
        return self.rollout.waves or (groups_of(self),)


def groups_of(loop: Loop) -> tuple[str, ...]:
    """The node groups of the targets, in the order in which loop.yaml names them first."""
    return tuple(dict.fromkeys(target.nodes.group for target in loop.targets))


MODEL_NAME = "model"  # edgeloop/<loop>/model holds the model itself, edgeloop/<loop>/<target> an image with a server
METRICS = ("accuracy", "balanced_accuracy", "log_loss", "ece", "brier")


def inconsistencies(loop: Loop) -> list[Problem]:
    """What is wrong with a loop whose every field is right by itself."""
    return [
        *_train_problems(loop),
        *_data_problems(loop),
        *_target_problems(loop),
        *_has_problems(loop),
        *_wave_problems(loop),
        *_metric_problems(loop),
        *_zero_problems(loop),
    ]


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    match = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {match[0]}?" if match else "known: " + ", ".join(names)


def _train_problems(loop: Loop) -> list[Problem]:
    given = [name for name in ("estimator", "entrypoint", "onnx") if getattr(loop.train, name)]
    problems = []
    if len(given) != 1:
        problems.append(
            Problem("train", "exactly one of estimator, entrypoint and onnx", " and ".join(given) or "none")
        )
    if loop.train.entrypoint and loop.train.entrypoint.count(":") != 1:
        problems.append(Problem("train.entrypoint", "module:function", loop.train.entrypoint))
    if loop.train.estimator and "." not in loop.train.estimator:
        problems.append(
            Problem(
                "train.estimator", "a dotted name such as sklearn.linear_model.LogisticRegression", loop.train.estimator
            )
        )
    return problems


def _data_problems(loop: Loop) -> list[Problem]:
    data, problems = loop.data, []
    if not data.features:
        problems.append(Problem("data.features", "at least one column", "none"))
    if data.label in (data.time, data.node):
        problems.append(Problem("data.label", "a column that is neither the time nor the node", data.label))
    for i, name in enumerate(data.features):
        if name in (data.label, data.time):
            problems.append(Problem(f"data.features[{i}]", "a column that is neither the label nor the time", name))
        if name in data.features[:i]:
            problems.append(Problem(f"data.features[{i}]", "each column once", name))
    return problems


def _target_problems(loop: Loop) -> list[Problem]:
    problems = [] if loop.targets else [Problem("targets", "at least one target", "none")]
    for i, target in enumerate(loop.targets):
        earlier = loop.targets[:i]
        if target.name in {t.name for t in earlier}:
            problems.append(Problem(f"targets[{i}].name", "a name of its own", target.name))
        if target.name == MODEL_NAME:
            problems.append(
                Problem(f"targets[{i}].name", "another name: the model's own images have this one", target.name)
            )
        if target.nodes.group in {t.nodes.group for t in earlier}:
            problems.append(
                Problem(
                    f"targets[{i}].nodes.group",
                    "one target a group",
                    target.nodes.group,
                    "a node can hold one package of a loop",
                )
            )
        if target.runtime == "fpga" and not target.part:
            problems.append(Problem(f"targets[{i}].part", "an FPGA part such as ice40-up5k", "nothing"))
    return problems


def _has_problems(loop: Loop) -> list[Problem]:
    """Names that would be compared with what packages need, and never be equal to it."""
    problems = []
    for i, target in enumerate(loop.targets):
        known, named = SETS_OF[target.platform], target.has.instruction_set
        if named not in ("", *known):
            where, expected = f"targets[{i}].has.instruction_set", f"an instruction set of {target.platform}"
            problems.append(Problem(where, expected, named, _near(named, known)))
        problems += [
            Problem(f"targets[{i}].has.runtimes[{j}]", "a name such as python3.11", repr(name))
            for j, name in enumerate(target.has.runtimes)
            if not re.fullmatch(r"[^\s,]+", name)
        ]
    return problems


def _wave_problems(loop: Loop) -> list[Problem]:
    groups, seen, problems = groups_of(loop), set(), []
    for i, wave in enumerate(loop.rollout.waves):
        for j, group in enumerate(wave):
            path = f"rollout.waves[{i}][{j}]"
            if group not in groups:
                problems.append(Problem(path, "a node group of a target", group, _near(group, groups)))
            if group in seen:
                problems.append(Problem(path, "each group in one wave", group))
            seen.add(group)
    left_out = [group for group in groups if group not in seen]
    if loop.rollout.waves and left_out:
        problems.append(
            Problem("rollout.waves", "every target's group in a wave", "no wave for " + ", ".join(left_out))
        )
    return problems


def _metric_problems(loop: Loop) -> list[Problem]:
    return [
        Problem(f"validate.require.{metric}", "a metric", metric, _near(metric, METRICS))
        for metric in loop.validate.require
        if metric not in METRICS
    ]


def _zero_problems(loop: Loop) -> list[Problem]:
    texts = {
        "data.window": loop.data.window,
        "monitor.window": loop.monitor.window,
        "monitor.false_alarms": loop.monitor.false_alarms,
    }
    return [Problem(path, "more than 0", text) for path, text in texts.items() if re.match(r"0+\D", text)]
