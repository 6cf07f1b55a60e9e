"""The cron rules of `retrain.schedule`, under their old name; they live in the contracts, where the fleet service reads them.

Nothing is decided here: the fleet's tick asks when a rule falls due, and `policy` says whether the run may start. `kfp_cron`
says a rule in the words of Kubeflow Pipelines, whose own scheduler then keeps the time.
"""

from __future__ import annotations

from collections.abc import Collection

from edgeloop_contracts.schedule import CronError, Rule, due, parse

__all__ = ["CronError", "Rule", "due", "kfp_cron", "parse"]

_ALL = {"days": frozenset(range(1, 32)), "months": frozenset(range(1, 13)), "weekdays": frozenset(range(7))}


def kfp_cron(cron: str) -> str:
    """The rule with six fields, seconds first, in numbers alone. CronError when it cannot be said there.

    Sunday is 0 there and never 7, and versions of its parser differ on whether `*/n` counts as a restriction; so every field
    becomes `*` or a list, and a rule that asks for days and weekdays at once by such a step is refused.
    """
    rule = parse(cron)
    days, months, weekdays = (
        _listed(values, _ALL[name])
        for name, values in (("days", rule.days), ("months", rule.months), ("weekdays", rule.weekdays))
    )
    if (rule.any_day or rule.any_weekday) and "*" not in (days, weekdays):
        raise CronError(
            f"cron rule {cron!r}: expected days or weekdays, or both as lists, got a step of one and a choice of the other,"
            " which Kubeflow Pipelines reads in two ways"
        )
    minutes, hours = _listed(rule.minutes, range(60)), _listed(rule.hours, range(24))
    return f"0 {minutes} {hours} {days} {months} {weekdays}"


def _listed(values: Collection[int], every: Collection[int]) -> str:
    return "*" if set(values) == set(every) else ",".join(str(value) for value in sorted(values))
