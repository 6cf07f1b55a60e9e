"""Measures a compiled model in a process of its own and derives the resources that its pod asks for.

The measurement is quick and says so: the model alone, single rows, one thread, on the machine that builds. It is not the
server under load on the target. From it: memory = peak + the server's share + a quarter, rounded up to 16 MiB; the CPU
limit is one core, the request what a steady 50 rows a second need, at least 50 m. A model over its target's budget is refused.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeloop_components.runtimes import Runtime, runtime_for
from edgeloop_components.steps import write_json
from edgeloop_contracts import Loop, ResourceProfile, Target, to_json

__all__ = ["METHOD", "BudgetError", "profile"]

METHOD = "quick: the model alone in a process on the build machine, single golden rows, one thread"
_HEADROOM, _STEP_MIB = 1.25, 16
_ROWS_PER_S, _LEAST_CPU_M, _LIMIT_CPU_M = 50, 50, 1000
_TIMEOUT_S = 120


class BudgetError(ValueError):
    """A model costs more than its target's budget allows; the message names every figure."""


def profile(loop: Loop, target: Target, compiled: Path, out: Path) -> ResourceProfile:
    """Measures the model in `compiled` and writes `out/profile.json`. BudgetError when it is over the target's budget."""
    runtime = runtime_for(target)
    result = derive(loop.name, target, measured(compiled, target.runtime), runtime)
    over = over_budget(result, target)
    if over:
        raise BudgetError(f"{loop.name} for target {target.name} is over its budget: {'; '.join(over)} ({METHOD})")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "profile.json", to_json(result))
    return result


def measured(compiled: Path, runtime: str) -> dict[str, float]:
    """Latencies in ms, load time in ms, peak memory in MiB, from a fresh process. RuntimeError with its last words."""
    argv = [sys.executable, "-m", "edgeloop_components.profile.measure", str(compiled), runtime]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise RuntimeError(f"profile of {compiled} with {runtime} failed: {last[0]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def derive(loop: str, target: Target, figures: dict[str, float], runtime: Runtime) -> ResourceProfile:
    """The profile with its resources, from the figures of `measured`."""
    memory_mib = figures["memory_peak_mib"] + runtime.server_mib
    request_mib = math.ceil(memory_mib / _STEP_MIB) * _STEP_MIB
    limit_mib = math.ceil(memory_mib * _HEADROOM / _STEP_MIB) * _STEP_MIB
    busy_m = math.ceil(figures["latency_p50_ms"] * _ROWS_PER_S)  # ms a row x rows a second = thousandths of a core
    return ResourceProfile(
        loop=loop,
        target=target.name,
        method=METHOD,
        latency_p50_ms=figures["latency_p50_ms"],
        latency_p99_ms=figures["latency_p99_ms"],
        memory_peak_mib=figures["memory_peak_mib"],
        load_ms=figures["load_ms"],
        threads=1,
        cpu_request_m=max(_LEAST_CPU_M, busy_m),
        cpu_limit_m=max(_LIMIT_CPU_M, busy_m),
        memory_request_mib=request_mib,
        memory_limit_mib=limit_mib,
    )


def over_budget(result: ResourceProfile, target: Target) -> list[str]:
    """Each limit of the budget that the profile breaks, with both numbers."""
    budget: Any = target.budget
    figures = {
        "latency_p99_ms": result.latency_p99_ms,
        "memory_mib": float(result.memory_limit_mib),
        "cpu_m": float(result.cpu_request_m),
    }
    return [
        f"{name}: expected at most {limit:g}, measured {value:g}"
        for name, value in figures.items()
        if (limit := getattr(budget, name)) is not None and value > limit
    ]
