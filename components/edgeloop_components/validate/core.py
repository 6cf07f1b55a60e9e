"""Validate: judges a trained model on the holdout, asks the loop's gates, and compares it with the champion.

Writes validation.json and summary.html, both or neither. A rejected model is no error: its reasons are in the gates.
The champion scores the very same rows, in its own codes; it must be beaten by more than the margin.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.files import filling
from edgeloop_components.ingest.parts import DataError
from edgeloop_components.ingest.rows import Rows, read_rows
from edgeloop_components.train.split import holdout_of
from edgeloop_components.validate.curves import Confusion, ReliabilityBin, Roc, confusion_of, reliability_of, roc_of
from edgeloop_components.validate.metrics import HIGHER_IS_BETTER, blocks_of, difference, measured
from edgeloop_components.validate.page import page
from edgeloop_components.validate.scored import Scored, score_rows
from edgeloop_contracts import GateResult, Loop, Metric, from_json, to_json, units

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ChampionModel", "Validation", "read_validation", "validate"]

VALIDATION, SUMMARY = "validation.json", "summary.html"
MOST_VALUES = 20  # of a slice column; numbers with more are cut at their quartiles
LEAST_SLICE = 20  # rows; of fewer, an interval says nothing


@dataclass(frozen=True)
class ChampionModel:
    """The model that serves: its version number and a folder with its model.onnx and reference.json."""

    number: int
    folder: Path


@dataclass(frozen=True)
class Validation:
    """The answer. `difference`: by how much it is better than the champion in the metric that the loop names."""

    accepted: bool
    rows: int
    metrics: tuple[Metric, ...]
    gates: tuple[GateResult, ...]
    champion: int | None
    champion_metrics: tuple[Metric, ...]
    difference: Metric | None
    confusion: Confusion
    roc: dict[str, Roc]
    reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class _Held:
    """The held-out rows: their places in the snapshot, label texts, times (None: rows have none), bootstrap blocks."""

    rows: Rows
    places: npt.NDArray[np.int64]
    labels: npt.NDArray[np.object_]
    times_s: npt.NDArray[np.float64] | None
    block: npt.NDArray[np.int64]
    seed: int


def validate(
    loop: Loop, snapshot_dir: Path, trained_dir: Path, out: Path, *, champion: ChampionModel | None
) -> Validation:
    """Judges the model in `trained_dir` on its holdout of the snapshot. DataError, ModelError, ContractError."""
    held = _held(loop, read_rows(snapshot_dir), trained_dir)
    challenger = score_rows(trained_dir, held.rows, held.places, held.labels)
    metrics = tuple(measured(challenger.answers, held.block, held.seed))
    against, before, gap = _against(loop, held, challenger, champion)
    gates = (*_required(loop, metrics), *against)
    result = Validation(
        accepted=all(gate.passed for gate in gates),
        rows=len(held.places),
        metrics=(*metrics, *_slices(loop, held, challenger)),
        gates=gates,
        champion=champion.number if champion else None,
        champion_metrics=before,
        difference=gap,
        confusion=confusion_of(held.labels, challenger.predicted, challenger.classes),
        roc=_rocs(held.labels, challenger),
        reliability=reliability_of(challenger.answers.confidence, challenger.answers.right),
    )
    _write(loop, result, out)
    return result


def _held(loop: Loop, rows: Rows, trained_dir: Path) -> _Held:
    places = holdout_of(json.loads((trained_dir / "split.json").read_bytes()))
    times, seed = rows.times_s(), loop.train.seed
    held_times = None if times is None else times[places]
    block = blocks_of(held_times, len(places), seed)
    return _Held(rows, places, rows.texts(loop.data.label)[places], held_times, block, seed)


def _required(loop: Loop, metrics: tuple[Metric, ...]) -> list[GateResult]:
    found = {metric.name: metric for metric in metrics}
    gates = []
    for name, text in loop.validate.require.items():
        bound, metric = units.bound(text), found[name]
        got = f"{metric.value:.4f} ({metric.low:.4f} .. {metric.high:.4f}) on {metric.rows} rows"
        gates.append(GateResult(gate=f"require/{name}", passed=bound.holds(metric.value), expected=str(bound), got=got))
    return gates


def _against(
    loop: Loop, held: _Held, challenger: Scored, champion: ChampionModel | None
) -> tuple[list[GateResult], tuple[Metric, ...], Metric | None]:
    """The gate against the champion (none where there is none), the champion's metrics, and the difference."""
    if champion is None:
        return [], (), None
    wanted = loop.validate.champion
    way = "higher" if wanted.metric in HIGHER_IS_BETTER else "lower"
    expected = f"{wanted.metric} {way} than that of {loop.name}@{champion.number} by more than {wanted.margin:g}"
    try:
        old = score_rows(champion.folder, held.rows, held.places, held.labels)
    except DataError as error:
        got = f"no comparison: {error}; name the column under validate.slices and the snapshot keeps it"
        return [GateResult(gate="champion", passed=False, expected=expected, got=got)], (), None
    gap = difference(wanted.metric, challenger.answers, old.answers, held.block, held.seed)
    before = tuple(measured(old.answers, held.block, held.seed))
    of_old = next(metric.value for metric in before if metric.name == wanted.metric)
    new_value = of_old + gap.value if way == "higher" else of_old - gap.value
    got = f"{new_value:.4f} against {of_old:.4f}: better by {gap.value:.4f} ({gap.low:.4f} .. {gap.high:.4f})"
    passed = gap.value > wanted.margin
    return [GateResult(gate="champion", passed=passed, expected=expected, got=f"{got} on {gap.rows} rows")], before, gap


def _slices(loop: Loop, held: _Held, scored: Scored) -> list[Metric]:
    import numpy as np

    found: list[Metric] = []
    for column in loop.validate.slices:
        values = _slice_values(held, column)
        for value in np.unique(values):
            places = np.flatnonzero(values == value)
            if len(places) >= LEAST_SLICE:
                times = None if held.times_s is None else held.times_s[places]
                block = blocks_of(times, len(places), held.seed)
                found += measured(scored.answers.take(places), block, held.seed, slice_=f"{column}={value}")
    return found


def _slice_values(held: _Held, column: str) -> npt.NDArray[np.str_]:
    """A text for each held-out row. Numbers of many values are cut at their quartiles. DataError for too many texts."""
    import numpy as np

    texts = np.array([text or "missing" for text in held.rows.texts(column)[held.places]])
    if len(np.unique(texts)) <= MOST_VALUES:
        return texts
    if held.rows.column(column).kind != "number" or column == held.rows.snapshot.label:
        raise DataError(f"validate.slices: expected at most {MOST_VALUES} values in {column}, found more")
    numbers = held.rows.numbers(column)[held.places]
    a, b, c = np.nanquantile(numbers, [0.25, 0.5, 0.75]).tolist()
    names = np.array([f"..{a:.4g}", f"{a:.4g}..{b:.4g}", f"{b:.4g}..{c:.4g}", f"{c:.4g}..", "missing"])
    return names[np.where(np.isnan(numbers), 4, np.searchsorted([a, b, c], numbers, side="left").clip(max=3))]


def _rocs(labels: npt.NDArray[np.object_], scored: Scored) -> dict[str, Roc]:
    curves = {name: roc_of(labels == name, scored.probabilities[:, i]) for i, name in enumerate(scored.classes)}
    return {name: curve for name, curve in curves.items() if curve is not None}


def _write(loop: Loop, result: Validation, out: Path) -> None:
    document = {
        **asdict(result),
        "metrics": [to_json(metric) for metric in result.metrics],
        "gates": [to_json(gate) for gate in result.gates],
        "champion_metrics": [to_json(metric) for metric in result.champion_metrics],
        "difference": to_json(result.difference) if result.difference else None,
    }
    shown = page(
        loop.name,
        accepted=result.accepted,
        metrics=result.metrics,
        gates=result.gates,
        confusion=result.confusion,
        rocs=result.roc,
        reliability=result.reliability,
    )
    with filling(out) as folder:
        (folder / SUMMARY).write_text(shown, encoding="utf-8")
        (folder / VALIDATION).write_text(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")


def read_validation(folder: Path) -> Validation:
    """The validation that `validate` wrote into a folder. OSError, ContractError."""
    document: dict[str, Any] = json.loads((folder / VALIDATION).read_bytes())
    gap, confusion = document["difference"], document["confusion"]
    return Validation(
        accepted=document["accepted"],
        rows=document["rows"],
        metrics=tuple(from_json(Metric, item) for item in document["metrics"]),
        gates=tuple(from_json(GateResult, item) for item in document["gates"]),
        champion=document["champion"],
        champion_metrics=tuple(from_json(Metric, item) for item in document["champion_metrics"]),
        difference=from_json(Metric, gap) if gap else None,
        confusion=Confusion(tuple(confusion["classes"]), tuple(tuple(row) for row in confusion["matrix"])),
        roc={name: _roc(curve) for name, curve in document["roc"].items()},
        reliability=tuple(ReliabilityBin(**item) for item in document["reliability"]),
    )


def _roc(curve: dict[str, Any]) -> Roc:
    return Roc(tuple(curve["fpr"]), tuple(curve["tpr"]), tuple(curve["thresholds"]), curve["area"])
