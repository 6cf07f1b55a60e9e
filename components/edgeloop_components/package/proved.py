"""Whether an image holds the very onnxruntime that showed parity: this machine's, in a loop's compile step and for a lone file.

Wheels of another platform do not run here, so parity is shown by the wheel of this machine, and what is packed must be of the
same version. Refuses an image with another one: nothing was shown of it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from edgeloop_components.package.layers import Layer, PackageError

__all__ = ["check_proved"]

_PROVES = "onnxruntime"


def check_proved(layers: Iterable[Layer], target: str) -> None:
    """PackageError when the layers bring another version than the one that is installed here."""
    packed = {part.version for layer in layers for part in layer.parts if (part.kind, part.name) == ("pypi", _PROVES)}
    here = importlib.metadata.version(_PROVES) if packed else ""
    if other := sorted(packed - {here}):
        raise PackageError(
            f"target {target}: its image would hold {_PROVES} {other[0]}, parity was shown by {here} of this machine: install "
            f"{_PROVES}=={other[0]} here, and compile again"
        )
