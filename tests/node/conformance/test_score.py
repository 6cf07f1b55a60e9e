"""POST /score: rows by feature names, right and wrong; the same model as behind V2; probabilities that sum to 1."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}
X = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [0.3, -1.25, 1.0]}
INFER = "/v2/models/pump/infer"
LARGEST = 3.4028234663852886e38  # of float32


def replaced(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**X, **changes}]}


def test_a_scored_row(served: Any) -> None:
    """A row gets its id, label, probabilities of every class, confidence, model and version; they agree."""
    status, body = served.call("POST", "/score", {"id": "r1", "features": ROW, "time": "2014-01-01T00:00:00Z"})
    assert (status, body["id"], body["model"], body["version"]) == (200, "r1", "pump", 1)
    assert list(body["probabilities"]) == ["fault", "idle", "run"]
    assert math.isclose(sum(body["probabilities"].values()), 1, abs_tol=1e-6)
    assert body["confidence"] == max(body["probabilities"].values()) == body["probabilities"][body["label"]]


def test_scoring_agrees_with_v2(served: Any) -> None:
    """/score and V2 are two doors to the same model: category texts are the codes of V2."""
    cases = [("a", 0.0), ("b", 1.0), ("c", 2.0), ("new", -1.0), (None, None)]
    for text, code in cases:
        _, body = served.call("POST", "/score", {"features": {**ROW, "mode": text}})
        _, v2 = served.call("POST", INFER, replaced(data=[0.3, -1.25, code]))
        assert list(body["probabilities"].values()) == pytest.approx(v2["outputs"][1]["data"], abs=1e-7)


def test_a_missing_key_is_a_null(served: Any) -> None:
    """A feature that is not there is a missing value."""
    _, absent = served.call("POST", "/score", {"features": {"heat": -1.25, "mode": "b"}})
    _, null = served.call("POST", "/score", {"features": {**ROW, "flow": None}})
    assert absent == null


def test_golden_rows_as_a_batch(served: Any) -> None:
    """`rows` scores many at once, in order, with the same numbers as golden.json."""
    golden = served.golden()
    texts = {None: None, -1.0: "new", 0.0: "a", 1.0: "b", 2.0: "c"}
    rows = [
        {"features": {"flow": f, "heat": h, "mode": texts[m]}, "id": str(i)}
        for i, (f, h, m) in enumerate(golden["rows"])
    ]
    status, body = served.call("POST", "/score", {"rows": rows})
    assert (status, [row["id"] for row in body["rows"]]) == (200, [str(i) for i in range(len(rows))])
    for got, wanted in zip(body["rows"], golden["probabilities"], strict=True):
        assert list(got["probabilities"].values()) == pytest.approx(wanted, abs=1e-6)
    assert [row["label"] for row in body["rows"]] == [("fault", "idle", "run")[label] for label in golden["labels"]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "features: expected an object of feature values, got nothing"),
        ({"features": []}, "features: expected an object"),
        (
            {"features": {**ROW, "flow": "1"}},
            'features.flow: expected a number that fits into float32, or null, got "1"',
        ),
        ({"features": {**ROW, "flow": True}}, "features.flow: expected a number"),
        ({"features": {**ROW, "flow": {}}}, "got an object"),
        ({"features": {**ROW, "flow": 4e38}}, "fits into float32"),
        ({"features": {**ROW, "mode": 1.5}}, "features.mode: expected the text of a category or null, got 1.5"),
        ({"features": {**ROW, "flo": 1.0}}, "features.flo: unknown feature (did you mean flow?)"),
        ({"features": {**ROW, "zzz": 1.0}}, "(known: flow, heat, mode)"),
        ({"features": ROW, "tim": 3}, "tim: unknown field (did you mean time?)"),
        ({"features": ROW, "time": "yesterday"}, "time: expected ISO 8601 text or Unix seconds"),
        ({"features": ROW, "time": -1}, "time: expected"),
        ({"features": ROW, "time": 1e300}, "time: expected"),
        ({"features": ROW, "time": True}, "time: expected"),
        ({"features": ROW, "id": 7}, "id: expected text"),
        ({"features": ROW, "id": "x" * 201}, "id: expected text of 1 to 200"),
        ({"rows": []}, "rows: expected a list of 1 to 1000 rows"),
        ({"rows": [{"features": ROW}] * 1001}, "rows: expected a list of 1 to 1000 rows, got a list of 1001"),
        ({"rows": [{"features": ROW}], "time": 3}, "time: expected nothing beside rows"),
        ({"rows": [{"features": ROW}, 7]}, "rows[1]: expected an object, got 7"),
        ({"rows": [{"features": ROW}, {"features": {"flow": "x"}}]}, "rows[1].features.flow"),
    ],
)
def test_wrong_rows(served: Any, body: Any, says: str) -> None:
    """A wrong row gets 400 and an error that names the field, what was expected and what came."""
    status, answer = served.call("POST", "/score", body)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]


numbers = st.one_of(st.none(), st.floats(-LARGEST, LARGEST, width=32), st.floats(-3, 3))
batches = st.lists(st.tuples(numbers, numbers, st.sampled_from([None, -1.0, 0.0, 1.0, 2.0])), min_size=1, max_size=8)


@settings(deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=batches)
def test_probabilities_sum_to_one(served: Any, rows: list[tuple[float | None, ...]]) -> None:
    """Whatever the row: through every door the probabilities are >= 0, sum to 1 within 1e-6, and are the same ones."""
    texts = {None: None, -1.0: "new", 0.0: "a", 1.0: "b", 2.0: "c"}
    items = [{"features": {"flow": f, "heat": h, "mode": texts[m]}} for f, h, m in rows]
    _, scored = served.call("POST", "/score", {"rows": items})
    tensor = {"name": "X", "shape": [len(rows), 3], "datatype": "FP32"}
    _, v2 = served.call("POST", INFER, {"inputs": [{**tensor, "data": [list(row) for row in rows]}]})
    named = {"inputs": [{**tensor, "parameters": {"binary_data_size": 12 * len(rows)}}],
             "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}]}  # fmt: skip
    flat = [math.nan if value is None else value for row in rows for value in row]
    _, headers, body = served.binary(named, struct.pack(f"<{len(flat)}f", *flat))
    behind = body[int(headers["Inference-Header-Content-Length"]) :]
    doors = (
        [p for row in scored["rows"] for p in row["probabilities"].values()],
        v2["outputs"][1]["data"],
        list(struct.unpack(f"<{3 * len(rows)}f", behind)),
    )
    for flat_scores in doors:
        for i in range(0, len(flat_scores), 3):
            assert math.isclose(sum(flat_scores[i : i + 3]), 1.0, abs_tol=1e-6)
            assert min(flat_scores[i : i + 3]) >= 0
        assert flat_scores == pytest.approx(doors[0], abs=2e-7)


def test_a_thousand_rows(served: Any) -> None:
    """The largest batch is answered whole and in order, over both doors."""
    rows = [{"features": {**ROW, "flow": i / 500 - 1}, "id": str(i)} for i in range(1000)]
    status, body = served.call("POST", "/score", {"rows": rows})
    assert (status, [row["id"] for row in body["rows"]]) == (200, [str(i) for i in range(1000)])
    data = [value for i in range(1000) for value in (i / 500 - 1, -1.25, 1.0)]
    status, v2 = served.call("POST", INFER, replaced(shape=[1000, 3], data=data))
    assert (status, len(v2["outputs"][0]["data"]), len(v2["outputs"][1]["data"])) == (200, 1000, 3000)
    scored = [p for row in body["rows"] for p in row["probabilities"].values()]
    assert v2["outputs"][1]["data"] == pytest.approx(scored, abs=1e-7)


@pytest.mark.parametrize("text", ['"a\\u0062c"', '"\\ud83d\\ude00"', '"é\\n\\"\\\\"', '"x"', '"\\u0000"'])
def test_ids_come_back(served: Any, text: str) -> None:
    """An id comes back as the same text, whatever characters it has and however they were written."""
    body = f'{{"features": {{"flow": 1}}, "id": {text}}}'.encode()
    status, answer = served.call("POST", "/score", body)
    assert (status, answer["id"]) == (200, json.loads(text))
    body = f'{{"inputs": [{json.dumps(X)}], "id": {text}}}'.encode()
    status, answer = served.call("POST", INFER, body)
    assert (status, answer["id"]) == (200, json.loads(text))


@pytest.mark.parametrize(
    "text",
    ["0", "-0", "1", "-1.5e-3", "1E5", "0.1", "1e-400", "3.4028234663852886e38", "123456789012345678901234567890",
     "0.30000000000000004", "2.2250738585072014e-308", "1e22", "0." + "3" * 400],
)  # fmt: skip
def test_numbers_that_json_has(served: Any, text: str) -> None:
    """Every JSON number that float32 holds is taken, and read as V2 and /score alike."""
    status, scored = served.call("POST", "/score", f'{{"features": {{"flow": {text}}}}}'.encode())
    assert status == 200
    raw = f'{{"inputs":[{{"name":"X","shape":[1,3],"datatype":"FP32","data":[{text},null,null]}}]}}'.encode()
    status, v2 = served.call("POST", INFER, raw)
    assert (status, v2["outputs"][1]["data"]) == (200, pytest.approx(list(scored["probabilities"].values()), abs=1e-7))


@pytest.mark.parametrize(
    "text",
    ["01", "+1", ".5", "1.", "1e", "0x10", "1_0", "NaN", "Infinity", "-Infinity", "--1", "1 2", "tru", "'1'", "1,", ""],
)
def test_numbers_that_json_has_not(served: Any, text: str) -> None:
    """What only looks like a number is refused as no JSON."""
    status, answer = served.call("POST", "/score", f'{{"features": {{"flow": {text}}}}}'.encode())
    assert (status, answer["error"][:29]) == (400, "body: expected JSON text, got")


@pytest.mark.parametrize(
    "body",
    [b'{"features": {}} x', b'{"features": {}}{}', b'{"features": {},}', b'{features: {}}', b'{"features" {}}', b"\xef\xbb\xbf{}",
     b'{"a": "\xff"}', b'{"a": "\n"}', b'{"a": "\\x"}', b'{"a": "\\u12g4"}', b'{"a": "', b'{"features": {}\x00}', b"\x00", b" "],
)  # fmt: skip
def test_text_that_is_no_json(served: Any, body: bytes) -> None:
    """Trailing text, commas, bare names, raw control characters, bad escapes and bad UTF-8 are refused."""
    status, answer = served.call("POST", "/score", body)
    assert (status, answer["error"][:29]) == (400, "body: expected JSON text, got")


def test_white_space_is_allowed(served: Any) -> None:
    """JSON may have white space anywhere between its parts."""
    assert (
        served.call("POST", "/score", b' \r\n\t{ "features" : { "flow" : 1 , "mode" : "a" } , "id" : null } \n')[0]
        == 200
    )
