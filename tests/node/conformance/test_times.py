"""The times of rows: which texts and numbers are times, and which window they fall into."""

from __future__ import annotations

from typing import Any

import pytest

from edgeloop_contracts import Report, from_json


def windows(answer: Any) -> dict[int, Report]:
    return {r["window_start_s"]: from_json(Report, r) for r in answer["reports"]}


@pytest.mark.parametrize(
    ("time_text", "start_s"),
    [
        ('"2014-01-01T00:00:00Z"', 1388534400),
        ('"2014-01-01"', 1388534400),
        ('"2014-01-01T00:59:59.999999"', 1388534400),
        ('"2014-01-01 05:30:00+05:30"', 1388534400),
        ('"2014-01-01T00:00:00-00:00"', 1388534400),
        ('"2016-02-29T23:59:59Z"', 1456786800),
        ('"20140101T000000Z"', 1388534400),
        ('"2014-01-01x00:30"', 1388534400),
        ('"2014-W01-3T00:00:59,5+00:00"', 1388534400),
        ("1388534400", 1388534400),
        ("1388537999.9", 1388534400),
        ("1.3885344e9", 1388534400),
        ("0", 0),
        ("253402300799", 253402297200),
    ],
)
def test_times_that_are_read(served: Any, time_text: str, start_s: int) -> None:
    """ISO texts, with and without zone, and Unix seconds fall into the window that holds them."""
    before = windows(served.call("GET", "/window?after=0")[1])
    body = f'{{"features": {{}}, "time": {time_text}}}'.encode()
    assert served.call("POST", "/score", body)[0] == 200
    after = windows(served.call("GET", "/window?after=0")[1])
    grown = {s: r.counts.rows - (before[s].counts.rows if s in before else 0) for s, r in after.items()}
    assert {s: rows for s, rows in grown.items() if rows} == {start_s: 1}


@pytest.mark.parametrize(
    "time_text",
    ['"2014-02-30"', '"2014-13-01"', '"2015-02-29"', '"1969-12-31T23:59:59Z"', '"2014-01-01T24:00:01"', '"2014-01-01T00:60"',
     '""', '"2014"', '"now"', '"2014-01-01T00:00:00+25:00"', '"2014-01-01T00:00:00Z "', "-0.5", "253402300800", "[1]",
     '"\\u0660"', '"2014-01-01T00:00:07[Z"', '"2014-01-01T00:00:07.Z"', '"2014-01-01T"', '"2014-01-01T00:00:00z"'],
)  # fmt: skip
def test_times_that_are_no_times(served: Any, time_text: str) -> None:
    """Days and hours that do not exist, times before 1970 and after 9999, and other texts are refused."""
    body = f'{{"features": {{}}, "time": {time_text}}}'.encode()
    status, answer = served.call("POST", "/score", body)
    assert (status, answer["error"][:28]) == (400, "time: expected ISO 8601 text")
