"""Whether `train.estimator` names a classifier that is there and takes the parameters it is given.

Checking a file must not run a stranger's code: only scikit-learn and packages installed in the environment's own
site-packages are imported. A module that lies elsewhere, such as beside the loop's file, is not questioned.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import site
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_contracts import Problem

__all__ = ["estimator_problems"]

PATH = "train.estimator"
CLASSIFIER = "a scikit-learn classifier"


def estimator_problems(estimator: str, params: Mapping[str, Any]) -> list[Problem]:
    """Problems of an estimator, a dotted name (empty: there is none), and of the names of its parameters."""
    module_name, _, name = estimator.rpartition(".")
    package = module_name.partition(".")[0]
    if not estimator:
        return []
    if package in sys.stdlib_module_names:
        return [Problem(PATH, CLASSIFIER, estimator, _elsewhere(name))]
    if package != "sklearn" and not _is_installed(package):
        return []
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a package's import may fail in any way
        return [_not_imported(module_name, name, error)]
    found = getattr(module, name, None)
    if not inspect.isclass(found):
        return [_no_class(module, name)]
    return [*_no_classifier(found, estimator), *_parameter_problems(found, params)]


def _is_installed(package: str) -> bool:
    """Whether the module lies in the environment's site-packages; it is found without being run."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module without a spec, such as __main__
        return False
    origins = [*([spec.origin] if spec and spec.origin else []), *((spec and spec.submodule_search_locations) or [])]
    folders = [Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")]
    folders += map(Path, (*site.getsitepackages(), site.getusersitepackages()))
    return any(Path(origin).is_relative_to(folder) for origin in origins for folder in folders)


def _not_imported(module_name: str, name: str, error: Exception) -> Problem:
    whose = "scikit-learn" if module_name.startswith("sklearn") else module_name.partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
        return Problem(PATH, f"a module of {whose}", module_name, _elsewhere(name))
    return Problem(PATH, "a module that can be imported", module_name, f"{type(error).__name__}: {error}")


def _no_class(module: Any, name: str) -> Problem:
    where = module.__name__
    near = difflib.get_close_matches(name, _classifiers(module), n=1)
    return Problem(
        PATH, f"an estimator of {where}", name, f"did you mean {where}.{near[0]}?" if near else _elsewhere(name)
    )


def _classifiers(module: Any) -> list[str]:
    """The estimators of a module that give probabilities."""
    return [n for n, c in vars(module).items() if inspect.isclass(c) and hasattr(c, "predict_proba")]


def _elsewhere(name: str) -> str:
    from sklearn.utils import all_estimators

    known = {n: f"{c.__module__.partition('._')[0]}.{n}" for n, c in all_estimators(type_filter="classifier")}
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {known[near[0]]}?" if near else ""


def _no_classifier(found: Any, estimator: str) -> list[Problem]:
    if not hasattr(found, "fit"):
        return [Problem(PATH, CLASSIFIER, estimator, "it has no fit")]
    if not hasattr(found, "predict_proba"):
        return [Problem(PATH, "an estimator with predict_proba", estimator, "it gives no probabilities")]
    return []


def _parameter_problems(found: Any, params: Mapping[str, Any]) -> list[Problem]:
    known = inspect.signature(found).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in known.values()):
        return []
    return [
        Problem(f"train.params.{name}", f"a parameter of {found.__name__}", name, _near(name, list(known)))
        for name in params
        if name not in known
    ]


def _near(name: str, known: list[str]) -> str:
    lowered = {other.lower(): other for other in known}
    match = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f"did you mean {lowered[match[0]]}?" if match else "the parameters: " + ", ".join(known)
