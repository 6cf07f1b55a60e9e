"""Looks over an installation and says what is wrong, why that matters, and how to mend it.

`facts` are values; `checks` are tables of pure functions over them, a topic a module; `gather` is the rim that asks clusters and
services. `examine` is all of the deciding, `gather.look.look` all of the asking.
"""

from __future__ import annotations

from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import Finding

__all__ = ["Facts", "Finding", "examine"]


def examine(facts: Facts) -> list[Finding]:
    """Every finding: errors first, then in the order of the checks."""
    from edgeloop_pipelines.doctor.checks import CHECKS
    from edgeloop_pipelines.doctor.findings import run

    return run(CHECKS, facts)
