"""What each step may use on a cluster: processor, memory, time, and how often it is tried again.

A step asks for what it surely needs and is stopped at what no loop should need; bigger data means bigger numbers here, which
are another version of the pipeline. Every step may be tried again: what it writes goes by the run's key. Steps that train or
measure for long are tried twice at most, so that a fault of the loop is told within a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["LIMITS", "Limits", "limit"]

BACKOFF, BACKOFF_FACTOR, MOST_BACKOFF = "30s", 2.0, "600s"


@dataclass(frozen=True)
class Limits:
    """Of one step. `cpu` and `memory` are asked for, `most_memory` is the end; `minutes` is of one try."""

    cpu: str
    memory: str
    most_memory: str
    minutes: int
    retries: int = 2


LIMITS: Mapping[str, Limits] = {
    "ingest": Limits("500m", "512Mi", "4Gi", 60),
    "train": Limits("1", "1Gi", "8Gi", 360, retries=1),
    "validate": Limits("500m", "1Gi", "4Gi", 60),
    "register": Limits("100m", "512Mi", "1Gi", 10),
    "compile": Limits("1", "1Gi", "4Gi", 120, retries=1),  # an FPGA is placed and routed here
    "profile": Limits("1", "512Mi", "4Gi", 120, retries=1),
    "package": Limits("500m", "512Mi", "2Gi", 60),
    "rollout": Limits("100m", "256Mi", "1Gi", 10),
    "outcome": Limits("100m", "256Mi", "1Gi", 10, retries=5),  # whatever happened, it must be written down
}


def limit(task: Any, limits: Limits) -> None:
    """Puts the limits on a task. There is none on the processor: it would slow training, and the node shares by requests."""
    from kfp import kubernetes

    task.set_cpu_request(limits.cpu).set_memory_request(limits.memory).set_memory_limit(limits.most_memory)
    task.set_retry(limits.retries, BACKOFF, BACKOFF_FACTOR, MOST_BACKOFF)
    kubernetes.set_timeout(task, 60 * limits.minutes)
