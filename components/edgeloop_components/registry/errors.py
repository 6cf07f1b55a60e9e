"""What can go wrong with a registry, each with a name of its own. Nothing else leaves this package for what a registry says."""

from __future__ import annotations

__all__ = ["DeniedError", "MissingError", "RegistryError", "TransientError", "UnsoundError"]


class RegistryError(RuntimeError):
    """A registry, a reference to one, or a document from one is not as it must be."""


class MissingError(RegistryError):
    """The registry has no such manifest, blob or repository."""


class DeniedError(RegistryError):
    """The registry does not let these credentials do that."""


class UnsoundError(RegistryError):
    """The registry's answer must not be believed: a wrong digest or size, a bad Location, more bytes than announced."""


class TransientError(RegistryError):
    """What may go better in a moment: no connection, a cut one, 429, 5xx. Raised in the end when it does not.

    `wait_s` is how long the registry asked to wait; `moved` says that this try brought some bytes across.
    """

    exit_code = 3  # of a command that it ends: unavailable

    def __init__(self, text: str, *, wait_s: float | None = None, moved: bool = False) -> None:
        super().__init__(text)
        self.wait_s, self.moved = wait_s, moved
