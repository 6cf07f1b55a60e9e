"""The agent's way to the cloud as a port, and a simulator of it.

A transport carries deliveries (JSON bytes) and hands on what comes back, acknowledgements above all; it decides nothing. It
may lose, repeat and delay: the spool is the truth. It raises nothing; troubles are logged when they begin and when they end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

__all__ = ["Heard", "Memory", "Outcome", "Transport"]

Outcome = Literal["sent", "refused", "failed"]
Heard = Callable[[bytes], None]


class Transport(Protocol):
    """`sent`: it is under way. `refused`: the cloud says that it is wrong. `failed`: try again later."""

    def ready(self) -> bool:
        """False while it makes no sense to try."""

    def send(self, delivery: bytes) -> Outcome:
        """Hands a delivery over. What the cloud answers goes to the `heard` given at the start, perhaps later."""

    def close(self) -> None:
        """Lets go of connections and threads."""

    def describe(self) -> str:
        """Where it leads, for people."""


class Memory:
    """The simulator: a cloud in memory. `answer` turns a delivery into an answer, None: no answer comes."""

    def __init__(self, heard: Heard, answer: Callable[[bytes], bytes | None]) -> None:
        self.heard, self.answer = heard, answer
        self.open, self.outcome = True, "sent"
        self.deliveries: list[bytes] = []

    def ready(self) -> bool:
        return self.open

    def send(self, delivery: bytes) -> Outcome:
        if not self.open:
            return "failed"
        self.deliveries.append(delivery)
        back = self.answer(delivery)
        if back is not None:
            self.heard(back)
        return "refused" if self.outcome == "refused" else "sent"

    def close(self) -> None:
        self.open = False

    def describe(self) -> str:
        return "memory"
