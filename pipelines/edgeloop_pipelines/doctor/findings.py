"""What the doctor says: checks as rows of tables, and findings as plain values.

A check is a pure function of the facts with what is known about it: why it matters, how sure that is (its source), and how bad
it is. It gives a `Hit` for each object that fails it. Nothing here asks a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgeloop_pipelines.doctor.facts import Facts

__all__ = ["SEEN", "Check", "Finding", "Hit", "Object", "Severity", "plural", "run"]

Severity = Literal["error", "warning"]
Object = Mapping[str, Any]
SEEN = "seen on a running cluster (Kubernetes 1.36 with KubeEdge after 1.23.0)"


@dataclass(frozen=True)
class Hit:
    """One object that fails a check: which, what is wrong, how to mend it. `severity` where it differs from the check's."""

    subject: str
    what: str
    fix: str
    severity: Severity | None = None


@dataclass(frozen=True)
class Check:
    """A row of a table. `source` says where the fact behind it comes from."""

    code: str
    severity: Severity
    title: str
    why: str
    source: str
    find: Callable[[Facts], Iterable[Hit]]


@dataclass(frozen=True)
class Finding:
    """A hit with all that its check knows."""

    code: str
    severity: Severity
    subject: str
    what: str
    why: str
    fix: str
    source: str

    def document(self) -> dict[str, str]:
        return asdict(self)


def run(checks: Iterable[Check], facts: Facts) -> list[Finding]:
    """The findings of all checks: errors first, then in the order of the table."""
    found = [
        Finding(check.code, hit.severity or check.severity, hit.subject, hit.what, check.why, hit.fix, check.source)
        for check in checks
        for hit in check.find(facts)
    ]
    return sorted(found, key=lambda finding: finding.severity != "error")


def plural(count: int, one: str, many: str = "") -> str:
    """`1 node`, `3 nodes`."""
    return f"{count} {one if count == 1 else many or one + 's'}"
