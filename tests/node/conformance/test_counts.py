"""What a server counts: the same numbers as the pure Monitor fed with the same rows, and as any other runtime's server.

The Monitor is the oracle: it gets the values that were sent and the labels and probabilities that came back, in the same
order with the same readings in between. Only latencies may differ; their sum may not.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Reference, loads, to_json
from edgeloop_node.monitor import KEEP_WINDOWS, Identity, Monitor

INFER = "/v2/models/pump/infer"
TEXTS = {None: None, -1.0: "new", 0.0: "a", 1.0: "b", 2.0: "c"}
HOUR_S = 3600
Values = tuple[float | None, float | None, float | None]


class Oracle:
    """A Monitor that is told what a server was asked and what it answered."""

    def __init__(self, served: Any) -> None:
        entry = served.entry()
        self.reference = loads(Reference, (served.model / "reference.json").read_bytes())
        document = entry.document
        who = Identity(loop="pump", node=document["node"], group=document["group"], boot=entry.boot,
                       version=1, image=document["image"])  # fmt: skip
        self.monitor, self.served = Monitor(who, self.reference), served

    def score(self, rows: Sequence[tuple[Values, float]]) -> list[Any]:
        """POST /score, and the same into the monitor. The answers."""
        items = [{"features": {"flow": f, "heat": h, "mode": TEXTS[m]}, "time": time_s} for (f, h, m), time_s in rows]
        status, body = self.served.call("POST", "/score", {"rows": items})
        assert status == 200, body
        classes = list(self.reference.classes)
        labels = [classes.index(row["label"]) for row in body["rows"]]
        confidences = [min(1.0, single(row["confidence"])) for row in body["rows"]]
        starts_s = [self.monitor.window_start(time_s) for _, time_s in rows]
        values = [[math.nan if v is None else v for v in row] for row, _ in rows]
        self.monitor.record(values, labels, confidences, starts_s, 1.0)
        return list(body["rows"])

    def refuse(self, now_s: float = 0.0) -> None:
        assert self.served.call("POST", "/score", b"{")[0] == 400
        self.monitor.refuse(now_s)

    def read(self, after: int, private: bool) -> dict[str, Any]:
        """Reads a page from the server, and the same from the monitor: they agree. The page."""
        target = f"/window?after={after}"
        page = self.served.private(target).body if private else self.served.call("GET", target)[1]
        if private:
            self.monitor.confirm(after)
        expected = self.monitor.reports(after, 201)
        assert page["more"] == (len(expected) > 200)
        assert [plain(r) for r in page["reports"]] == [plain(to_json(r)) for r in expected[:200]]
        assert page["sequence"] == (expected[:200][-1].sequence if expected else self.monitor.sequence)
        assert page["boot"] == self.monitor.identity.boot
        return dict(page)


def single(value: float) -> float:
    """The float32 nearest to a printed number."""
    number: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return number


def plain(report: dict[str, Any]) -> dict[str, Any]:
    """A report without its latencies, whose sum must be its rows."""
    counts = dict(report["counts"])
    assert sum(counts.pop("latency")) == counts["rows"]
    return {**report, "counts": counts}


def values_of(draw: random.Random, reference: Reference) -> Iterator[Values]:
    """Rows of every kind: ordinary, missing, on an edge and next to one, at and out of the range, tiny and enormous."""
    flow, heat = (feature for feature in reference.features if feature.kind == "number")
    while True:
        row = []
        for feature in (flow, heat):
            edge = draw.choice(feature.edges)
            row.append(
                draw.choice(
                    [draw.gauss(0, 2), draw.gauss(0, 2), None, edge, math.nextafter(edge, 9), math.nextafter(edge, -9),
                     feature.minimum, feature.maximum, math.nextafter(feature.maximum, 9), draw.uniform(-1e3, 1e3),
                     round(draw.gauss(0, 1), 2), draw.choice([0.0, -0.0, 1e-320, 5e-324, 1e30, -1e30, 3.4e38, 2**43 + 0.5]),
                     (draw.randrange(9) + 0.5) * feature.quantum]
                )
            )  # fmt: skip
        yield row[0], row[1], draw.choice(list(TEXTS))


@pytest.fixture
def oracle(serve: Callable[..., Any]) -> Oracle:
    return Oracle(serve())


def test_every_field_is_as_the_monitor_counts(oracle: Oracle) -> None:
    """Thousands of rows of every kind in several windows: bins, sums, missing, ranges, classes and confidences agree exactly."""
    draw = random.Random(1)
    rows = values_of(draw, oracle.reference)
    for _ in range(60):
        size = draw.choice([1, 1, 2, 7, 100])
        oracle.score([(next(rows), draw.randrange(5) * HOUR_S + draw.random() * 3599) for _ in range(size)])
        if draw.random() < 0.2:
            oracle.refuse()
    page = oracle.read(0, private=False)
    assert sum(report["counts"]["rows"] for report in page["reports"]) > 800
    seen = page["reports"][0]["counts"]["features"]
    assert all(seen["flow"]["counts"]), "every bin has rows"
    assert seen["flow"]["missing"] > 0 < seen["heat"]["out_of_range"]


def test_enormous_values_do_not_spoil_a_report(oracle: Oracle) -> None:
    """A million times 1e30 is a sum that a report can carry; what comes after it still counts in its own bin."""
    block = [((3.4e38, -3.4e38, 0.0), 0.0)] * 1000
    for _ in range(4):
        oracle.score(block)
    oracle.score([((-3.4e38, 3.4e38, 0.0), 0.0)] * 3 + [((0.25, 0.125, 0.0), 0.0)])
    (report,) = oracle.read(0, private=True)["reports"]
    assert report["counts"]["features"]["flow"]["sums"][-1] == 4000 * 2**44


def test_readings_confirm_and_forget(oracle: Oracle) -> None:
    """Rows that come in any order over hundreds of windows, read and confirmed now and then: every reading agrees."""
    draw = random.Random(2)
    rows, confirmed, base, boots = values_of(draw, oracle.reference), 0, 100, set[str]()
    for step in range(150):
        base += draw.choice([0, 0, 1, 1, 9, KEEP_WINDOWS if step % 50 == 49 else 0])
        place = base - draw.choice([0, 0, 0, 1, 2, 30, KEEP_WINDOWS, KEEP_WINDOWS + 3, 90])
        oracle.score([(next(rows), max(0, place) * HOUR_S + draw.random()) for _ in range(draw.choice([1, 3]))])
        if draw.random() < 0.1:
            oracle.refuse()
        if draw.random() < 0.3:
            after = draw.choice([0, confirmed, confirmed, confirmed, 10**6])
            page = oracle.read(after, private=draw.random() < 0.8 and after != 10**6)
            boots |= {report["boot"] for report in page["reports"]}
            confirmed = page["sequence"] if draw.random() < 0.7 else confirmed
    assert any("." in boot for boot in boots), "a forgotten window was opened again under another boot id"


def test_many_windows_come_in_pages(oracle: Oracle) -> None:
    """A read gives 200 windows at most and says that there is more; pages together are everything, once."""
    oracle.score([((0.3, -1.25, 1.0), HOUR_S * i) for i in range(450)])
    after, seen, more = 0, [], True
    while more:
        page = oracle.read(after, private=True)
        assert len(page["reports"]) <= 200
        after, more = page["sequence"], page["more"]
        seen += [report["window_start_s"] for report in page["reports"]]
    assert sorted(seen) == [HOUR_S * i for i in range(450)]


def test_v2_rows_are_counted_like_scored_ones(serve: Callable[..., Any], runtime: Any) -> None:
    """Rows through V2, JSON or binary, are counted by the server's clock, as /score without a time."""
    served = serve()
    oracle = Oracle(served)
    draw = random.Random(3)
    rows = [next(values_of(draw, oracle.reference)) for _ in range(300)]
    rows = [tuple(None if v is None else single(v) for v in row) for row in rows]  # type: ignore[misc]
    flat = [v for row in rows for v in row]
    tensor = {"name": "X", "shape": [len(rows), 3], "datatype": "FP32"}
    status, body = served.call("POST", INFER, {"inputs": [{**tensor, "data": flat}]})
    assert status == 200
    named = {**tensor, "parameters": {"binary_data_size": 4 * len(flat)}}
    raw = struct.pack(f"<{len(flat)}f", *(math.nan if v is None else v for v in flat))
    status, _, again = served.binary({"inputs": [named]}, raw)
    assert (status, json.loads(again)) == (200, body)
    labels, scores = body["outputs"][0]["data"], body["outputs"][1]["data"]
    confidences = [min(1.0, max(map(single, scores[3 * i : 3 * i + 3]))) for i in range(len(rows))]
    values = [[math.nan if v is None else v for v in row] for row in rows]
    reports = served.private("/window?after=0").body["reports"]
    start_s = reports[0]["window_start_s"]
    for _ in range(2):
        oracle.monitor.record(values, labels, confidences, [start_s] * len(rows), 1.0)
    if len(reports) == 1:  # else an hour ended in between
        assert [plain(r) for r in reports] == [plain(to_json(r)) for r in oracle.monitor.reports()]
    assert sum(r["counts"]["rows"] for r in reports) == 600


def samples(served: Any) -> dict[str, float]:
    status, text = served.call("GET", "/metrics")
    assert status == 200
    lines = [line for line in text.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_tell_every_answer(serve: Callable[..., Any], runtime: Any) -> None:
    """Answers by route and status, rows, what is loaded, and a histogram whose buckets rise to the number of rows."""
    served = serve(EDGELOOP_IMAGE='sha256:"a\\b')
    asked = [("POST", "/score", {"features": {}}), ("POST", "/score", {"rows": [{"features": {}}] * 5}),
             ("POST", "/score", b"{"), ("GET", "/score", None), ("POST", INFER, b"[]"), ("GET", "/v2", None),
             ("GET", "/v2/", None), ("GET", "/nowhere", None), ("GET", "/v2/models/pump", None),
             ("GET", "/v2/models/pump/versions/1/ready", None), ("GET", "/v2/health/live", None),
             ("GET", "/v2/health/ready", None), ("GET", "/window?after=0", None), ("GET", "/window?after=x", None)]  # fmt: skip
    for method, path, body in asked:
        served.call(method, path, body)
    found = samples(served)
    requests = {name: value for name, value in found.items() if name.startswith("edgeloop_requests_total")}
    assert requests == {
        f'edgeloop_requests_total{{route="{route}",status="{status}"}}': n
        for route, status, n in [
            ("infer", 400, 1), ("live", 200, 1), ("model", 200, 1), ("model_ready", 200, 1), ("ready", 200, 1),
            ("score", 200, 2), ("score", 400, 1), ("score", 405, 1), ("unknown", 404, 1), ("v2", 200, 2),
            ("window", 200, 1), ("window", 400, 1),
        ]
    }  # fmt: skip
    assert (found["edgeloop_rows_total"], found["edgeloop_failures_total"], found["edgeloop_rows_uncounted_total"]) == (
        6,
        0,
        0,
    )
    buckets = [value for name, value in found.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found["edgeloop_score_latency_seconds_count"] == 6
    assert len(buckets) == 13
    (info,) = [name for name in found if name.startswith("edgeloop_model_info")]
    for label in (
        'loop="pump"',
        'version="1"',
        f'runtime="{runtime.name}"',
        'node="n1"',
        'group="g1"',
        r'image="sha256:\"a\\b"',
    ):
        assert label in info
    assert samples(served)['edgeloop_requests_total{route="metrics",status="200"}'] == 1


def test_runtimes_count_alike(
    serve: Callable[..., Any], runtime: Any, node: Any, model: Path, start_python: Any
) -> None:
    """The same rows give the same report from this runtime's server and from onnxruntime's, field by field."""
    if runtime.name == "onnxruntime":
        pytest.skip("it is the other side of the comparison")
    pair = [Oracle(serve()), Oracle(start_python())]
    for oracle in pair:
        draw = random.Random(4)
        rows = values_of(draw, oracle.reference)
        for _ in range(20):
            oracle.score([(next(rows), draw.randrange(3) * HOUR_S) for _ in range(50)])
    ours, theirs = ([plain(r) for r in oracle.read(0, private=True)["reports"]] for oracle in pair)
    for own, other in zip(ours, theirs, strict=True):
        sums = own["counts"].pop("confidence_sums"), other["counts"].pop("confidence_sums")
        assert {k: v for k, v in own.items() if k != "boot"} == {k: v for k, v in other.items() if k != "boot"}
        for mine, its, rows_in_bin in zip(*sums, own["counts"]["confidence"], strict=True):
            assert abs(mine - its) <= rows_in_bin  # a probability may differ in its last bit: one millionth by rounding


def test_more_windows_than_there_is_room_for(serve: Callable[..., Any]) -> None:
    """Rows of windows that nobody reads are scored for ever; those that find no room are told apart, and none is lost."""
    served = serve()
    for start in range(0, 1200, 300):
        rows = [{"features": {"flow": 0.5}, "time": HOUR_S * i} for i in range(start, start + 300)]
        assert served.call("POST", "/score", {"rows": rows})[0] == 200
    after, counted, more = 0, 0, True
    while more:
        page = served.call("GET", f"/window?after={after}")[1]
        after, more = page["sequence"], page["more"]
        counted += sum(report["counts"]["rows"] for report in page["reports"])
    found = samples(served)
    assert found["edgeloop_rows_total"] == 1200 == counted + found["edgeloop_rows_uncounted_total"]
    assert 450 <= counted < 1200
