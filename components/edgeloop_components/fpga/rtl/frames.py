"""How many bytes a design's INFER takes and gives. Refuses designs whose frames do not fit 255 bytes."""

from __future__ import annotations

from edgeloop_components.fpga.rtl.options import RtlError
from edgeloop_contracts.fpga import FpgaDesign

__all__ = ["code_bytes", "reply_bytes", "request_bytes", "score_bytes"]

MOST = 255


def code_bytes(design: FpgaDesign) -> int:
    """Bytes of a code on the link."""
    return -(-design.code_bits // 8)


def score_bytes(design: FpgaDesign) -> int:
    """Bytes of a raw score on the link."""
    return -(-design.score_bits // 8)


def request_bytes(design: FpgaDesign) -> int:
    """Payload of a request. RtlError beyond 255."""
    return _fitting(design.features * code_bytes(design), f"{design.features} features of {code_bytes(design)} bytes")


def reply_bytes(design: FpgaDesign) -> int:
    """Payload of the reply: the label, then the scores. RtlError beyond 255."""
    count = 1 + design.scores * score_bytes(design)
    return _fitting(count, f"a label and {design.scores} scores of {score_bytes(design)} bytes")


def _fitting(count: int, what: str) -> int:
    if count > MOST:
        raise RtlError(f"frame: expected a payload of at most {MOST} bytes, found {count}: {what}")
    return count
