"""The small functions that several parts share: units, bins, calibration, names."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgeloop_contracts import CalibrationMap, FeatureReference, run_key, schema_hash_of
from edgeloop_contracts.reference import CONFIDENCE_BINS, bin_of, calibrated
from edgeloop_contracts.units import BOUND, DURATION, RATE, bound, duration_s, rate


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("60d", 5_184_000), ("8w", 4_838_400), ("0s", 0)]
)
def test_durations(text, seconds):
    """A duration is read in seconds."""
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-1h", "1.5h", "1H", "1month", "1h ", "1h\n"])
def test_no_durations(text):
    """What is not a duration is refused, with the form that was expected."""
    with pytest.raises(ValueError, match="a duration such as"):
        duration_s(text)


@pytest.mark.parametrize(
    ("text", "count", "per_s"), [("4/day", 4, 86_400), ("1/year", 1, 31_556_952), ("2/h", 2, 3600)]
)
def test_rates(text, count, per_s):
    """A rate is read as a count in a number of seconds."""
    assert (rate(text).count, rate(text).per_s) == (count, per_s)


@pytest.mark.parametrize("text", ["", "4", "4/", "/day", "4/days", "4 / day", "-4/day", "4/m"])
def test_no_rates(text):
    """What is not a rate is refused, with the form that was expected."""
    with pytest.raises(ValueError, match="a rate such as"):
        rate(text)


@pytest.mark.parametrize(
    ("text", "value", "holds"),
    [
        (">= 0.95", 0.95, True),
        (">= 0.95", 0.9499, False),
        ("> 0.95", 0.95, False),
        ("<= 0.05", 0.05, True),
        ("<0.05", 0.05, False),
        ("< -1", -2.0, True),
    ],
)
def test_bounds(text, value, holds):
    """A bound holds exactly where its operator says."""
    assert bound(text).holds(value) is holds


@pytest.mark.parametrize("text", ["", "0.95", ">=", "=> 1", "== 1", ">= nan", ">= 1e3", ">= .5", ">= 0.9 "])
def test_no_bounds(text):
    """What is not a bound is refused, with the form that was expected."""
    with pytest.raises(ValueError, match="a bound such as"):
        bound(text)


@pytest.mark.parametrize(("pattern", "read"), [(DURATION, duration_s), (RATE, rate), (BOUND, bound)])
@given(data=st.data())
def test_what_the_schema_takes_the_parser_reads(pattern, read, data):
    """The pattern in the JSON Schema and the parser agree: no text passes the one and breaks the other."""
    read(data.draw(st.from_regex(pattern, fullmatch=True)))


def test_a_bound_is_written_as_it_was_read():
    """A bound in a message is the bound in the file."""
    assert str(bound(">= 0.95")) == ">= 0.95"


@pytest.mark.parametrize("k", range(CONFIDENCE_BINS + 1))
def test_edges_belong_to_the_bin_below(k):
    """Bin i holds i/20 < p <= (i+1)/20, and 0 lies in bin 0."""
    assert bin_of(k / CONFIDENCE_BINS) == max(k - 1, 0)


@given(st.floats(0, 1), st.floats(0, 1))
def test_bins_rise_with_confidence(a, b):
    """Every probability has a bin, and a larger one never a lower bin."""
    low, high = sorted((a, b))
    assert 0 <= bin_of(low) <= bin_of(high) < CONFIDENCE_BINS


@st.composite
def calibrations(draw):
    """Calibration maps as training makes them: x rises, y does not fall."""
    xs = sorted(draw(st.lists(st.floats(0, 1), min_size=1, max_size=6, unique=True)))
    ys = sorted(draw(st.lists(st.floats(0, 1), min_size=len(xs), max_size=len(xs))))
    return CalibrationMap(x=tuple(xs), y=tuple(ys))


@given(calibrations(), st.floats(0, 1), st.floats(0, 1))
def test_calibration_does_not_fall(calibration, a, b):
    """More confidence never means less chance, and the chance stays within the map's ends."""
    low, high = sorted((a, b))
    first, second = calibrated(calibration, low), calibrated(calibration, high)
    assert first <= second + 1e-12
    assert calibration.y[0] - 1e-12 <= first <= calibration.y[-1] + 1e-12


@given(calibrations())
def test_calibration_passes_through_its_points(calibration):
    """At each point of the map the chance is the point's."""
    for x, y in zip(calibration.x, calibration.y, strict=True):
        assert calibrated(calibration, x) == pytest.approx(y, abs=1e-9)


def test_run_key_is_stable():
    """The key of a cause is the same for ever: a restart finds the run that it started."""
    assert run_key("turbine-power", 3, "drift", 1_396_310_400) == "turbine-power-c3a67f898e2c"


@given(*[st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["drift", "x"]), st.integers(0, 3))] * 2)
def test_run_keys_differ_where_the_cause_differs(one, other):
    """Two causes have one key only if they are the same cause."""
    assume(one != other)
    assert run_key(*one) != run_key(*other)
    assert re.fullmatch(r"[ab]-[0-9a-f]{12}", run_key(*one))


def test_schema_hash_names_what_is_counted():
    """The hash changes with the bins, the quantum, the order and the classes, and with nothing else."""
    a = FeatureReference(name="a", kind="number", edges=(1.0, 2.0))
    b = FeatureReference(name="b", kind="category", categories=("x",))
    base = schema_hash_of([a, b], ["no", "yes"])
    same = FeatureReference(name="a", kind="number", edges=(1.0, 2.0), counts=(4, 4, 4), std=2.0)
    assert schema_hash_of([same, b], ["no", "yes"]) == base
    assert re.fullmatch("[0-9a-f]{16}", base)
    others = [
        schema_hash_of([b, a], ["no", "yes"]),
        schema_hash_of([a, b], ["yes", "no"]),
        schema_hash_of([FeatureReference(name="a", kind="number", edges=(1.0, 3.0)), b], ["no", "yes"]),
        schema_hash_of([FeatureReference(name="a", kind="number", edges=(1.0, 2.0), quantum=0.5), b], ["no", "yes"]),
    ]
    assert len({base, *others}) == 5
