"""Shows a run to a person: a line for each step that has ended, and which steps are at work now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

__all__ = ["Progress"]

_MARKS = {"finished": "[green]done[/]  ", "failed": "[red]failed[/]"}
_SHOWN = (
    *("rows", "quarantined", "accepted", "version", "difference", "agreement", "from_estimator"),
    *("design", "bitstream", "row", "latency_p99_ms", "image", "told"),
)


class Progress:
    """Takes the events of a run one by one; a context manager, for the line that moves."""

    def __init__(self, console: Console) -> None:
        self._console, self._status = console, Status("starting", console=console)
        self._running: dict[str, str] = {}  # step: what it said last

    def __enter__(self) -> Progress:
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def __call__(self, event: Mapping[str, Any]) -> None:
        name = f"{event['step']} {event['target']}".strip()
        if event["event"] == "started":
            self._running[name] = ""
        elif event["event"] == "said":
            self._running[name] = f" ({event['text']})"
        else:
            self._running.pop(name, None)
            self._console.print(self.line(name, event), soft_wrap=True)
        self._status.update(escape(self.now))

    @property
    def now(self) -> str:
        """The steps at work, with what each said last."""
        return ", ".join(map("".join, self._running.items())) or "between steps"

    @staticmethod
    def line(name: str, event: Mapping[str, Any]) -> str:
        """One ended step: state, name, seconds, and what it has to say."""
        notes = event.get("notes", {})
        said = event.get("error") or ", ".join(f"{key} {notes[key]}" for key in _SHOWN if key in notes)
        return f"{_MARKS[event['event']]} {escape(name):<22} {event['seconds']:7.2f} s  {escape(str(said))}"
