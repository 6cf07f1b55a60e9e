"""Makes the first loop.yaml of a data source: looks, guesses, and words the file. It writes nothing itself."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from edgeloop_contracts import Loop, Target
from edgeloop_contracts.loop import DataSource, LoopMetadata, Monitor, NodeSelector, Train, Validate
from edgeloop_pipelines.loopfile.guess import Guess, Guesses, guess, pick_monitor_window, pick_window
from edgeloop_pipelines.loopfile.load import loads
from edgeloop_pipelines.loopfile.table import Sample, Table, TimeForm, look, span_s, summarise
from edgeloop_pipelines.loopfile.write import write

__all__ = ["Draft", "draft", "loop_name"]

ESTIMATOR = "sklearn.ensemble.HistGradientBoostingClassifier"
HEAD = (
    "yaml-language-server: $schema=loop.schema.json",
    "",
    "Written by `edgeloop init`. Lines that begin with '#' are examples and remarks; take away the '#' to use a field.",
    "For help in your editor: edgeloop schema loop -o loop.schema.json",
    "To find mistakes: edgeloop check FILE",
    "",
)


@dataclass(frozen=True)
class Draft:
    """A drafted loop.yaml and the guesses that it stands on."""

    text: str
    loop: Loop
    guesses: tuple[Guess, ...]
    left_out: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def draft(source: str, folder: Path, *, name: str = "", label: str | None, time: str | None, node: str | None) -> Draft:
    """Drafts a loop for a data source, to be written in `folder`: the file's relative paths begin there.

    SourceError when the source cannot be read or nothing can be a label.
    """
    sample = look(source)
    table = summarise(sample.frame)
    guesses = guess(table, time=time, node=node, label=label)
    time_form: TimeForm = next((c.time for c in table.columns if c.name == guesses.time.value), "")
    window = pick_window(span_s(source, guesses.time.value, time_form) if time_form else None)
    monitor = pick_monitor_window(table.step_s if time_form else None)
    further = (
        Guess("data.window", *window, "likely" if time_form else "a guess"),
        Guess("monitor.window", *monitor, "likely" if time_form else "a guess"),
        _gate(table, guesses.label.value),
    )
    written = source if Path(source).is_absolute() else os.path.relpath(source, folder)
    loop = _loop(name or loop_name(source), written, guesses, {g.path: g.value for g in further})
    everything = (guesses.time, guesses.node, guesses.label, *further)
    text = write(loop, _notes(everything, guesses), HEAD)
    loads(text.encode(), "the drafted loop.yaml")  # what is written must be accepted: a fault here is ours
    return Draft(text, loop, everything, guesses.left_out, _remarks(sample, table, guesses))


def loop_name(source: str) -> str:
    """A loop's name made of a path: its last part in lower-case letters, digits and '-'."""
    words = re.sub(r"[^a-z0-9]+", "-", Path(source).resolve().name.split(".")[0].lower()).strip("-")
    return words[:52].strip("-") or "loop"


def _gate(table: Table, label: str) -> Guess:
    column = next(c for c in table.columns if c.name == label)
    least = min(math.floor(column.commonest * 100) / 100, 0.99)
    why = f"always saying the most common class is right in {column.commonest:.1%} of the first rows"
    return Guess("validate.require", f">= {least:.2f}", why, "a guess")


def _loop(name: str, source: str, guesses: Guesses, further: dict[str, str]) -> Loop:
    return Loop(
        metadata=LoopMetadata(name=name),
        data=DataSource(
            source=source,
            label=guesses.label.value,
            features=guesses.features,
            time=guesses.time.value,
            node=guesses.node.value,
            window=further["data.window"],
        ),
        train=Train(estimator=ESTIMATOR),
        validate=Validate(
            require={"accuracy": further["validate.require"]},
            slices=(guesses.node.value,) if guesses.node.value else (),
        ),
        targets=(Target(name="gateway", nodes=NodeSelector(group="edge")),),
        monitor=Monitor(window=further["monitor.window"]),
    )


def _notes(guessed: tuple[Guess, ...], guesses: Guesses) -> dict[str, str]:
    notes = {g.path: f"{g.sure if g.sure == 'given' else f'guessed ({g.sure})'}: {g.why}" for g in guessed}
    if guesses.left_out:
        notes["data.features"] = "left out: " + "; ".join(f"{column} ({why})" for column, why in guesses.left_out[:8])
    if guesses.doubtful:
        notes["data.features"] = "taken for want of better: " + "; ".join(f"{n} ({why})" for n, why in guesses.doubtful)
    return {path: " ".join(text.split()) for path, text in notes.items()}


def _remarks(sample: Sample, table: Table, guesses: Guesses) -> tuple[str, ...]:
    remarks = []
    if guesses.doubtful:
        doubts = "; ".join(f"{column} ({why})" for column, why in guesses.doubtful)
        remarks.append(f"no column is a good feature; taken for want of better: {doubts}")
    if sample.broken:
        count = len(sample.broken)
        remarks.append(f"{count} broken line{'s' * (count > 1)} in the first rows, such as {sample.broken[0]}")
    if table.rows < 500:
        remarks.append(f"only {table.rows} rows: metrics will have wide intervals")
    return tuple(remarks)
