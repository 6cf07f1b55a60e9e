"""Digests of what an FPGA build makes, as its certificate has them: sha256:<hex>."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

__all__ = ["of_bytes", "of_texts"]


def of_bytes(content: bytes) -> str:
    """Of a file's content."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def of_texts(files: Mapping[str, str]) -> str:
    """Of files (name -> text), in whatever order they come: names and lengths count, too."""
    return of_bytes(b"".join(f"{name}\0{len(text.encode())}\0{text}".encode() for name, text in sorted(files.items())))
