"""The laws of the ports. Every adapter passes them, and so does every simulator.

Each function takes a fresh adapter and what it needs to make values, and raises AssertionError with the law that is broken.
A test of an adapter calls them; nothing in the service does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeloop_contracts import RunRequest, run_key
from edgeloop_fleet.ports import Aliases, Clock, Cluster, Trigger

__all__ = ["aliases_laws", "clock_laws", "cluster_laws", "trigger_laws"]


def _request(loop: str, evidence: int) -> RunRequest:
    key = run_key(loop, 1, "performance", evidence)
    return RunRequest(
        loop=loop, key=key, cause="performance", version=1, evidence=evidence, requested_s=float(evidence)
    )


def trigger_laws(trigger: Trigger, loop: str) -> None:
    """A key starts once; one run of a loop at a time; a refusal says why, and names the key only if that was started."""
    assert trigger.active(loop) == (), "before the first run none is active"
    first, second = _request(loop, 1_000_000), _request(loop, 2_000_000)
    started = trigger.fire(first)
    assert started.started, f"the first request starts a run: {started.why}"
    assert started.why, "a decision says why"
    assert trigger.active(loop) == (first.key,), "a started run is active"
    again = trigger.fire(first)
    assert not again.started, "the same key starts nothing twice"
    assert first.key in again.why, "the refusal of a key that was started names it"
    other = trigger.fire(second)
    assert not other.started, "while a run is active no other one of the loop starts"
    assert second.key not in other.why, "the refusal of a key that was not started does not name it"
    assert trigger.active(loop + "-other") == (), "other loops are not touched"


def aliases_laws(aliases: Aliases, loop: str, serving: Callable[[], int | None]) -> None:
    """The last promotion holds; the same one twice is one. `serving` reads the adapter's answer back."""
    aliases.promote(loop, 1, "the first")
    assert serving() == 1, "a promoted version is the good one"
    aliases.promote(loop, 1, "the first")
    assert serving() == 1, "promoting twice is promoting once"
    aliases.promote(loop, 2, "the second")
    assert serving() == 2, "the last promotion holds"


def cluster_laws(
    cluster: Cluster, loop: str, objects: Callable[[Mapping[str, str]], Sequence[Mapping[str, Any]]], group: str
) -> None:
    """Applying twice is applying once; deleting what is not there is no error; an unknown Deployment is an empty state.

    `objects` renders {group: digest}.
    """
    digest = "sha256:" + "1" * 64
    before = cluster.observe(loop, [group])[group]
    assert before.group == group
    assert before.desired_digest == "", "no Deployment, no digest"
    wanted = objects({group: digest})
    cluster.apply(wanted)
    cluster.apply(wanted)
    cluster.delete(wanted)
    cluster.delete(wanted)
    assert list(cluster.observe(loop, [])) == [], "only the groups that were asked for"


def clock_laws(clock: Clock) -> None:
    """Time does not go back."""
    times = [clock.now_s() for _ in range(100)]
    assert times == sorted(times)
