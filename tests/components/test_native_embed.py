"""The documents of a model as C: numbers and texts come back from the compiler as they were; what does not fit is refused."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.native.embed import EmbedError, embed
from edgeloop_contracts import CalibrationMap, FeatureReference, ModelVersion, Reference, dumps, schema_hash_of

CLASSES = ('a"b', "ü\n", "??/")
NAMES = ("plain", 'quo"te\\', "ж")
CATEGORIES = ("z", "", "ä", "a1")
EDGES = (-1e300, -0.1, 0.0, 1 / 3, 5e-324)
NATIVE = Path(__file__).parents[2] / "edge" / "edgeloop_node" / "native"


def documents(folder: Path, **changes: Any) -> Path:
    features = (
        FeatureReference(name=NAMES[0], kind="number", edges=EDGES, quantum=2.0**-20, minimum=-0.1, maximum=1e30),
        FeatureReference(name=NAMES[1], kind="category", categories=CATEGORIES),
        FeatureReference(name=NAMES[2], kind="number", quantum=0.5, **changes.get("third", {})),
    )
    reference = Reference(
        loop="loop", schema_hash=schema_hash_of(features, CLASSES), rows=1, features=features, classes=CLASSES,
        calibration=CalibrationMap(x=(0.0,), y=(0.0,)),
    )  # fmt: skip
    golden = {
        "rows": [[0.1, None, "inf"], ["-inf", 1.0, 3.4e38]],
        "probabilities": [[0.5, 0.25, 0.25], [None, 0.0, 1.0]],
        "labels": [0, 2],
    }
    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop=changes.get("loop", "loop"), number=7, state="accepted", run_key="t", snapshot=zero, onnx=zero,
        reference=zero, golden=zero, schema_hash=reference.schema_hash,
    )  # fmt: skip
    (folder / "reference.json").write_text(dumps(reference))
    (folder / "golden.json").write_text(json.dumps({**golden, **changes.get("golden", {})}))
    (folder / "version.json").write_text(dumps(version))
    return folder


MODEL = """\
#include <stdint.h>
#define MODEL_INPUT_WIDTH 3
#define MODEL_OUTPUT_COUNT 2
#define MODEL_SCRATCH_BYTES 0
"""
PRINT = r"""
#include <stdio.h>
#include "document.h"
static void hex(slice s) { for (size_t i = 0; i < s.bytes; i++) printf("%02x", (unsigned char)s.text[i]); puts(""); }
int main(void) {
    for (int i = 0; i < FEATURES; i++) { hex(data_feature_names[i]); hex(data_features[i].name); hex(data_features[i].json); }
    for (int i = 0; i < CLASSES; i++) hex(data_class_keys[i]);
    for (uint32_t i = 0; i < data_features[1].category_count; i++) hex(data_features[1].categories[i]);
    for (uint32_t i = 0; i < data_features[1].category_count; i++) printf("%u\n", data_features[1].category_order[i]);
    for (uint32_t i = 0; i < data_features[0].edge_count; i++) printf("%.17g\n", data_features[0].edges[i]);
    for (int i = 0; i < FEATURES; i++) printf("%u %u %u %u\n", data_features[i].bins, data_features[i].first_bin,
                                             data_features[i].sums, data_features[i].first_sum);
    for (int i = 0; i < GOLDEN_ROWS * FEATURES; i++) printf("%.9g\n", data_golden_rows[i]);
    for (int i = 0; i < GOLDEN_ROWS * CLASSES; i++) printf("%.9g\n", data_golden_floats[i]);
    hex(data_model_json); hex(data_server_json); printf("%d %d %d\n", BINS, SUMS, VERSION);
}
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a program says that was compiled with the documents."""
    compiler = shutil.which("cc") or pytest.skip("needs a C compiler: cc")
    folder = tmp_path_factory.mktemp("embed")
    made = embed(documents(folder), "1.2.3")
    texts = {"data.h": made.header, "data.c": made.source, "model.h": MODEL, "print.c": PRINT}
    for name, text in texts.items():
        (folder / name).write_text(text)
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{folder}", f"-I{NATIVE}")
    subprocess.run([compiler, *flags, folder / "print.c", folder / "data.c", "-o", folder / "print"], check=True)
    return subprocess.run([folder / "print"], capture_output=True, text=True, check=True).stdout.splitlines()


def test_texts_come_back(lines: list[str]) -> None:
    """Names, categories and classes of any characters, with C's own traps (trigraphs, escapes)."""
    texts = [bytes.fromhex(line).decode() for line in lines[:16]]
    assert texts[:9:3] == texts[1:9:3] == list(NAMES)
    assert [json.loads(text) for text in texts[2:9:3]] == list(NAMES)
    assert [json.loads(text.removesuffix(":")) for text in texts[9:12]] == list(CLASSES)
    assert texts[12:16] == list(CATEGORIES)
    order = [int(line) for line in lines[16:20]]
    assert [CATEGORIES[i] for i in order] == sorted(CATEGORIES, key=str.encode)


def test_numbers_come_back(lines: list[str]) -> None:
    """Edges to the last bit, the places of bins and sums, golden rows with missing and infinite values."""
    assert tuple(map(float, lines[20:25])) == EDGES
    assert lines[25:28] == ["6 0 6 0", "5 6 0 6", "1 11 1 6"]
    rows = [float(line) for line in lines[28:34]]
    assert rows[2:4] == [math.inf, -math.inf]
    assert math.isnan(rows[1])
    assert rows[0] == pytest.approx(0.1, rel=1e-7)
    scores = [float(line) for line in lines[34:40]]
    assert scores[:3] == [0.5, 0.25, 0.25]
    assert math.isnan(scores[3])
    assert lines[-1] == "12 7 7"


def test_answers_are_json(lines: list[str]) -> None:
    """What the server sends as it is: the model's metadata and its own."""
    model, server = (json.loads(bytes.fromhex(line)) for line in lines[40:42])
    assert (model["name"], model["versions"]) == ("loop", ["7"])
    assert model["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}]
    assert model["parameters"]["features"][1] == {"name": NAMES[1], "kind": "category", "categories": list(CATEGORIES)}
    assert (server["version"], server["extensions"]) == ("1.2.3", ["binary_tensor_data"])


def test_equal_documents_give_equal_texts(tmp_path: Path) -> None:
    """Nothing of the folder or the moment is in them; without version.json it is version 1."""
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    assert embed(documents(first), "1") == embed(documents(second), "1")
    (second / "version.json").unlink()
    assert "#define VERSION 1\n" in embed(second, "1").header


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"loop": "other"}, "reference.json: loop: expected 'other' as in version.json, got 'loop'"),
        ({"golden": {"labels": [0, 3]}}, "golden.json: labels: expected classes from 0 to 2"),
        ({"golden": {"labels": [0]}}, "golden.json: expected rows"),
        ({"golden": {"rows": [[1.0], [1.0]]}}, "golden.json: expected rows"),
        ({"golden": {"rows": [["x", 1, 1], [1, 1, 1]]}}, "golden.json: expected rows, probabilities and labels"),
        ({"golden": {"rows": 3}}, "golden.json: expected rows"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    """The error names the file, what was expected and what was found."""
    with pytest.raises(EmbedError, match=says.replace("(", r"\(")):
        embed(documents(tmp_path, **changes), "1")


def test_missing_documents_are_refused(tmp_path: Path) -> None:
    """A folder without reference.json, or without golden rows."""
    with pytest.raises(EmbedError, match=r"reference\.json"):
        embed(tmp_path, "1")
    (documents(tmp_path) / "golden.json").unlink()
    with pytest.raises(EmbedError, match=r"golden\.json"):
        embed(tmp_path, "1")
