"""What kind of answers a model gives: a label and probabilities, or the tensors of a graph that is no classifier.

A kind says which outputs there are, holds answers to what they must be, and says how they are written and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgeloop_contracts import Reference
from edgeloop_contracts.golden import Tensor, class_tensors
from edgeloop_node.documents import BadRequestError
from edgeloop_node.runtimes import Scores
from edgeloop_node.server.answers import score_writer, values_writer
from edgeloop_node.server.sound import UnsoundScoreError, checked, first_unsound, unanswered

__all__ = ["Kind", "class_kind", "tensor_kind"]

Rows = Sequence[Sequence[float]]
Counted = tuple[Sequence[int], Sequence[float]]  # labels and confidences; both empty without classes
Write = Callable[..., str]  # (id, the row's value of each output) -> JSON


@dataclass(frozen=True)
class Kind:
    """One kind, for one model."""

    outputs: tuple[Tensor, ...]
    checked: Callable[[Scores, Rows], Scores]  # answers and the rows they are of; UnsoundScoreError, BadRequestError
    counted: Callable[[Scores], Counted]
    writer: Callable[[str, int], Write]  # (model, version) -> what writes a row of /score


def class_kind(reference: Reference) -> Kind:
    """A classifier's."""

    names = [feature.name for feature in reference.features]

    def hold(answers: Scores, rows: Rows) -> Scores:
        labels, scores = answers
        try:
            return labels, [checked(label, row) for label, row in zip(labels, scores, strict=True)]
        except UnsoundScoreError as error:
            place = first_unsound(labels, scores)
            if text := unanswered(scores[place], rows[place], names):
                raise BadRequestError(f"{f'rows[{place}].' if len(rows) > 1 else ''}{text}") from error
            raise

    def counted(answers: Scores) -> Counted:
        labels, scores = answers
        return labels, [min(1.0, max(row)) for row in scores]

    return Kind(
        outputs=class_tensors(len(reference.classes)),
        checked=hold,
        counted=counted,
        writer=lambda model, version: score_writer(model, version, reference.classes),
    )


def tensor_kind(outputs: tuple[Tensor, ...]) -> Kind:
    """Of any other graph: its values are passed on as they are, and not counted."""
    return Kind(
        outputs=outputs,
        checked=lambda answers, _: answers,
        counted=lambda _: ((), ()),
        writer=lambda model, version: values_writer(model, version, outputs),
    )
