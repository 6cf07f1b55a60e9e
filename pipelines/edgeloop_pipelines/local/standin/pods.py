"""The life of one pod, as the kubelet leads it: pull, start, probe, restart with back-off, stop with grace.

Pure: `heard` takes in what happened, `due` says what to do next; both give the pod that follows. Times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeloop_pipelines.local.standin.containers import Probe
from edgeloop_pipelines.local.standin.objects import Owner

__all__ = ["Action", "Exited", "Fact", "Plan", "Pod", "Probed", "PullFailed", "Pulled", "asked_to_stop", "due", "heard"]

State = Literal["pending", "pulling", "pull-backoff", "pulled", "running", "backoff", "stopping", "gone"]
Action = Literal["", "pull", "start", "probe-startup", "probe-readiness", "terminate", "kill"]

LONGEST_BACK_OFF_S = 300.0
FORGIVEN_AFTER_S = 600.0  # a container that ran as long as this begins with no back-off again


@dataclass(frozen=True)
class Plan:
    """What a pod's manifest says about its life. `back_off_s` is the first delay; it doubles."""

    startup: Probe | None = None
    readiness: Probe | None = None
    grace_s: float = 30.0
    back_off_s: float = 10.0


@dataclass(frozen=True)
class Pulled:
    """The image is there and unpacked."""


@dataclass(frozen=True)
class PullFailed:
    why: str


@dataclass(frozen=True)
class Exited:
    """The main process ended; a negative code is a signal's number."""

    code: int


@dataclass(frozen=True)
class Probed:
    ok: bool
    why: str = ""


Fact = Pulled | PullFailed | Exited | Probed


@dataclass(frozen=True)
class Pod:
    """A pod and where it stands. `failures` counts failed starts or pulls in a row, `misses` failed probes in a row."""

    name: str
    uid: str
    owner: Owner
    node: str
    revision: str
    template: Mapping[str, Any]
    created_s: float
    state: State = "pending"
    since_s: float = 0.0
    due_s: float = 0.0
    started: bool = False
    ready: bool = False
    probing: bool = False
    deleting: bool = False
    killed: bool = False
    restarts: int = 0
    failures: int = 0
    misses: int = 0
    exit_code: int | None = None
    why: str = ""


def _delay_s(failures: int, plan: Plan) -> float:
    """The first failure is tried again at once, the next ones after 10, 20, 40 ... 300 s."""
    return 0.0 if failures == 0 else min(plan.back_off_s * 2.0 ** (failures - 1), LONGEST_BACK_OFF_S)


def _exited(pod: Pod, code: int, plan: Plan, now: float) -> Pod:
    if pod.deleting:
        return replace(pod, state="gone", ready=False, exit_code=code)
    failures = 0 if now - pod.since_s > FORGIVEN_AFTER_S else pod.failures
    fresh = replace(pod, ready=False, started=False, probing=False, killed=False, misses=0, exit_code=code)
    return replace(fresh, state="backoff", since_s=now, due_s=now + _delay_s(failures, plan), failures=failures + 1)


def _probed(pod: Pod, fact: Probed, plan: Plan, now: float) -> Pod:
    """The readiness probe runs at once after the startup probe has passed, as the kubelet has it."""
    startup = plan.startup if not pod.started else None
    probe = startup or plan.readiness
    if not pod.probing or probe is None or pod.state != "running":
        return replace(pod, probing=False)
    misses = 0 if fact.ok else pod.misses + 1
    asked = replace(pod, probing=False, misses=misses, due_s=now + probe.period_s, why="" if fact.ok else fact.why)
    if startup and fact.ok:
        return replace(asked, started=True, ready=plan.readiness is None, due_s=now)
    if startup:
        return asked
    return replace(asked, ready=fact.ok or (pod.ready and misses < probe.failures))


def heard(pod: Pod, fact: Fact, plan: Plan, now: float) -> Pod:
    """The pod after something happened to it."""
    if isinstance(fact, Exited):
        return _exited(pod, fact.code, plan, now)
    if isinstance(fact, Probed):
        return _probed(pod, fact, plan, now)
    if pod.state != "pulling":
        return pod
    if isinstance(fact, Pulled):
        return replace(pod, state="pulled", failures=0, why="")
    delay_s = _delay_s(pod.failures + 1, plan)
    return replace(pod, state="pull-backoff", due_s=now + delay_s, failures=pod.failures + 1, why=fact.why)


def asked_to_stop(pod: Pod) -> Pod:
    """The pod after its deletion; one without a process is gone."""
    alive = pod.state in ("running", "stopping")
    return replace(pod, deleting=True, ready=False, state=pod.state if alive else "gone")


def _start(pod: Pod, plan: Plan, now: float) -> tuple[Pod, Action]:
    first = plan.startup or plan.readiness
    begun = replace(pod, state="running", since_s=now, due_s=now + (first.delay_s if first else 0.0), misses=0)
    restarted = pod.restarts + (pod.state == "backoff")
    return replace(begun, restarts=restarted, started=plan.startup is None, ready=first is None), "start"


def _watch(pod: Pod, plan: Plan, now: float) -> tuple[Pod, Action]:
    """What a running pod needs: to be stopped, killed since it does not come up, or probed."""
    if pod.deleting:
        return replace(pod, state="stopping", due_s=now + plan.grace_s), "terminate"
    if plan.startup and not pod.started and pod.misses >= plan.startup.failures and not pod.killed:
        return replace(pod, killed=True), "kill"
    probe = plan.readiness if pod.started else plan.startup
    if probe is None or pod.probing or pod.killed or now < pod.due_s:
        return pod, ""
    return replace(pod, probing=True), "probe-readiness" if pod.started else "probe-startup"


def due(pod: Pod, plan: Plan, now: float) -> tuple[Pod, Action]:
    """What is to be done about the pod now, and the pod once it is done."""
    if pod.state == "running":
        return _watch(pod, plan, now)
    if pod.state == "pulled" or (pod.state == "backoff" and now >= pod.due_s):
        return _start(pod, plan, now)
    if pod.state == "pending" or (pod.state == "pull-backoff" and now >= pod.due_s):
        return replace(pod, state="pulling"), "pull"
    if pod.state == "stopping" and now >= pod.due_s and not pod.killed:
        return replace(pod, killed=True), "kill"
    return pod, ""
