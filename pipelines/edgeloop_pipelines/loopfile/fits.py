"""Whether a target's runtime runs on its platform: asked when a loop is read, long before anything is trained or compiled.

The raw document is asked, so that a mistake elsewhere hides no misfit. What is no runtime and no platform the reader reports.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgeloop_contracts import Problem, Target
from edgeloop_pipelines.loopfile.mend import value_at

__all__ = ["misfits"]


def misfits(document: Any, broken: Collection[str] = ()) -> list[Problem]:
    """A problem for each target that cannot be: what runs there instead, and where its runtime would. `broken`: paths with
    a mistake in their form already."""
    targets = value_at(document, "targets")
    found = [_misfit(f"targets[{i}]", target) for i, target in enumerate(targets if isinstance(targets, list) else [])]
    return [problem for problem in found if problem is not None and problem.path not in broken]


def _misfit(path: str, target: Any) -> Problem | None:
    from edgeloop_components.runtimes import RUNTIMES

    if not isinstance(target, dict):
        return None
    platform, name = (target.get(key, _default(key)) for key in ("platform", "runtime"))
    runtime = RUNTIMES.get(name) if isinstance(name, str) else None
    fitting = [other.name for other in RUNTIMES.values() if platform in other.platforms]
    if runtime is None or not fitting or platform in runtime.platforms:
        return None
    where = ", ".join(runtime.platforms)
    return Problem(
        f"{path}.runtime", f"a runtime that runs on {platform}: {', '.join(fitting)}", name, f"{name} runs on {where}"
    )


def _default(key: str) -> Any:
    return Target.__dataclass_fields__[key].default
