"""One step of a rollout: a pure function from what is seen to the next state and what is to be done.

    waiting -> running -> done                           every wave passed
                       -> rolling_back -> rolled_back    a wave failed and there is a last good version
                       -> aborted                        a wave failed on the first rollout

    wave: pending -> deploying -> soaking -> passed | failed

A wave settles when its Deployments are through and the agents say that the version is loaded; then it soaks `soak_s` on the
fleet's clock (longer where no row was scored), while `gate` looks at its counts. Settling has a deadline on the wall clock, as
pods start in real time.
Actions are made so that doing them twice does no harm; a step that is repeated changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from edgeloop_contracts import Package, Rollout, RolloutEvent, Wave
from edgeloop_fleet.controller import settling
from edgeloop_fleet.controller.gate import Evidence, Gate, Soak, look
from edgeloop_fleet.ports import Observed

__all__ = ["Action", "Apply", "Policy", "Promote", "Scene", "Withdraw", "current_wave", "step", "touched", "wanted"]

DEPLOYING_SINCE = "deploying_wall_s"  # keys in Wave.numbers
RESTARTS = "restarts"
MAX_RESTARTS = 3


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What loop.yaml and the service's settings say. `targets`: group: target. Shares and tolerances are in 0..1."""

    targets: Mapping[str, str]
    approved: bool = True
    deadline_s: float = 600.0
    max_failed_share: float = 0.01


@dataclass(frozen=True)
class Apply:
    """Make the cluster hold these packages (group: image) of the loop."""

    packages: Mapping[str, Package] = field(default_factory=dict)


@dataclass(frozen=True)
class Withdraw:
    """Take the loop's workloads (those of these packages) from the cluster."""

    packages: Mapping[str, Package] = field(default_factory=dict)


@dataclass(frozen=True)
class Promote:
    """Name the version the good one."""

    version: int
    why: str


Action = Apply | Withdraw | Promote
Step = tuple[Rollout, tuple[Action, ...]]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One look at the fleet. `now_s` is the fleet's clock, `observed.wall_s` the wall's; `evidence` is the soaking wave's."""

    observed: Observed
    policy: Policy
    now_s: float
    evidence: Evidence = field(default_factory=Evidence)


def _note(rollout: Rollout, now_s: float, event: str, why: str) -> Rollout:
    return replace(rollout, history=(*rollout.history, RolloutEvent(at_s=now_s, event=event, why=why)))


def wanted(rollout: Rollout, policy: Policy) -> dict[str, Package]:
    """The image that each group shall have now, by `rollout.desired`."""
    found = {}
    for group, version in rollout.desired.items():
        images = rollout.packages if version == rollout.version else rollout.previous_packages
        if policy.targets.get(group, "") in images:
            found[group] = images[policy.targets[group]]
    return found


def touched(rollout: Rollout) -> tuple[str, ...]:
    """The groups that the rollout has told to take its version."""
    return tuple(group for wave in rollout.waves if wave.state != "pending" for group in wave.groups)


def current_wave(rollout: Rollout) -> int | None:
    """The place of the wave that is under way; None when all have passed or one has failed."""
    open_states = ("pending", "deploying", "soaking")
    return next((i for i, wave in enumerate(rollout.waves) if wave.state in open_states), None)


def _with_wave(rollout: Rollout, i: int, wave: Wave) -> Rollout:
    return replace(rollout, waves=(*rollout.waves[:i], wave, *rollout.waves[i + 1 :]))


def _name(i: int, wave: Wave) -> str:
    return f"wave {i + 1} ({', '.join(wave.groups)})"


def _deploy(rollout: Rollout, i: int, scene: Scene) -> Rollout:
    numbers = {DEPLOYING_SINCE: scene.observed.wall_s}
    wave = replace(rollout.waves[i], state="deploying", started_s=scene.now_s, numbers=numbers)
    desired = {**rollout.desired, **dict.fromkeys(wave.groups, rollout.version)}
    rollout = replace(_with_wave(rollout, i, wave), desired=desired)
    return _note(rollout, scene.now_s, "wave", f"{_name(i, wave)} gets version {rollout.version}")


def _begin(rollout: Rollout, scene: Scene) -> Step:
    if not scene.policy.approved:
        return rollout, ()
    old = {} if rollout.previous is None else {g: rollout.previous for w in rollout.waves for g in w.groups}
    known = {g: v for g, v in old.items() if scene.policy.targets.get(g, "") in rollout.previous_packages}
    came = f"from version {rollout.previous}" if rollout.previous is not None else "the first one"
    rollout = replace(rollout, state="running", desired=known)
    rollout = _note(rollout, scene.now_s, "rollout", f"version {rollout.version} begins, {came}")
    return _go_on(rollout, -1, scene)


def _go_on(rollout: Rollout, passed: int, scene: Scene) -> Step:
    """After wave `passed`: the next one, or done."""
    if passed + 1 < len(rollout.waves):
        return _deploy(rollout, passed + 1, scene), ()
    why = f"all {len(rollout.waves)} waves passed" + (f"; {rollout.waves[-1].evidence}" if rollout.waves else "")
    done = _note(replace(rollout, state="done"), scene.now_s, "promoted", f"version {rollout.version}: {why}")
    return done, (Promote(rollout.version, why),)


def _fail(rollout: Rollout, i: int, scene: Scene, why: str, numbers: Mapping[str, float] | None = None) -> Step:
    old = rollout.waves[i]
    found = {**old.numbers, **(numbers or {})}
    wave = replace(old, state="failed", finished_s=scene.now_s, evidence=why, numbers=found)
    rollout = _note(_with_wave(rollout, i, wave), scene.now_s, "failed", f"{_name(i, wave)}: {why}")
    if rollout.previous is None or not rollout.previous_packages:
        return _abort(rollout, scene)
    return _turn_back(rollout, rollout.previous, scene), ()


def _abort(rollout: Rollout, scene: Scene) -> Step:
    gone = Withdraw(wanted(rollout, scene.policy))
    why = f"version {rollout.version} is taken off the nodes; there is no earlier one to go back to"
    return _note(replace(rollout, state="aborted", desired={}), scene.now_s, "aborted", why), (gone,)


def _turn_back(rollout: Rollout, previous: int, scene: Scene) -> Rollout:
    kept = {
        group: previous for group in rollout.desired if scene.policy.targets.get(group, "") in rollout.previous_packages
    }
    why = f"{', '.join(touched(rollout))} back to version {previous}"
    return _note(replace(rollout, state="rolling_back", desired=kept), scene.now_s, "rolling_back", why)


def _stuck(rollout: Rollout, wave: Wave, scene: Scene) -> str:
    images = wanted(rollout, scene.policy)
    return settling.cannot_start(wave.groups, [images[group].digest for group in wave.groups], scene.observed)


def _deploying(rollout: Rollout, i: int, scene: Scene) -> Step:
    wave, images, observed = rollout.waves[i], wanted(rollout, scene.policy), scene.observed
    stuck = _stuck(rollout, wave, scene)
    if stuck:
        return _fail(rollout, i, scene, f"a pod cannot start: {stuck}")
    waiting = [g for g in wave.groups if not settling.is_settled(g, rollout.version, images[g], observed)]
    took_s = observed.wall_s - wave.numbers.get(DEPLOYING_SINCE, observed.wall_s)
    if not waiting:
        return _settle(rollout, i, scene), ()
    if took_s > scene.policy.deadline_s:
        lacks = "; ".join(settling.missing_words(group, rollout.version, observed) for group in waiting)
        return _fail(rollout, i, scene, f"not settled after {took_s:.0f} s: {lacks}")
    return rollout, ()


def _settle(rollout: Rollout, i: int, scene: Scene) -> Rollout:
    wave = rollout.waves[i]
    numbers = {**wave.numbers, RESTARTS: float(settling.restarts_of(wave.groups, scene.observed))}
    settled = replace(wave, state="soaking", settled_s=scene.now_s, numbers=numbers)
    why = f"{_name(i, wave)} runs version {rollout.version} on every node in reach"
    return _note(_with_wave(rollout, i, settled), scene.now_s, "settled", why)


def _soaking(rollout: Rollout, i: int, scene: Scene) -> Step:
    wave, policy = rollout.waves[i], scene.policy
    stuck = _stuck(rollout, wave, scene)
    restarts = settling.restarts_of(wave.groups, scene.observed) - wave.numbers.get(RESTARTS, 0.0)
    if stuck or restarts >= MAX_RESTARTS:
        why = f"a pod cannot start: {stuck}" if stuck else f"{restarts:.0f} restarts since it settled"
        return _fail(rollout, i, scene, why)
    gate = look(
        scene.evidence,
        Soak(shall_s=rollout.soak_s, soaked_s=scene.now_s - (wave.settled_s or 0.0), first=rollout.previous is None),
        tolerance=rollout.tolerance,
        max_failed_share=policy.max_failed_share,
    )
    if gate.state == "failed":
        return _fail(rollout, i, scene, gate.why, gate.numbers)
    if gate.state == "wait":
        return rollout, ()
    return _pass(rollout, i, gate, scene)


def _pass(rollout: Rollout, i: int, gate: Gate, scene: Scene) -> Step:
    wave = rollout.waves[i]
    numbers = {**wave.numbers, **gate.numbers}
    passed = replace(wave, state="passed", finished_s=scene.now_s, evidence=gate.why, numbers=numbers)
    rollout = _note(_with_wave(rollout, i, passed), scene.now_s, "passed", f"{_name(i, wave)}: {gate.why}")
    return _go_on(rollout, i, scene)


def _advance(rollout: Rollout, scene: Scene) -> Step:
    i = current_wave(rollout)
    if i is None:
        return _go_on(rollout, len(rollout.waves) - 1, scene)
    if rollout.waves[i].state == "pending":
        return _deploy(rollout, i, scene), ()
    return (_deploying if rollout.waves[i].state == "deploying" else _soaking)(rollout, i, scene)


def _return(rollout: Rollout, scene: Scene) -> Step:
    images, old = wanted(rollout, scene.policy), rollout.previous or 0
    back = [group for group in touched(rollout) if group in images]
    if not all(settling.is_settled(group, old, images[group], scene.observed) for group in back):
        return rollout, ()
    why = f"version {old} serves again on {', '.join(back) or 'no group'}"
    return _note(replace(rollout, state="rolled_back"), scene.now_s, "rolled_back", why), ()


def _differs(rollout: Rollout, scene: Scene) -> bool:
    """Whether a Deployment that the rollout has touched holds another image than it shall."""
    images, groups = wanted(rollout, scene.policy), scene.observed.groups
    return any(
        (groups[group].desired_digest if group in groups else "") != (images[group].digest if group in images else "")
        for group in touched(rollout)
    )


_STEPS: Mapping[str, Callable[[Rollout, Scene], Step]] = {
    "waiting": _begin,
    "running": _advance,
    "rolling_back": _return,
}


def step(rollout: Rollout, scene: Scene) -> Step:
    """The rollout after one look at the fleet, and what is to be done for it. A finished one stays as it is.

    KeyError when a wave's group has no package.
    """
    act = _STEPS.get(rollout.state)
    rollout, actions = act(rollout, scene) if act else (rollout, ())
    if rollout.state in ("running", "rolling_back") and _differs(rollout, scene):
        actions = (*actions, Apply(wanted(rollout, scene.policy)))
    return rollout, actions
