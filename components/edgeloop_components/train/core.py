"""Train: a snapshot into an ONNX model, the reference that nodes count against, and golden rows.

Writes model.onnx, reference.json, golden.json, split.json and training.json (times, temperature, proof), all of them or
none. Everything but the times in training.json follows from snapshot, loop and seed alone.

The newest rows (`validate.holdout`) are kept from everything that is fitted; of the rest, a slice is for calibration.
Refuses labels that are measurements, and a model whose ONNX form does not answer as the estimator does.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.files import filling, write_document
from edgeloop_components.ingest.rows import Rows, encode, read_rows
from edgeloop_components.runtimes.onnxruntime import load, session
from edgeloop_components.train.calibration import Temperature, fit_temperature
from edgeloop_components.train.golden import golden_document, golden_rows, threshold_rows
from edgeloop_components.train.graph import RawModel, finished, probabilities_of, thresholds
from edgeloop_components.train.judged import reference_of
from edgeloop_components.train.problem import TrainError
from edgeloop_components.train.proof import Proof, check_sound, compare_with_estimator, estimator_answers
from edgeloop_components.train.ready import categories_in, read_ready
from edgeloop_components.train.reference import shells
from edgeloop_components.train.split import Split, split_rows
from edgeloop_contracts import FeatureReference, Loop, Reference, digest_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

__all__ = ["TrainError", "Trained", "train"]

MOST_CLASSES = 50  # of a label that is a number; more of them are a measurement
PROBED = 2000  # held-out rows that the proof looks at


@dataclass(frozen=True)
class Trained:
    """What training made. `temperature` above 1: the model was too sure of itself."""

    folder: Path
    reference: Reference
    temperature: float
    proof: Proof | None  # None for a ready ONNX file: there is no estimator to compare with
    rows_fit: int
    rows_calibration: int
    rows_holdout: int
    onnx_size_bytes: int
    seconds: float


@dataclass(frozen=True)
class _Data:
    """The rows as the model sees them."""

    rows: Rows
    features: Sequence[FeatureReference]  # without counts yet
    values: npt.NDArray[np.float64]
    matrix: Matrix
    labels: npt.NDArray[np.object_]
    split: Split


def train(loop: Loop, snapshot_dir: Path, out: Path) -> Trained:
    """Trains the loop's model on the snapshot in `snapshot_dir`.

    TrainError, DataError, ModelError; an error inside the loop's own entrypoint is raised as it is. Nothing is left then.
    """
    started_s = time.perf_counter()
    rows = read_rows(snapshot_dir)
    _check_labels(loop, rows)
    raw, estimator, data = _fitted(loop, rows)
    fitted_s = time.perf_counter()
    temperature = _temperature(raw, data)
    model = finished(raw, temperature, len(data.features), _metadata(loop, raw, data.features, temperature))
    with filling(out) as folder:
        (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
        score = load(folder)
        reference = reference_of(loop, data, raw.classes, score)
        write_document(folder / "reference.json", reference)
        golden, probes = _probes(loop, model, data, reference)
        check_sound(probes, score(probes)[1], [feature.name for feature in data.features])
        own = estimator_answers(estimator, data.features, probes, temperature) if estimator else None
        proof = compare_with_estimator(own, data.features, probes, score) if own else None
        _write_json(folder / "golden.json", golden_document(golden, score, own))
        _write_json(folder / "split.json", {"seed": loop.train.seed, **data.split.to_json()})
        trained = Trained(
            folder=out,
            reference=reference,
            temperature=temperature.degrees,
            proof=proof,
            rows_fit=len(data.split.fit),
            rows_calibration=len(data.split.calibration),
            rows_holdout=len(data.split.holdout),
            onnx_size_bytes=(folder / "model.onnx").stat().st_size,
            seconds=time.perf_counter() - started_s,
        )
        _write_json(folder / "training.json", _report(loop, trained, fitted_s - started_s))
    return trained


def _check_labels(loop: Loop, rows: Rows) -> None:
    import numpy as np

    distinct = np.unique(rows.texts(loop.data.label))
    if rows.column(loop.data.label).kind == "number" and len(distinct) > MOST_CLASSES:
        raise TrainError(
            f"data.label: {loop.data.label} has {len(distinct)} different numbers (such as {distinct[0]}): expected classes; "
            f"edgeloop predicts classes only, for now: cut the measurement into bands in the data"
        )
    if len(distinct) < 2:
        raise TrainError(f"data.label: expected at least two classes in {loop.data.label}, found {distinct.tolist()}")


def _data(loop: Loop, rows: Rows, features: Sequence[FeatureReference]) -> _Data:
    import numpy as np

    values = encode(rows, features)
    split = split_rows(rows.times_s(), len(rows), loop.validate.holdout, loop.train.seed)
    return _Data(rows, features, values, values.astype(np.float32), rows.texts(loop.data.label), split)


def _fitted(loop: Loop, rows: Rows) -> tuple[RawModel, Any, _Data]:
    """The raw graph, the estimator it was made of (None for a ready file), and the rows in its codes."""
    import numpy as np

    features = shells([rows.column(name) for name in loop.data.features])
    if loop.train.onnx:
        raw = read_ready(Path(loop.train.onnx), loop.data.features, np.unique(rows.texts(loop.data.label)).tolist())
        own = categories_in(raw.model)
        features = [
            FeatureReference(name=f.name, kind=f.kind, categories=own.get(f.name, f.categories)) for f in features
        ]
        return raw, None, _data(loop, rows, features)
    from edgeloop_components.train.estimator import fit_model
    from edgeloop_components.train.export import to_raw

    data = _data(loop, rows, features)
    labels = data.labels[data.split.fit]
    if len(np.unique(labels)) < 2:
        raise TrainError(f"the {len(labels)} rows to fit on have one class only: {labels[0]}; more data is needed")
    estimator = fit_model(loop.train, features, data.matrix[data.split.fit], labels)
    raw = to_raw(estimator, features, loop.train.estimator or loop.train.entrypoint)
    return raw, estimator, data


def _temperature(raw: RawModel, data: _Data) -> Temperature:
    import numpy as np

    rows = data.matrix[data.split.calibration]
    loaded = session(probabilities_of(raw).SerializeToString(), "train: the graph before calibration")
    (probabilities,) = loaded.run(["probabilities"], {"X": rows})
    if probabilities.shape[1:] != (len(raw.classes),):
        raise TrainError(
            f"the model gives {probabilities.shape[1:]} numbers a row, expected {len(raw.classes)} classes"
        )
    check_sound(rows, probabilities, [f.name for f in data.features], exact=False)
    place = {name: code for code, name in enumerate(raw.classes)}
    labels = np.array([place.get(label, -1) for label in data.labels[data.split.calibration]], dtype=np.int64)
    return fit_temperature(probabilities.astype(np.float64), labels)


def _metadata(
    loop: Loop, raw: RawModel, features: Sequence[FeatureReference], temperature: Temperature
) -> dict[str, Any]:
    return {
        "loop": loop.name,
        "features": [feature.name for feature in features],
        "categories": {feature.name: list(feature.categories) for feature in features if feature.kind == "category"},
        "classes": list(raw.classes),
        "temperature": temperature.degrees,
    }


def _probes(loop: Loop, model: Any, data: _Data, reference: Reference) -> tuple[Matrix, Matrix]:
    """The golden rows, and all rows that the proof looks at: those, held-out ones, and more exact thresholds."""
    import numpy as np

    named = loop.train.estimator != ""
    numbers = [i for i, feature in enumerate(data.features) if feature.kind == "number"] if named else None
    edges = thresholds(model, numbers)
    held_out = data.matrix[data.split.holdout]
    golden = golden_rows(held_out, reference.features, edges)
    some = held_out[:: -(-len(held_out) // PROBED)]
    return golden, np.vstack([golden, some, *threshold_rows(golden[0], edges, 400)])


def _report(loop: Loop, trained: Trained, fit_s: float) -> dict[str, Any]:
    libraries = ("scikit-learn", "skl2onnx", "onnx", "onnxruntime", "numpy")
    return {
        "seconds": {"total": round(trained.seconds, 3), "fit": round(fit_s, 3)},
        "rows": {
            "fit": trained.rows_fit,
            "calibration": trained.rows_calibration,
            "holdout": trained.rows_holdout,
        },
        "temperature": trained.temperature,
        "proof": None if trained.proof is None else asdict(trained.proof),
        "onnx_size_bytes": trained.onnx_size_bytes,
        "code": _code_digest(loop),
        "parameters": digest_of([loop.train, list(loop.data.features), loop.validate.holdout]),
        "versions": {"python": platform.python_version(), **{name: installed(name) for name in libraries}},
    }


def _code_digest(loop: Loop) -> str:
    """Of this package's source, and of the module that the loop's entrypoint lives in."""
    import sys

    sources = sorted(Path(__file__).parent.glob("*.py"))
    module = sys.modules.get(loop.train.entrypoint.partition(":")[0]) if loop.train.entrypoint else None
    sources += [Path(module.__file__)] if module is not None and module.__file__ else []
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode() + b"\n" + source.read_bytes())
    return "sha256:" + digest.hexdigest()


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
