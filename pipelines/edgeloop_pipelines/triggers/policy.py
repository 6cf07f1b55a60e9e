"""Decides whether a run may start: values in, one decision out.

Rules, in this order; the first that says no gives the reason:

1. a key is a short name (it becomes a folder), and starts once: its second request is the first one again;
2. the cause is one that the loop allows (`manual` always is; `schedule` is where the loop has one);
3. one run of a loop at a time;
4. after failed runs the pause doubles with each of them (`backoff_s`);
5. the cooldown since the last request that started a run;
6. the budget: most runs in a time.

A person who asks by hand passes 4 to 6. Times are the requests' own (the fleet's clock, which may run in event time), so a
past that lies in the future of `now_s` holds nothing up. This module starts nothing and reads no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgeloop_contracts import RunRequest, units
from edgeloop_contracts.loop import Retrain
from edgeloop_fleet.ports import Decision
from edgeloop_pipelines.local.runfolder import KEY, KEY_FORM

__all__ = ["ACTIVE", "LEAST_BACKOFF_S", "MOST_BACKOFF_S", "Past", "State", "backoff_s", "decide"]

State = Literal["starting", "running", "succeeded", "rejected", "failed"]
ACTIVE = ("starting", "running")
LEAST_BACKOFF_S, MOST_BACKOFF_S = 300.0, 7 * 86_400.0


@dataclass(frozen=True)
class Past:
    """A run that was started: its key, its state, and when it was asked for (Unix seconds, the request's clock)."""

    key: str
    state: State
    requested_s: float


def decide(request: RunRequest, history: Sequence[Past], retrain: Retrain, now_s: float) -> Decision:
    """Whether the run may start now. `history` holds every run of this loop, in any order."""
    rules: tuple[Callable[[], str], ...] = (
        lambda: _same_key(request, history),
        lambda: _cause(request, retrain),
        lambda: _active(history),
    )
    if request.cause != "manual":
        rules += (
            lambda: _backoff(history, retrain, now_s),
            lambda: _cooldown(history, retrain, now_s),
            lambda: _budget(history, retrain, now_s),
        )
    refusal = next((why for rule in rules if (why := rule())), "")
    return Decision(not refusal, refusal or f"{request.cause}: {request.reason or 'asked for'}")


def _same_key(request: RunRequest, history: Sequence[Past]) -> str:
    if not KEY.fullmatch(request.key):
        return f"a run key is {KEY_FORM}, got {request.key[:100]!r}"
    same = next((past for past in history if past.key == request.key), None)
    return f"run {same.key} was started before and is {same.state}" if same else ""


def _cause(request: RunRequest, retrain: Retrain) -> str:
    allowed = {"manual", *retrain.on, *(("schedule",) if retrain.schedule else ())}
    return "" if request.cause in allowed else f"cause {request.cause} is not in retrain.on ({', '.join(retrain.on)})"


def _active(history: Sequence[Past]) -> str:
    active = next((past for past in history if past.state in ACTIVE), None)
    return f"run {active.key} of this loop is active" if active else ""


def _ages(history: Sequence[Past], now_s: float) -> list[tuple[float, Past]]:
    """Seconds since each run was asked for, the newest first; runs of the future left out."""
    return sorted(
        ((now_s - past.requested_s, past) for past in history if past.requested_s <= now_s),
        key=lambda a: (a[0], a[1].key),
    )


def backoff_s(failures: int, cooldown_s: float) -> float:
    """The pause after `failures` failed runs in a row: the cooldown (at least 300 s) doubled each time, at most a week."""
    if failures == 0:
        return 0.0
    return float(min(max(cooldown_s, LEAST_BACKOFF_S) * 2.0 ** min(failures, 30), MOST_BACKOFF_S))


def _backoff(history: Sequence[Past], retrain: Retrain, now_s: float) -> str:
    ended = [(age, past) for age, past in _ages(history, now_s) if past.state not in ACTIVE]
    failures = next((i for i, (_, past) in enumerate(ended) if past.state != "failed"), len(ended))
    pause_s = backoff_s(failures, units.duration_s(retrain.cooldown))
    if not failures or ended[0][0] >= pause_s:
        return ""
    return f"the last {failures} run(s) failed: {_left(pause_s - ended[0][0])} of the pause of {pause_s:g} s are left"


def _cooldown(history: Sequence[Past], retrain: Retrain, now_s: float) -> str:
    cooldown_s, ages = units.duration_s(retrain.cooldown), _ages(history, now_s)
    if not ages or ages[0][0] >= cooldown_s:
        return ""
    return f"cooldown of {retrain.cooldown}: {_left(cooldown_s - ages[0][0])} are left"


def _budget(history: Sequence[Past], retrain: Retrain, now_s: float) -> str:
    budget = units.rate(retrain.budget)
    spent = sum(1 for age, _ in _ages(history, now_s) if age < budget.per_s)
    return f"budget of {retrain.budget} is spent ({spent} runs)" if spent >= budget.count else ""


def _left(seconds: float) -> str:
    return f"{seconds:.0f} s"
