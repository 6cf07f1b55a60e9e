"""The error of the training step, alone so that every module of the step can raise it."""

from __future__ import annotations

__all__ = ["TrainError"]


class TrainError(ValueError):
    """A model cannot be made as asked. The message says what, where, what was expected and what was found."""
