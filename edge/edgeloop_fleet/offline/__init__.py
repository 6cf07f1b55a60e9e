"""The offline planner: which images, runtimes and layers each group of nodes keeps for the time without a link.

Values in (`values`), a plan out (`plan`), the jobs that fetch what is missing (`jobs`). It decides by what is served, weighted
by priority: exactly where there are few images (`exact`), else within a bound that the plan states (`bounded`).
"""

from __future__ import annotations

from edgeloop_fleet.offline.jobs import prepull_jobs
from edgeloop_fleet.offline.plan import plan_groups, plan_of, serving
from edgeloop_fleet.offline.values import (
    PRIORITIES,
    Choice,
    Demand,
    Group,
    Layer,
    PlanError,
    Window,
    link_bytes,
    link_s,
)

__all__ = [
    "PRIORITIES",
    "Choice",
    "Demand",
    "Group",
    "Layer",
    "PlanError",
    "Window",
    "link_bytes",
    "link_s",
    "plan_groups",
    "plan_of",
    "prepull_jobs",
    "serving",
]
