"""Questions to a loop that its text alone cannot answer: is there such an estimator, has the data these columns.

Both give problems in the same form as the reader's, so that they are shown at the line of their field. Estimators are
imported from scikit-learn only: checking a file must not run a stranger's code.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, Problem
from edgeloop_pipelines.loopfile.table import SourceError, is_remote, look

__all__ = ["column_problems", "data_problems", "estimator_problems", "schedule_problems"]

HEAD_ROWS = 100


def data_problems(loop: Loop, folder: Path) -> list[Problem]:
    """Reads the first rows of the source and compares its columns with those that the loop names.

    A relative path is looked for in `folder`, that of the loop's file, as the pipeline does.
    """
    source = loop.data.source
    try:
        columns = [str(name) for name in look(source if is_remote(source) else str(folder / source), HEAD_ROWS).frame]
    except SourceError as error:
        return [Problem("data.source", "data that can be read", str(error), error.hint)]
    return column_problems(loop, columns)


def column_problems(loop: Loop, columns: Sequence[str]) -> list[Problem]:
    """A problem for each column that the loop names and the data has not."""
    data, slices = loop.data, loop.validate.slices
    named = [("data.label", data.label), ("data.time", data.time), ("data.node", data.node)]
    named += [(f"data.features[{i}]", name) for i, name in enumerate(data.features)]
    named += [(f"validate.slices[{i}]", name) for i, name in enumerate(slices)]
    return [
        Problem(path, "a column of the data", name, _near(name, columns))
        for path, name in named
        if name and name not in columns
    ]


def _near(name: str, known: Iterable[str]) -> str:
    names = list(known)
    lowered = {other.lower(): other for other in names}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    if match:
        return f"did you mean {lowered[match[0]]}?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"the columns: {shown}"


def schedule_problems(loop: Loop) -> list[Problem]:
    """Whether the schedule is a rule that can fall due."""
    from edgeloop_pipelines.triggers.schedule import CronError, parse

    if not loop.retrain.schedule:
        return []
    try:
        parse(loop.retrain.schedule)
    except CronError as error:
        return [Problem("retrain.schedule", "a cron rule such as '0 3 * * 0'", loop.retrain.schedule, str(error))]
    return []


def estimator_problems(loop: Loop) -> list[Problem]:
    """Whether a scikit-learn estimator exists, classifies, and takes the parameters that it is given."""
    module_name, _, name = loop.train.estimator.rpartition(".")
    if not module_name.startswith("sklearn"):
        return []
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError:
        return [Problem("train.estimator", "a module of scikit-learn", module_name, _elsewhere(name))]
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        near = difflib.get_close_matches(name, _classifiers(module), n=1)
        hint = f"did you mean {module_name}.{near[0]}?" if near else _elsewhere(name)
        return [Problem("train.estimator", f"an estimator of {module_name}", name, hint)]
    return [*_no_classifier(found, loop), *_parameter_problems(found, loop)]


def _classifiers(module: Any) -> list[str]:
    """The estimators of a module that give probabilities."""
    return [n for n, c in vars(module).items() if inspect.isclass(c) and hasattr(c, "predict_proba")]


def _elsewhere(name: str) -> str:
    from sklearn.utils import all_estimators

    known = {n: f"{c.__module__.partition('._')[0]}.{n}" for n, c in all_estimators(type_filter="classifier")}
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {known[near[0]]}?" if near else ""


def _no_classifier(found: Any, loop: Loop) -> list[Problem]:
    if hasattr(found, "predict_proba"):
        return []
    return [
        Problem("train.estimator", "an estimator with predict_proba", loop.train.estimator, "it gives no probabilities")
    ]


def _parameter_problems(found: Any, loop: Loop) -> list[Problem]:
    parameters = inspect.signature(found).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return []
    return [
        Problem(f"train.params.{name}", f"a parameter of {found.__name__}", name, _near(name, parameters))
        for name in loop.train.params
        if name not in parameters
    ]
