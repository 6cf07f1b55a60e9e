"""What a person sees while the demo runs: one line an event, with its date in the stream, and a bar with the state of things.

It writes to standard error and decides nothing.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

__all__ = ["Live", "day"]

STYLES = {
    "verdict": "yellow",
    "run_requested": "bold yellow",
    "promoted": "bold green",
    "killed": "bold red",
    "failed": "red",
}
QUIET = ("rollout",)  # kinds of lines of the fleet that say what the next line says again


def day(at_s: float) -> str:
    """The date of a time in the stream; blank before the stream has begun."""
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d}" if at_s > 0 else " " * 10


def short(line: Mapping[str, Any]) -> str:
    """A line's text. A request for a run repeats the verdict that stands above it: that is left out."""
    text = str(line["text"])
    return text.partition(": ")[0] if line["kind"] == "run_requested" else text


class Live:
    """The display of one demo."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def say(self, text: str, style: str = "") -> None:
        """One line, as it is."""
        self.console.print(text, style=style or None, markup=False, soft_wrap=True)

    def event(self, at_s: float, kind: str, text: str) -> None:
        """One line of the timeline."""
        name, style = f"{kind.replace('_', ' '):<14}", STYLES.get(kind, "")
        shown = f"[{style}]{escape(name)}[/]" if style else escape(name)
        self.console.print(f"{day(at_s)}  {shown}{escape(text)}", soft_wrap=True)

    @contextlib.contextmanager
    def download(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """A bar for a download; gives the function that moves it."""
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, console=self.console, transient=True) as bar:
            task: list[TaskID] = []

            def move(done: int, size: int) -> None:
                if not task:
                    task.append(bar.add_task(f"download {name}", total=size or None))
                bar.update(task[0], completed=done)

            yield move

    @contextlib.contextmanager
    def streaming(self, rows: int) -> Iterator[None]:
        """Shows the bar of the stream."""
        columns = (
            TextColumn("{task.fields[date]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[accuracy]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as bar:
            self._progress = bar
            self._task = bar.add_task("", total=rows, date="", rate="", accuracy="")
            try:
                yield
            finally:
                self._progress = self._task = None

    def moved(self, at_s: float, rows: int, rows_a_second: float, accuracy: Mapping[int, float]) -> None:
        """Moves the bar of the stream."""
        if self._progress is None or self._task is None:
            return
        recent = "  ".join(f"v{version} {100 * share:.1f} %" for version, share in accuracy.items())
        self._progress.update(
            self._task, completed=rows, date=day(at_s), rate=f"{rows_a_second:,.0f} rows/s", accuracy=recent
        )

    @contextlib.contextmanager
    def timed(self, what: str, seconds: dict[str, float]) -> Iterator[None]:
        """Says what is done now, and adds its seconds to `seconds`."""
        self.say(f"{what.replace('_', ' ')} ...", "dim")
        began_s = time.monotonic()
        try:
            yield
        finally:
            seconds[what] = seconds.get(what, 0.0) + time.monotonic() - began_s

    def events(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """The lines that a viewer needs; the report has all of them."""
        for line in lines:
            if line["kind"] not in QUIET and not line["text"].startswith("insufficient"):
                self.event(line["at_s"], line["kind"], short(line))
