"""Measures one compiled model in a process of its own: `python -m edgeloop_components.profile.measure`.

Reads {"runtime", "folder", "rows", "measure_s"} as JSON from standard input, writes a `Measurement` as JSON. The process
imports what the runtime imports and nothing else, so its memory is that of the model and its runtime.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["Measurement", "percentile"]

WARM_UP = 50  # rows before the clock starts
LEAST_ROWS = 1000  # a 99th percentile of fewer is noise


@dataclass(frozen=True)
class Measurement:
    """Single-row latencies in milliseconds, CPU time a row, peak resident memory, and time to load."""

    rows: int
    latency_p50_ms: float
    latency_p99_ms: float
    cpu_ms: float
    memory_peak_mib: float
    load_ms: float


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def _peak_mib() -> float:
    """Peak resident memory of this program: VmHWM. getrusage would say the parent's, if that was larger."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise RuntimeError("/proc/self/status: expected a line VmHWM, found none")
    return int(found[1]) / 1024


def _timed(score: Any, rows: Any, measure_s: float) -> tuple[list[float], float]:
    """Latencies in ms and CPU seconds, over rows one after the other, for at least `measure_s` and LEAST_ROWS rows."""
    pieces = [rows[i : i + 1] for i in range(len(rows))]
    for i in range(WARM_UP):
        score(pieces[i % len(pieces)])
    latencies: list[float] = []
    clock = time.perf_counter_ns
    began, cpu_began = clock(), time.process_time()
    while clock() - began < measure_s * 1e9 or len(latencies) < LEAST_ROWS:
        piece = pieces[len(latencies) % len(pieces)]
        start = clock()
        score(piece)
        latencies.append((clock() - start) / 1e6)
    return latencies, time.process_time() - cpu_began


def main() -> None:
    order = json.load(sys.stdin)
    import numpy as np

    from edgeloop_components.runtimes import RUNTIMES

    rows = np.array(order["rows"], dtype=np.float32)
    began = time.perf_counter()
    score = RUNTIMES[order["runtime"]].load(Path(order["folder"]))
    score(rows[:1])
    load_ms = (time.perf_counter() - began) * 1000
    latencies, cpu_s = _timed(score, rows, order["measure_s"])
    found = Measurement(
        rows=len(latencies),
        latency_p50_ms=percentile(latencies, 0.5),
        latency_p99_ms=percentile(latencies, 0.99),
        cpu_ms=cpu_s * 1000 / len(latencies),
        memory_peak_mib=_peak_mib(),
        load_ms=load_ms,
    )
    json.dump(asdict(found), sys.stdout)


if __name__ == "__main__":
    main()
