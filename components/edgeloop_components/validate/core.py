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


def validate(
    loop: Loop, snapshot_dir: Path, trained_dir: Path, out: Path, *, champion: ChampionModel | None
) -> Validation:
    """Judges the model in `trained_dir` on its holdout of the snapshot. DataError, ModelError, ContractError."""
    rows = read_rows(snapshot_dir)
    held = holdout_of(json.loads((trained_dir / "split.json").read_bytes()))
    labels = rows.texts(loop.data.label)[held]
    challenger = score_rows(trained_dir, rows, held, labels)
    times = rows.times_s()
    block = blocks_of(None if times is None else times[held], len(held), loop.train.seed)
    metrics = tuple(measured(challenger.answers, block, loop.train.seed))
    gates = _required(loop, metrics)
    against, champion_metrics, gap = _against(loop, rows, held, labels, block, challenger, champion)
    gates += against
    result = Validation(
        accepted=all(gate.passed for gate in gates),
        rows=len(held),
        metrics=(*metrics, *_slices(loop, rows, held, times, challenger)),
        gates=tuple(gates),
        champion=champion.number if champion else None,
        champion_metrics=champion_metrics,
        difference=gap,
        confusion=confusion_of(labels, challenger.predicted, challenger.classes),
        roc=_rocs(labels, challenger),
        reliability=reliability_of(challenger.answers.confidence, challenger.answers.right),
    )
    _write(loop, result, out)
    return result


def _required(loop: Loop, metrics: tuple[Metric, ...]) -> list[GateResult]:
    found = {metric.name: metric for metric in metrics}
    gates = []
    for name, text in loop.validate.require.items():
        bound, metric = units.bound(text), found[name]
        got = f"{metric.value:.4f} ({metric.low:.4f} .. {metric.high:.4f}) on {metric.rows} rows"
        gates.append(GateResult(gate=f"require/{name}", passed=bound.holds(metric.value), expected=str(bound), got=got))
    return gates


def _against(
    loop: Loop,
    rows: Rows,
    held: npt.NDArray[np.int64],
    labels: npt.NDArray[np.object_],
    block: npt.NDArray[np.int64],
    challenger: Scored,
    champion: ChampionModel | None,
) -> tuple[list[GateResult], tuple[Metric, ...], Metric | None]:
    """The gate against the champion (none where there is none), the champion's metrics, and the difference."""
    if champion is None:
        return [], (), None
    wanted = loop.validate.champion
    way = "higher" if wanted.metric in HIGHER_IS_BETTER else "lower"
    expected = f"{wanted.metric} {way} than that of {loop.name}@{champion.number} by more than {wanted.margin:g}"
    try:
        old = score_rows(champion.folder, rows, held, labels)
    except DataError as error:
        got = f"no comparison: {error}; name the column under validate.slices and the snapshot keeps it"
        return [GateResult(gate="champion", passed=False, expected=expected, got=got)], (), None
    gap = difference(wanted.metric, challenger.answers, old.answers, block, loop.train.seed)
    before = tuple(measured(old.answers, block, loop.train.seed))
    of_old = next(metric.value for metric in before if metric.name == wanted.metric)
    new_value = of_old + gap.value if way == "higher" else of_old - gap.value
    got = f"{new_value:.4f} against {of_old:.4f}: better by {gap.value:.4f} ({gap.low:.4f} .. {gap.high:.4f})"
    passed = gap.value > wanted.margin
    return [GateResult(gate="champion", passed=passed, expected=expected, got=f"{got} on {gap.rows} rows")], before, gap


def _slices(
    loop: Loop,
    rows: Rows,
    held: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64] | None,
    scored: Scored,
) -> list[Metric]:
    import numpy as np

    found: list[Metric] = []
    for column in loop.validate.slices:
        values = _slice_values(rows, column, held)
        for value in np.unique(values):
            places = np.flatnonzero(values == value)
            if len(places) >= LEAST_SLICE:
                own = None if times is None else times[held][places]
                block = blocks_of(own, len(places), loop.train.seed)
                named = f"{column}={value}"
                found += measured(scored.answers.take(places), block, loop.train.seed, slice_=named)
    return found


def _slice_values(rows: Rows, column: str, held: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
    """A text for each held-out row. Numbers of many values are cut at their quartiles. DataError for too many texts."""
    import numpy as np

    texts = rows.texts(column)[held]
    texts = np.where(np.equal(texts, None), "missing", texts).astype(str)
    if len(np.unique(texts)) <= MOST_VALUES:
        return texts.astype(object)
    if rows.column(column).kind != "number":
        raise DataError(f"validate.slices: expected at most {MOST_VALUES} values in {column}, found {len(np.unique(texts))}")
    numbers = rows.numbers(column)[held]
    cuts = np.nanquantile(numbers, [0.25, 0.5, 0.75])
    names = [f"..{cuts[0]:.4g}", f"{cuts[0]:.4g}..{cuts[1]:.4g}", f"{cuts[1]:.4g}..{cuts[2]:.4g}", f"{cuts[2]:.4g}.."]
    banded = np.array(names, dtype=object)[np.searchsorted(cuts, numbers, side="left").clip(max=3)]
    return np.where(np.isnan(numbers), "missing", banded)


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
        loop.name, result.accepted, result.metrics, result.gates, result.confusion, result.roc, result.reliability
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
    lists = (tuple(curve[name]) for name in ("fpr", "tpr", "thresholds"))
    return Roc(*lists, area=curve["area"])
