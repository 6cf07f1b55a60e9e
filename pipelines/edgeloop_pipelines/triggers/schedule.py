"""The cron rules of `retrain.schedule`, under their old name; they live in the contracts, where the fleet service reads them.

Nothing is decided here: the fleet's tick asks when a rule falls due, and `policy` says whether the run may start.
"""

from __future__ import annotations

from edgeloop_contracts.schedule import CronError, Rule, due, parse

__all__ = ["CronError", "Rule", "due", "parse"]
