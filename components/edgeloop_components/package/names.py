"""What a model and an image may be called: asked before work begins whose result no loop and no registry would take."""

from __future__ import annotations

import re

from edgeloop_components.package.layers import PackageError
from edgeloop_contracts.loop import NAME

__all__ = ["NAMES", "REPOSITORIES", "check_names", "is_name", "is_repository"]

NAMES = "small letters, digits and - in between, 48 at most"
REPOSITORIES = "small letters and digits, with . _ - / in between, 255 at most"
_WORD = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_WORD}(?:/{_WORD})*")  # as the OCI distribution specification has it


def is_name(text: str) -> bool:
    """Whether a loop or a model can have the name."""
    return re.fullmatch(NAME, text) is not None


def is_repository(text: str) -> bool:
    """Whether a registry can have a repository of the name."""
    return len(text) <= 255 and _REPOSITORY.fullmatch(text) is not None


def check_names(where: str, model: str, repository: str) -> None:
    """PackageError for the first that is none, with what is expected."""
    if not is_name(model):
        raise PackageError(f"{where}: model's name: expected {NAMES}, found {model[:80]!r}: give another with --name")
    if not is_repository(repository):
        raise PackageError(f"{where}: repository: expected {REPOSITORIES}, found {repository[:80]!r}")
