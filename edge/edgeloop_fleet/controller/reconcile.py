"""Does what a step asks for, through the ports.

It acts first and gives the new rollout back to be saved after; a crash between the two repeats the step, and every action is
one that may be done twice. An error of a port (OSError) goes up: nothing is saved and the next tick tries again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from edgeloop_contracts import Loop, Package, Rollout
from edgeloop_fleet.controller.step import Action, Apply, Promote, Scene, Withdraw, step
from edgeloop_fleet.ports import Aliases, Cluster, Render

__all__ = ["Hands", "perform", "reconcile", "started_from"]

WORKLOADS = (
    "EdgeApplication",
    "ImagePrePullJob",
)  # the loop's own; node groups, agents and rules are shared with others


@dataclass(frozen=True)
class Hands:
    """The ports that a rollout acts through."""

    cluster: Cluster
    aliases: Aliases
    render: Render


def perform(action: Action, loop: Loop, hands: Hands) -> None:
    """Does one action. OSError when the cluster or the catalog is not there."""
    if isinstance(action, Apply):
        hands.cluster.apply(hands.render(loop, action.packages))
    elif isinstance(action, Withdraw):
        objects = hands.render(loop, action.packages)
        hands.cluster.delete([document for document in objects if document["kind"] in WORKLOADS])
    elif isinstance(action, Promote):
        hands.aliases.promote(loop.name, action.version, action.why)


def started_from(rollout: Rollout, serving: int | None, packages: Mapping[str, Package]) -> Rollout:
    """A waiting rollout, set to go back to the version that is the last good one now, which may not be the one it was
    made against: another rollout has passed or failed since."""
    if rollout.state != "waiting" or serving == rollout.version:
        return rollout
    return replace(rollout, previous=serving, previous_packages=dict(packages))


def reconcile(loop: Loop, rollout: Rollout, scene: Scene, hands: Hands) -> Rollout:
    """One step of a rollout, done. Gives the rollout to save; OSError when a port is not there."""
    stepped, actions = step(rollout, scene)
    for action in actions:
        perform(action, loop, hands)
    return stepped
