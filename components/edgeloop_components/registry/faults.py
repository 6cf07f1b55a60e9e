"""What can go wrong with one request to the registry for tests (testing.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Fault"]


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    `status`: that answer in place of the work. `cut`: the connection ends, at byte `at` of the request's body (`request`), after
    the work without an answer (`answer`), or at byte `at` of the answer's body (`body`). `slow_s`: a pause before the answer.
    `header`: headers that the answer gets, or another value of. `body`: another body of the answer. `flip`: one bit of the
    answer's body is changed.
    """

    status: int = 0
    retry_after: str = ""
    cut: str = ""
    at: int = 0
    slow_s: float = 0.0
    header: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    flip: bool = False
