"""Data faults on a node, and what is none."""

import pytest

from edgeloop_contracts import Counts
from edgeloop_fleet.judge.quality import faults_in


def _kinds(make, features, reference=None, rows=144):
    counts = Counts(rows=rows, features=features)
    return [(fault.kind, fault.feature) for fault in faults_in(counts, reference or make.reference())]


def _thermometer(make, share):
    """A share of the values at -273, the others as in training."""
    bad = round(144 * share)
    good = make.features(144 - bad)
    counts = (good.counts[0] + bad, *good.counts[1:])
    sums = (good.sums[0] - 273 * 16 * bad, *good.sums[1:])
    return make.features(144, counts=counts, sums=sums, minimum=-273.0, out_of_range=bad)


def test_healthy_data_has_no_fault(make):
    """Data like the training data is in order."""
    assert _kinds(make, {"a": make.features(144), "b": make.features(144)}) == []


def test_a_season_is_no_fault(make):
    """All values beyond the training maximum, by half its range: drift, not a broken sensor."""
    assert _kinds(make, {"a": make.features(144, shift=24.0, out_of_range=110)}) == []


@pytest.mark.parametrize(("share", "expected"), [(0.3, [("impossible", "a")]), (0.01, [])])
def test_impossible_values(make, share, expected):
    """A third of the rows at -273 is a fault; a single glitch is none."""
    assert _kinds(make, {"a": _thermometer(make, share)}) == expected


def test_missing_values_are_compared_with_training(make):
    """40 % missing is a fault where training had none, and none where training had 35 %."""
    seen = {"a": make.features(87, missing=57)}
    often = make.reference(features=(make.feature("a", missing=1723), make.feature("b")))
    assert _kinds(make, seen) == [("missing", "a")]
    assert _kinds(make, seen, often) == []


def test_a_stuck_sensor(make):
    """One value in all rows of a day is a fault, unless training often saw just this value."""
    counts = tuple(144 if i == 19 else 0 for i in range(32))
    stuck = make.features(144, counts=counts, sums=tuple(c * 62 for c in counts), minimum=3.875, maximum=3.875)
    assert _kinds(make, {"a": stuck}) == [("stuck", "a")]
    feature = make.feature("a")
    atom = make.feature("a", sums=tuple(6200 if i == 19 else s for i, s in enumerate(feature.sums)))
    assert _kinds(make, {"a": stuck}, make.reference(features=(atom, make.feature("b")))) == []


def test_unknown_categories(make):
    """A third of the rows with a category that training never saw is a fault."""
    feature = make.feature("a", kind="category", edges=(), categories=("x", "y"), counts=(500, 500, 0), sums=())
    reference = make.reference(features=(feature,))
    seen = make.features(0, counts=(50, 46, 48), sums=(), minimum=None, maximum=None)
    assert _kinds(make, {"a": seen}, reference) == [("unknown", "a")]


def test_few_rows_say_nothing(make):
    """A block of ten rows is not judged."""
    assert _kinds(make, {"a": make.features(0, missing=10)}, rows=10) == []
