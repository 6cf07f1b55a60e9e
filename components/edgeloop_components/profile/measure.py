"""Runs in a process of its own: loads a compiled model, scores its golden rows one by one, prints the figures as JSON.

python -m edgeloop_components.profile.measure COMPILED_FOLDER RUNTIME
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

from edgeloop_components.compile.golden import read_golden
from edgeloop_components.runtimes import RUNTIMES, Score

__all__ = ["main"]

_LEAST_S, _LEAST_ROWS, _WARM_ROWS = 0.3, 500, 50


def main(folder: Path, runtime: str) -> None:
    began = time.perf_counter()
    score = RUNTIMES[runtime].load(folder)
    load_ms = (time.perf_counter() - began) * 1e3
    latencies = sorted(_latencies_ms(score, folder))
    figures = {
        "latency_p50_ms": latencies[len(latencies) // 2],
        "latency_p99_ms": latencies[int(len(latencies) * 0.99)],
        "load_ms": load_ms,
        "memory_peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": len(latencies),
    }
    print(json.dumps(figures))


def _latencies_ms(score: Score, folder: Path) -> list[float]:
    """Milliseconds a row, over the golden rows again and again: distinct rows, or branch prediction flatters trees."""
    rows = read_golden(folder / "golden.json").rows
    singles = [rows[i : i + 1] for i in range(len(rows))]
    for i in range(_WARM_ROWS):
        score(singles[i % len(singles)])
    latencies: list[float] = []
    end = time.perf_counter() + _LEAST_S
    while len(latencies) < _LEAST_ROWS or time.perf_counter() < end:
        began = time.perf_counter()
        score(singles[len(latencies) % len(singles)])
        latencies.append((time.perf_counter() - began) * 1e3)
    return latencies


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
