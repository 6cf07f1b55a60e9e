"""What the fleet service is told when it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeloop_contracts.ecdsa import PublicKey

__all__ = ["Settings"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`clock`: `wall`, or `reports` for event time (now = the end of the newest window that was reported).

    `ack_url` is a template with {node} and {namespace}; to it acknowledgements are posted as well, as KubeEdge's router wants
    it (`http://cloudcore:9443/{node}/{namespace}/acks/{node}`); empty: nowhere. `tick_s` 0: only `POST /v1/tick` ticks.
    `trusted`: a rollout is taken only when one of these keys has signed each of its images; none: signatures are not asked for.
    """

    clock: Literal["wall", "reports"] = "wall"
    namespace: str = "edgeloop"
    ack_url: str = ""
    tick_s: float = 1.0
    node_timeout_s: float = 60.0  # wall; an agent that was silent for longer is out of reach
    deploy_deadline_s: float = 600.0  # wall; for a wave to settle
    max_failed_share: float = 0.01  # of a wave's requests
    max_body_bytes: int = 1 << 20
    max_reports: int = 500  # in one delivery
    trusted: tuple[PublicKey, ...] = ()
    max_future_s: float = 86_400.0  # how far a window may end ahead of the wall clock
