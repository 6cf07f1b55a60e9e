"""Kubernetes' amounts as numbers."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["quantity"]

_SUFFIXES = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")


def quantity(text: Any) -> float | None:
    """A Kubernetes quantity (`250m`, `96Mi`, `2`) in its base unit: cores, bytes, or a count. None when it is none."""
    found = _QUANTITY.fullmatch(str(text)) if text is not None else None
    try:
        return float(found[1]) * _SUFFIXES[found[2] or ""] if found else None
    except ValueError:
        return None
