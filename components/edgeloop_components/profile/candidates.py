"""Measures every way to serve a model on a target, so that one can be chosen (`pareto`).

The ways: each runtime that runs on the platform; the native one also for the instruction set of the target's nodes;
onnxruntime with 8-bit weights where the graph has large matrix products with constant weights (trees and scalers gain
nothing); and both of onnxruntime's with 2, 4, ... threads, as far as there are cores and the budget pays for them. A native
server has one thread. Accuracy is the share of sample rows that are answered as the reference does (`accuracy`), times what the
reference itself scores.

A quantised model answers otherwise than the reference, so its golden rows are its own, and the parity of a pipeline refuses it:
it is measured to show what it would bring. A way that cannot be compiled or measured is left out and told.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeloop_components.profile.accuracy import agreeing
from edgeloop_components.profile.cgroups import Groups
from edgeloop_components.profile.core import QUICK, BudgetError, Plan, ProfileError, profile
from edgeloop_components.profile.load import LoadError
from edgeloop_components.profile.pareto import Candidate
from edgeloop_components.profile.plan import Rung, further_rungs
from edgeloop_components.runtimes import RUNTIMES, ModelError, RuntimeRefused
from edgeloop_contracts import Loop, Reference, ResourceProfile, Target, loads
from edgeloop_contracts.loop import THREADED, Budget

__all__ = ["Way", "light_latency_ms", "measure_all", "quantised", "ways"]

DOCUMENTS = ("reference.json", "golden.json", "version.json")
LEAST_WEIGHTS = 4096  # of one matrix, below which 8 bits save nothing worth an error
PRODUCTS = frozenset(("MatMul", "Gemm", "Conv"))
LEFT_OUT = (ModelError, RuntimeRefused, ProfileError, LoadError, BudgetError)  # of one way, not of the comparison


@dataclass(frozen=True)
class Way:
    """One way to serve the model; `target` is the one to compile for."""

    name: str
    target: Target
    quantised: bool = False
    threads: int = 1


def ways(target: Target, cores: int = 1) -> list[Way]:
    """The ways that a target's platform allows on a machine of so many cores."""
    found: list[Way] = []
    more = [rung.threads for rung in further_rungs(Rung(1000), cores, target.budget.cpu_m)]
    for name, runtime in RUNTIMES.items():
        if target.platform not in runtime.platforms or (runtime.judged and not target.part):
            continue
        plain = replace(target, runtime=name, has=replace(target.has, instruction_set=""), budget=_demand(target))  # type: ignore[arg-type]
        own = [Way(name, plain)]
        wide = replace(plain, has=target.has)
        if runtime.instruction_set(wide):
            own.append(Way(f"{name} {target.has.instruction_set}", wide))
        if name == "onnxruntime":
            own.append(Way("onnxruntime int8", plain, quantised=True))
        if name in THREADED:
            own += [replace(way, name=f"{way.name}, {n} threads", threads=n) for n in more for way in tuple(own)]
        found += own
    return found


def _demand(target: Target) -> Budget:
    """The budget without its limits, which `pareto` weighs; what the server must bear stays."""
    return Budget(requests_per_s=target.budget.requests_per_s)


def quantised(model: Path, out: Path) -> str:
    """Writes the graph with 8-bit weights; why not, where it does not apply."""
    import math

    from edgeloop_components.runtimes.describe import read_model

    graph = read_model(model).graph
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in graph.initializer}
    large = [
        node.name or node.op_type
        for node in graph.node
        if node.op_type in PRODUCTS and any(sizes.get(name, 0) >= LEAST_WEIGHTS for name in node.input)
    ]
    if not large:
        return f"no matrix product or convolution with {LEAST_WEIGHTS} constant weights or more"
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)  # it advises a step of its own that changes nothing here
    try:
        quantize_dynamic(str(model), str(out), weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    return ""


def measure_all(
    loop: Loop,
    target: Target,
    model_dir: Path,
    *,
    plan: Plan = QUICK,
    accuracy: float = 1.0,
    groups: Groups | str | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[tuple[Candidate, ResourceProfile]]:
    """Compiles and measures every way of a model folder (model.onnx and its documents). ProfileError when none can be.

    Of the target's own budget only the demand is applied: a way that is shown not to bear one that is stated is left out.
    """
    found: list[tuple[Candidate, ResourceProfile]] = []
    left_out: list[str] = []

    def leave_out(way: Way, why: object) -> None:
        left_out.append(f"{way.name}: {why}")
        say(f"{way.name}: left out: {why}")

    for way in ways(target, len(os.sched_getaffinity(0))):
        if why := _pointless(way, [candidate for candidate, _ in found]):
            leave_out(way, why)
            continue
        with tempfile.TemporaryDirectory(prefix="edgeloop-candidate-") as made:
            try:
                compiled = _compiled(way, model_dir, Path(made))
                say(f"{way.name}: measuring")
                measured = profile(loop, way.target, compiled, plan=plan, groups=groups, say=say, threads=way.threads)
            except LEFT_OUT as error:
                leave_out(way, error)
                continue
            found.append((_candidate(way, compiled, model_dir, measured, accuracy), measured))
    if not found:
        raise ProfileError(f"target {target.name}: no way to serve the model can be measured: {'; '.join(left_out)}")
    return found


def _pointless(way: Way, before: Sequence[Candidate]) -> str:
    """Why twice the threads are not measured: the last doubling did not make it faster. Empty: they are."""
    same = [c for c in before if (c.runtime, c.quantised) == (way.target.runtime, way.quantised)]
    half, quarter = ([c for c in same if c.threads * n == way.threads] for n in (2, 4))
    if half and quarter and half[0].latency_ms >= quarter[0].latency_ms:
        return f"{half[0].threads} threads were no faster than {quarter[0].threads}"
    return ""


def _compiled(way: Way, model_dir: Path, folder: Path) -> Path:
    """The compiled folder of a way. ModelError, RuntimeRefused."""
    source, out = folder / "source", folder / "compiled"
    shutil.copytree(model_dir, source)
    out.mkdir()
    if way.quantised:
        why = _no_labels(model_dir) or quantised(model_dir / "model.onnx", source / "model.onnx")
        if why:
            raise ModelError(f"8-bit weights do not apply: {why}")
        _own_golden(source)
    for name in DOCUMENTS:
        shutil.copyfile(source / name, out / name)
    RUNTIMES[way.target.runtime].compile(source, out, way.target)
    return out


def _no_labels(folder: Path) -> str:
    """Why nothing tells what 8 bits cost; empty for a classifier."""
    if loads(Reference, (folder / "reference.json").read_bytes()).classes:
        return ""
    return "they are weighed by the labels that they change, and this graph is no classifier"


def _own_golden(folder: Path) -> None:
    """Golden rows with the answers of the model that lies in the folder."""
    import numpy as np

    from edgeloop_components.compile.golden import read_golden
    from edgeloop_components.runtimes import onnxruntime

    rows = read_golden(folder / "golden.json").rows
    finite = rows[~np.isinf(rows).any(axis=1)]
    labels, probabilities = onnxruntime.load(folder)(finite)
    plain = [[None if np.isnan(value) else float(value) for value in row] for row in finite]
    document = {"rows": plain, "probabilities": probabilities.tolist(), "labels": labels.tolist()}
    (folder / "golden.json").write_text(json.dumps(document))


def _candidate(way: Way, compiled: Path, model_dir: Path, measured: ResourceProfile, accuracy: float) -> Candidate:
    memory = measured.memory_peak_mib if measured.memory_floor_mib is None else measured.memory_floor_mib
    return Candidate(
        name=way.name,
        runtime=way.target.runtime,
        threads=measured.threads,
        instruction_set=RUNTIMES[way.target.runtime].instruction_set(way.target),
        quantised=way.quantised,
        latency_ms=light_latency_ms(measured),
        memory_mib=memory,
        size_mib=sum(_sizes(way, compiled)) / (1 << 20),
        accuracy=accuracy * agreeing(way.target.runtime, compiled, model_dir),
    )


def light_latency_ms(measured: ResourceProfile) -> float:
    """The 99th percentile of the lightest load under the largest quota: all ways then use a like share of what they can do.

    That of the profile itself will not do: a full plan confirms each way at its own highest rate, near the latency limit.
    """
    most_m = max(point.quota_m for point in measured.points)
    light = [p for p in measured.points if p.rate_per_s and p.quota_m == most_m and p.latency_p99_ms is not None]
    first = min(light, key=lambda point: point.rate_per_s, default=None)
    return measured.latency_p99_ms if first is None or first.latency_p99_ms is None else first.latency_p99_ms


def _sizes(way: Way, compiled: Path) -> Iterator[int]:
    """Unpacked bytes of the image's layers, a base image's not among them."""
    from edgeloop_components.package.layers import Build, host_platform

    build: Any = Build(host_platform(), "model")
    yield from (layer.size_bytes for layer in RUNTIMES[way.target.runtime].layers(compiled, build))
