"""Finds the functions and classes that a loop names, and says what is near a name that is not there."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["NameProblem", "import_module", "nearest", "thing_named"]


class NameProblem(ValueError):  # noqa: N818
    """A dotted name leads nowhere. The message says which part, and what is near."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean x?`, or the list of what is known."""
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if match:
        return f"did you mean {match[0]}?"
    return "known: " + (", ".join(names[:40]) + (", ..." if len(names) > 40 else "") if names else "none")


@contextlib.contextmanager
def _working_folder_first() -> Iterator[None]:
    """Lets modules beside the loop file be found, as `python file.py` would."""
    here = str(Path.cwd())
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)


def import_module(name: str, what: str) -> Any:
    """The module `name`. NameProblem when it is not there; an error inside the module is raised as it is."""
    with _working_folder_first():
        importlib.invalidate_caches()
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, but something that it imports is not
            raise NameProblem(
                f"{what}: no module {error.name} can be imported (looked for {name} in the environment and in {Path.cwd()})"
            ) from error


def thing_named(name: str, what: str, *, separator: str = ":") -> Any:
    """What `module:name` (or `module.name` with separator ".") names. NameProblem."""
    module_name, found, attribute = name.rpartition(separator)
    if not (found and module_name and attribute):
        raise NameProblem(f"{what}: expected module{separator}name, got {name!r}")
    module = import_module(module_name, what)
    if not hasattr(module, attribute):
        public = [entry for entry in dir(module) if not entry.startswith("_")]
        raise NameProblem(f"{what}: module {module_name} has no {attribute!r} ({nearest(attribute, public)})")
    return getattr(module, attribute)
