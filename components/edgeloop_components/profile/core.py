"""Profile: measures a compiled model in a fresh process on this machine, and derives what a pod of it asks for.

How the resources follow (pure, `resources`):

- memory: peak of model and runtime, plus the server around it (a stated allowance of the runtime); the request adds a
  tenth of head-room, the limit a half; both are rounded up to 16 MiB.
- CPU: the request is for 50 rows a second, with half a millisecond a request for HTTP and counting; the limit is one
  core (the model has one thread), or the budget.

Refuses a model that breaks the target's budget, with the numbers. It says nothing about other hardware than this
machine's: the method says so.
"""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.profile.measure import Measurement
from edgeloop_components.runtimes import runtime_for
from edgeloop_contracts import FeatureReference, Loop, Reference, ResourceProfile, Target, loads
from edgeloop_contracts.loop import Budget

__all__ = ["BudgetError", "ProfileError", "Resources", "profile", "resources", "sample_rows", "within_budget"]

METHOD = "in-process on the build machine, quick: single rows, one thread"
MEASURE_S, PATIENCE_S, ROWS = 0.4, 120.0, 256
RATE_PER_S, SERVER_CPU_MS = 50.0, 0.5
REQUEST_HEADROOM, LIMIT_HEADROOM, STEP_MIB, STEP_M = 1.1, 1.5, 16, 10


class ProfileError(RuntimeError):
    """The model could not be measured."""


class BudgetError(ValueError):
    """The model costs more than the target's budget; the message has the numbers."""


@dataclass(frozen=True)
class Resources:
    """Requests and limits of a pod: thousandths of a core, and MiB."""

    cpu_request_m: int
    cpu_limit_m: int
    memory_request_mib: int
    memory_limit_mib: int


def profile(loop: Loop, target: Target, compiled_dir: Path, *, measure_s: float = MEASURE_S) -> ResourceProfile:
    """Measures the compiled model for at least `measure_s`. ProfileError, BudgetError, RuntimeRefused."""
    runtime = runtime_for(target)
    reference = loads(Reference, (compiled_dir / "reference.json").read_bytes())
    rows = sample_rows(reference.features, loop.train.seed)
    found = _measured(runtime.name, compiled_dir, rows, measure_s)
    wanted = resources(found, target.budget, runtime.server_mib)
    within_budget(target, found, wanted, runtime.server_mib)
    return ResourceProfile(
        loop=loop.name,
        target=target.name,
        method=METHOD,
        latency_p50_ms=found.latency_p50_ms,
        latency_p99_ms=found.latency_p99_ms,
        memory_peak_mib=found.memory_peak_mib,
        load_ms=found.load_ms,
        cpu_request_m=wanted.cpu_request_m,
        cpu_limit_m=wanted.cpu_limit_m,
        memory_request_mib=wanted.memory_request_mib,
        memory_limit_mib=wanted.memory_limit_mib,
        extra={"rows": found.rows, "cpu_ms": found.cpu_ms, "server_mib": runtime.server_mib},
    )


def sample_rows(features: tuple[FeatureReference, ...], seed: int, rows: int = ROWS) -> list[list[float]]:
    """Distinct rows [rows][features] as the training data had them: every bin of a feature equally often."""
    draw = random.Random(seed)
    return [[_value(feature, draw) for feature in features] for _ in range(rows)]


def _value(feature: FeatureReference, draw: random.Random) -> float:
    if feature.kind == "category":
        return float(draw.randrange(len(feature.categories)) if feature.categories else -1)
    limits = [feature.minimum, *feature.edges, feature.maximum]
    place = draw.randrange(len(limits) - 1)
    return draw.uniform(limits[place], limits[place + 1])


def _measured(runtime: str, folder: Path, rows: list[list[float]], measure_s: float) -> Measurement:
    order: dict[str, Any] = {"runtime": runtime, "folder": str(folder.resolve()), "rows": rows, "measure_s": measure_s}
    command = [sys.executable, "-m", "edgeloop_components.profile.measure"]
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, input=json.dumps(order), capture_output=True, text=True, timeout=PATIENCE_S, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise ProfileError(f"{folder}: expected a measurement within {PATIENCE_S:g} s, got none") from error
    if done.returncode:
        raise ProfileError(
            f"{folder}: the measuring process ended with {done.returncode}: {done.stderr.strip()[-500:]}"
        )
    return Measurement(**json.loads(done.stdout))


def resources(found: Measurement, budget: Budget, server_mib: float) -> Resources:
    """Requests and limits for what was measured. Limits keep to the budget, requests do not."""
    need_mib = found.memory_peak_mib + server_mib
    request_m = math.ceil(RATE_PER_S * (found.cpu_ms + SERVER_CPU_MS) / STEP_M) * STEP_M
    limit_mib = _up(need_mib * LIMIT_HEADROOM)
    memory_request = _up(need_mib * REQUEST_HEADROOM)
    if budget.memory_mib is not None:
        limit_mib = max(memory_request, min(limit_mib, math.floor(budget.memory_mib)))
    limit_m = 1000 if budget.cpu_m is None else math.floor(budget.cpu_m)
    return Resources(request_m, max(request_m, limit_m), memory_request, limit_mib)


def _up(mib: float) -> int:
    return math.ceil(mib / STEP_MIB) * STEP_MIB


def within_budget(target: Target, found: Measurement, wanted: Resources, server_mib: float) -> None:
    """BudgetError names every part of the budget that is broken."""
    memory = f"peak {found.memory_peak_mib:.1f} + server {server_mib:g}, with head-room"
    checks = (
        ("latency_p99_ms", target.budget.latency_p99_ms, found.latency_p99_ms, "measured"),
        ("memory_mib", target.budget.memory_mib, wanted.memory_request_mib, memory),
        ("cpu_m", target.budget.cpu_m, wanted.cpu_request_m, f"for {RATE_PER_S:g} rows a second"),
    )
    broken = [
        f"{name}: at most {most:g}, needs {got:.4g} ({how})"
        for name, most, got, how in checks
        if most is not None and got > most
    ]
    if broken:
        raise BudgetError(f"target {target.name}: the model breaks its budget: " + "; ".join(broken))
