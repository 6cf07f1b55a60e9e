"""All checks, a topic a module."""

from __future__ import annotations

from edgeloop_pipelines.doctor.checks import (
    applications,
    cloudcore,
    groups,
    nodes,
    pods,
    references,
    rules,
    services,
    versions,
)
from edgeloop_pipelines.doctor.findings import Check

__all__ = ["CHECKS", "TOPICS"]

TOPICS: dict[str, tuple[Check, ...]] = {
    "Cluster and versions": versions.CHECKS,
    "CloudCore": cloudcore.CHECKS,
    "Node groups": groups.CHECKS,
    "Nodes": nodes.CHECKS,
    "Pods": (*pods.CHECKS, *references.CHECKS),
    "EdgeApplications and pulls": applications.CHECKS,
    "Rules": rules.CHECKS,
    "Services": services.CHECKS,
}
CHECKS: tuple[Check, ...] = tuple(check for checks in TOPICS.values() for check in checks)
