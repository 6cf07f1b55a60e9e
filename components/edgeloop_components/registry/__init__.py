"""Images to and from registries: `push`, `pull`, and the names, settings and errors that they take and give."""

from edgeloop_components.registry.errors import (
    DeniedError,
    MissingError,
    RegistryError,
    TransientError,
    UnsoundError,
)
from edgeloop_components.registry.pull import pull
from edgeloop_components.registry.push import Pushed, push
from edgeloop_components.registry.reference import InLayout, Remote, parse
from edgeloop_components.registry.transport import Settings

__all__ = [
    "DeniedError",
    "InLayout",
    "MissingError",
    "Pushed",
    "RegistryError",
    "Remote",
    "Settings",
    "TransientError",
    "UnsoundError",
    "parse",
    "pull",
    "push",
]
