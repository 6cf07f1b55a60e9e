"""Times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["ago", "shown"]


def shown(at_s: float | None) -> str:
    """A time in UTC, to the second; empty for none."""
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at_s else ""


def ago(at_s: float, now_s: float) -> str:
    """How long ago a time was, in its largest unit."""
    passed = max(now_s - at_s, 0.0)
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if passed >= 2 * length_s:
            return f"{passed / length_s:.0f} {unit} ago"
    return f"{passed:.0f} s ago"
