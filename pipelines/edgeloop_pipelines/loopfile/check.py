"""Questions to a loop.yaml that its form alone cannot answer: does the schedule fall due, is there such an estimator and such
an ONNX file, has the data these columns.

They are put to the raw document, field by field, so that a mistake in one field hides none in another. The answers are
problems in the same form as the reader's, to be shown at the line of their field. What lies elsewhere (s3://, a function)
is not looked into, and that is said.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from edgeloop_contracts import Problem
from edgeloop_pipelines.loopfile.estimator import estimator_problems
from edgeloop_pipelines.loopfile.mend import value_at
from edgeloop_pipelines.loopfile.table import SourceError, is_remote, look

__all__ = ["Note", "column_problems", "data_findings", "field_problems"]

HEAD_ROWS = 100
READABLE = re.compile(r"s3://[^/]+(/.*)?|[A-Za-z_][\w.]*:[A-Za-z_]\w*")  # no path, but the pipeline reads it

Note = tuple[str, str]  # the field's path, and what was not asked of it


def field_problems(document: Any, folder: Path, broken: Collection[str]) -> list[Problem]:
    """Problems of the schedule, the estimator and the ONNX file. `broken`: paths with a mistake in their form already."""
    paths = ("retrain.schedule", "train.estimator", "train.onnx")
    rule, estimator, onnx = ("" if path in broken else _text_at(document, path) for path in paths)
    params = value_at(document, "train.params")
    return [
        *_schedule_problems(rule),
        *estimator_problems(estimator, params if isinstance(params, dict) else {}),
        *_onnx_problems(onnx, folder),
    ]


def data_findings(document: Any, folder: Path) -> tuple[list[Problem], list[Note]]:
    """Reads the first rows of the source and compares its columns with those that the document names.

    A relative path is looked for in `folder`, that of the loop's file, as the pipeline does.
    """
    source = _text_at(document, "data.source")
    if not source:
        return [], []
    if READABLE.fullmatch(source):
        return [], [("data.source", f"the data were not looked into: only files and folders can be, not {source}")]
    if is_remote(source):
        return [Problem("data.source", "a file, a folder, s3://bucket/prefix/ or module:function", source)], []
    try:
        columns = [str(name) for name in look(str(folder / source), HEAD_ROWS).frame]
    except SourceError as error:
        return [Problem("data.source", "data that can be read", str(error), error.hint)], []
    return column_problems(document, columns), []


def column_problems(document: Any, columns: Sequence[str]) -> list[Problem]:
    """A problem for each column that the document names and the data has not."""
    paths = ["data.label", "data.time", "data.node"]
    for path in ("data.features", "validate.slices"):
        listed = value_at(document, path)
        paths += [f"{path}[{i}]" for i in range(len(listed))] if isinstance(listed, list) else []
    named = [(path, _text_at(document, path)) for path in paths]
    return [
        Problem(path, "a column of the data", name, _near(name, columns))
        for path, name in named
        if name and name not in columns
    ]


def _text_at(document: Any, path: str) -> str:
    """The text at a path; empty where there is none or something else, which the reader has reported."""
    value = value_at(document, path)
    return value if isinstance(value, str) else ""


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    lowered = {other.lower(): other for other in names}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if match:
        return f"did you mean {lowered[match[0]]}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"the columns: {shown}"


def _schedule_problems(rule: str) -> list[Problem]:
    """Whether the schedule is a rule that can fall due."""
    from edgeloop_pipelines.triggers.schedule import CronError, parse

    if not rule:
        return []
    try:
        parse(rule)
    except CronError as error:
        return [Problem("retrain.schedule", "a cron rule such as '0 3 * * 0'", rule, str(error))]
    return []


def _onnx_problems(path: str, folder: Path) -> list[Problem]:
    """Whether there is an ONNX model in the file; a relative path begins in `folder`."""
    if not path or is_remote(path):
        return []
    from edgeloop_components.runtimes import ModelError
    from edgeloop_components.runtimes.describe import read_model

    try:
        read_model(folder / path)
    except ModelError as error:
        return [Problem("train.onnx", "an ONNX model", path, str(error))]
    return []
