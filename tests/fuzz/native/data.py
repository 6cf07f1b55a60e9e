"""Writes data.c and data.h of the fuzzers' model: two numbers and a category, three classes, made by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgeloop_components.native.embed import embed
from edgeloop_contracts import CalibrationMap, FeatureReference, Reference, dumps, schema_hash_of

CLASSES = ("fault", "idle", "run")


def main(folder: Path) -> None:
    heat = tuple(i / 4 for i in range(-8, 9))
    features = (
        FeatureReference(name="flow", kind="number", edges=(-1.0, 0.0, 0.5, 2.0), quantum=2.0**-20, maximum=3.0),
        FeatureReference(name="heat", kind="number", edges=heat, quantum=2.0**-18, maximum=4.0),
        FeatureReference(name="mode", kind="category", categories=("a", "b", "c")),
    )
    reference = Reference(
        loop="pump",
        schema_hash=schema_hash_of(features, CLASSES),
        rows=100,
        features=features,
        classes=CLASSES,
        calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
    )
    golden = {"rows": [[1.0, None, 0.0]], "probabilities": [[0.5, 0.25, 0.25]], "labels": [0]}
    (folder / "reference.json").write_text(dumps(reference))
    (folder / "golden.json").write_text(json.dumps(golden))
    made = embed(folder, "fuzz")
    (folder / "data.h").write_text(made.header)
    (folder / "data.c").write_text(made.source)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
