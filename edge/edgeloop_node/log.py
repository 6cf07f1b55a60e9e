"""Log lines: one JSON object a line on stderr, with time (UTC), level, what happened, and the numbers that belong to it."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Literal

__all__ = ["Changes", "Level", "log"]

Level = Literal["info", "warning", "error"]


def log(level: Level, what: str, **fields: object) -> None:
    """Writes one line. A stderr that nobody reads any more must not stop the node, so its errors are swallowed."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": time, "level": level, "what": what, **fields}, default=str)
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        return


class Changes:
    """Logs a lasting trouble once when it begins or changes, and once when it is over."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}

    def trouble(self, what: str, error: object, **fields: object) -> None:
        if self._troubles.get(what) != str(error):
            self._troubles[what] = str(error)
            log("warning", what, error=str(error), **fields)

    def well(self, what: str) -> None:
        if self._troubles.pop(what, None) is not None:
            log("info", f"over: {what}")
