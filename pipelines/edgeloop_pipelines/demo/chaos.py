"""When the chaos run kills what: a plan that follows from a seed, and a pure look-up of what is due.

Every part that may be killed is killed at least once, one during a run and one during a rollout; servers are not, as their
callers would not know which of the rows under way were counted. Killing itself is the caller's.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Kill", "Moment", "due", "plan"]

Moment = Literal["streaming", "run", "rollout"]


@dataclass(frozen=True)
class Kill:
    """Kill `part` at the first `moment` at or after step `step` of the stream (-1: before the stream begins)."""

    part: str
    moment: Moment
    step: int


def plan(seed: int, steps: int, nodes: Sequence[str]) -> list[Kill]:
    """What to kill in a stream of `steps` steps, in order of steps."""
    chance = random.Random(seed)
    agent = f"agent/{chance.choice(list(nodes))}"
    parts = ["objects", "broker", "fleet", agent]
    chance.shuffle(parts)
    while_streaming = sorted(chance.sample(range(1, max(steps, 6)), len(parts)))
    first = [Kill("fleet", "run", -1), Kill("broker", "rollout", -1)]
    later = [Kill("objects", "run", 0), Kill(f"agent/{nodes[0]}", "rollout", 0)]
    streaming = [
        Kill(part, "streaming", min(step, steps - 1)) for part, step in zip(parts, while_streaming, strict=True)
    ]
    return sorted([*first, *later, *streaming], key=lambda kill: kill.step)


def due(kills: Sequence[Kill], moment: Moment, step: int) -> Kill | None:
    """The first kill of the plan for which it is time."""
    return next((kill for kill in kills if kill.moment == moment and step >= kill.step), None)
