"""What every pipeline step shares: it reads the loop, says when it began and ended, and leaves a note when it fails.

On one machine the notes are lines in the file that EDGELOOP_RUN_EVENTS names (the local runner reads them); a failure is
also written to the object store under `runs/<run_key>/failures/`, where the exit handler finds it on a cluster. A failed
note never hides the failure itself. Standard library and contracts only: a step pays for nothing that it does not use.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, loads

__all__ = [
    "EVENTS",
    "LOG",
    "Step",
    "failure_prefix",
    "failures",
    "now_or",
    "running",
    "say",
    "write_json",
    "write_text",
]

EVENTS, LOG = "EDGELOOP_RUN_EVENTS", "EDGELOOP_RUN_LOG"
_at_work: list[tuple[str, str]] = []  # step and target of this process


@dataclass(frozen=True)
class Step:
    """A step at work. `note` adds facts to the line that tells of its end."""

    name: str
    target: str
    loop: Loop
    run_key: str
    notes: dict[str, Any] = field(default_factory=dict)

    def note(self, **facts: Any) -> None:
        self.notes.update(facts)


@contextlib.contextmanager
def running(name: str, loop: str, run_key: str, target: str = "") -> Iterator[Step]:
    """Wraps a step's work. `loop` is the JSON text of the Loop; `ContractError` when it is not one."""
    started_s = time.time()
    _tell(name, target, "started", at_s=started_s)
    _at_work.append((name, target))
    try:
        if "[[" in run_key:  # two scheduled runs of one key would be one run with one version
            raise ValueError(f"run_key: expected a name, got {run_key!r}: the scheduler has not filled it in")
        step = Step(name, target, loads(Loop, loop), run_key)
        yield step
    except Exception as error:
        _fail(name, target, run_key, error, started_s)
        raise
    finally:
        _at_work.pop()
    _tell(name, target, "finished", at_s=time.time(), seconds=time.time() - started_s, notes=step.notes)


def say(text: str) -> None:
    """What a long step does now: a line of its output, and for who watches the run."""
    print(text, flush=True)
    for name, target in _at_work[-1:]:
        _tell(name, target, "said", at_s=time.time(), text=text)


def _fail(name: str, target: str, run_key: str, error: Exception, started_s: float) -> None:
    log = os.environ.get(LOG) or f"pod {os.environ.get('HOSTNAME', 'unknown')}"
    message = f"{type(error).__name__}: {error}"
    note = {"step": name, "target": target, "error": message, "log": log, "at_s": time.time()}
    print(f"step {_full(name, target)} failed: {message}", file=sys.stderr, flush=True)
    _tell(name, target, "failed", at_s=note["at_s"], seconds=time.time() - started_s, error=message, log=log)
    with contextlib.suppress(Exception):  # the store itself may be what failed
        from edgeloop_components.stores.objects import connect

        connect().put(f"{failure_prefix(run_key)}{_full(name, target, '-')}.json", json.dumps(note).encode())


def _full(name: str, target: str, between: str = " for ") -> str:
    return f"{name}{between}{target}" if target else name


def _tell(name: str, target: str, event: str, **facts: Any) -> None:
    path = os.environ.get(EVENTS)
    if path:
        line = json.dumps({"step": name, "target": target, "event": event, **facts}) + "\n"
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, line.encode())  # one write in append mode: the lines of two steps do not mix
        os.close(descriptor)


def failure_prefix(run_key: str) -> str:
    """Where the notes of a run's failed steps lie in the object store."""
    return f"runs/{run_key}/failures/"


def failures(objects: Any, run_key: str) -> list[dict[str, Any]]:
    """The notes of a run's failed steps, the oldest first."""
    notes = [json.loads(objects.get(key)) for key in objects.list(failure_prefix(run_key))]
    return sorted(notes, key=lambda note: note["at_s"])


def now_or(now_s: float) -> float:
    """`now_s`, or the time on the wall where it is 0: parameters of a pipeline have no None."""
    return now_s or time.time()


def write_text(path: Path, text: str) -> None:
    """Writes a file atomically: a temporary file in the same folder, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """`write_text` of a JSON document."""
    write_text(path, json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
