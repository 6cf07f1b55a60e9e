"""Simulators of the ports: they keep the laws of `conformance.py` in memory, for tests and for trying out."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeloop_contracts import Loop, Package, RunRequest
from edgeloop_contracts.artifacts import Signature
from edgeloop_contracts.ecdsa import GX, GY, N, PublicKey
from edgeloop_contracts.signature import image_claim
from edgeloop_fleet.ports import Decision, GroupState

__all__ = [
    "SimulatedAliases",
    "SimulatedClock",
    "SimulatedCluster",
    "SimulatedTrigger",
    "identity",
    "openly_signed",
    "simulated_render",
]


def identity(document: Mapping[str, Any]) -> tuple[str, str, str]:
    """Kind, namespace and name."""
    metadata = document["metadata"]
    return str(document["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


def simulated_render(loop: Loop, packages: Mapping[str, Package]) -> Sequence[Mapping[str, Any]]:
    """One EdgeApplication with the digest of each group: all that the simulated cluster reads."""
    if not packages:
        return []
    digests = {group: package.digest for group, package in packages.items()}
    return [{"kind": "EdgeApplication", "metadata": {"namespace": "edgeloop", "name": loop.name}, "digests": digests}]


def openly_signed(package: Package) -> Package:
    """The package, its image signed with the private key 1, which everybody knows: the public one is PublicKey(GX, GY)."""
    claim = image_claim(package.digest, package.repository)
    hashed = int.from_bytes(hashlib.sha256(claim).digest(), "big")
    numbers = [n.to_bytes(n.bit_length() // 8 + 1, "big") for n in (GX % N, (hashed + GX) % N)]
    body = b"".join(bytes([2, len(number)]) + number for number in numbers)  # ECDSA with the nonce 1
    made, payload = (base64.b64encode(data).decode() for data in (bytes([0x30, len(body)]) + body, claim))
    return replace(package, signatures=(Signature(key_id=PublicKey(GX, GY).key_id, payload=payload, signature=made),))


@dataclass
class SimulatedTrigger:
    """Starts a run for each new key while no run of the loop is active. `finish` ends one."""

    fired: list[RunRequest] = field(default_factory=list)
    running: list[RunRequest] = field(default_factory=list)
    refuses: str = ""

    def fire(self, request: RunRequest) -> Decision:
        if request.key in [known.key for known in self.fired]:
            return Decision(False, f"run {request.key} was started before")
        if self.refuses:
            return Decision(False, self.refuses)
        if self.active(request.loop):
            return Decision(False, f"a run of {request.loop} is active: {self.active(request.loop)[0]}")
        self.fired.append(request)
        self.running.append(request)
        return Decision(True, request.reason or request.cause)

    def active(self, loop: str) -> tuple[str, ...]:
        return tuple(request.key for request in self.running if request.loop == loop)

    def finish(self, key: str) -> None:
        self.running = [request for request in self.running if request.key != key]


@dataclass
class SimulatedAliases:
    """Remembers the promotions that changed something."""

    promoted: list[tuple[str, int, str]] = field(default_factory=list)

    def promote(self, loop: str, version: int, why: str) -> None:
        mine = [number for name, number, _ in self.promoted if name == loop]
        if not mine or mine[-1] != version:
            self.promoted.append((loop, version, why))


@dataclass
class SimulatedClock:
    """A clock that a test sets; it refuses to go back."""

    at_s: float = 0.0

    def now_s(self) -> float:
        return self.at_s

    def advance(self, to_s: float) -> None:
        self.at_s = max(self.at_s, to_s)


@dataclass
class _Group:
    nodes: tuple[str, ...]
    wanted: str = ""
    settled: str = ""
    generation: int = 0


class SimulatedCluster:
    """Groups of nodes that take an image `delay` looks after they were told to; images in `broken` never start."""

    def __init__(self, groups: Mapping[str, Sequence[str]], *, delay: int = 0) -> None:
        self.objects: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self.broken: dict[str, str] = {}
        self.applied = 0
        self._groups = {group: _Group(nodes=tuple(nodes)) for group, nodes in groups.items()}
        self._delay, self._looks = delay, dict.fromkeys(groups, 0)
        self._lock = threading.Lock()

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            self.applied += 1
            self.objects |= {identity(document): document for document in objects}
            self._take_up()

    def delete(self, objects: Sequence[Mapping[str, Any]]) -> None:
        with self._lock:
            for document in objects:
                self.objects.pop(identity(document), None)
            self._take_up()

    def _take_up(self) -> None:
        digests = {g: d for document in self.objects.values() for g, d in document.get("digests", {}).items()}
        for name, group in self._groups.items():
            if group.wanted != digests.get(name, ""):
                group.wanted, group.generation = digests.get(name, ""), group.generation + 1
                self._looks[name] = 0

    def image_of(self, group: str) -> str:
        """The digest that the group's nodes run now."""
        return self._groups[group].settled

    def observe(self, loop: str, groups: Sequence[str]) -> Mapping[str, GroupState]:  # noqa: ARG002 - it holds one loop
        with self._lock:
            return {group: self._look(group) for group in groups}

    def _look(self, name: str) -> GroupState:
        group = self._groups[name]
        self._looks[name] += 1
        n, state = len(group.nodes), GroupState(group=name, nodes=group.nodes)
        if not group.wanted:
            group.settled = ""
            return state
        state = replace(state, desired_digest=group.wanted, generation=group.generation)
        if group.wanted in self.broken:
            waiting = self.broken[group.wanted]
            return replace(
                state, observed_generation=group.generation, replicas=n + 1, updated=1, available=n, waiting=waiting
            )
        if self._looks[name] <= self._delay:
            return replace(state, observed_generation=group.generation - 1, replicas=n, updated=n, available=n)
        group.settled = group.wanted
        return replace(state, observed_generation=group.generation, replicas=n, updated=n, available=n)
