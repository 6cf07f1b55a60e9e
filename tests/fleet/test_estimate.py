"""The estimate without labels."""

import pytest

from edgeloop_contracts import CalibrationMap
from edgeloop_fleet.judge.estimate import estimate, has_fallen


def _of(make, rows, confidence, **changes):
    histogram = make.confidence(rows, confidence)
    return estimate(histogram["confidence"], histogram["confidence_sums"], make.reference(**changes))


def test_it_is_the_mean_of_the_calibrated_confidence(make):
    """With a map that halves the distance to 1 the estimate is the mapped confidence, exactly."""
    calibration = CalibrationMap(x=(0.0, 1.0), y=(0.5, 1.0), rows=1000)
    found = _of(make, 500, 0.8, calibration=calibration)
    assert found is not None
    assert found.accuracy == pytest.approx(0.9)
    assert found.rows == 500


def test_the_interval_grows_with_the_design_effect_and_with_few_rows(make):
    """Nine times the design effect is three times the standard error; fewer rows are less sure."""
    one, nine, few = (_of(make, n, 0.8, error_design_effect=f) for n, f in ((500, 1.0), (500, 9.0), (20, 1.0)))
    assert nine.error == pytest.approx(3 * one.error)
    assert few.error > one.error


def test_no_rows_no_estimate(make):
    """An empty histogram gives no number."""
    assert _of(make, 0, 0.8) is None
    assert estimate((), (), make.reference()) is None


def test_only_a_sure_and_lasting_fall_counts(make):
    """Two blocks surely below accuracy - 0.05 count; one does not, few rows do not, a small fall does not."""
    low, high = _of(make, 5000, 0.75), _of(make, 5000, 0.94)
    assert has_fallen([high, low, low], make.reference())
    assert not has_fallen([low, high, low], make.reference())
    assert not has_fallen([low], make.reference())
    assert not has_fallen([_of(make, 10, 0.8)] * 2, make.reference())
    assert not has_fallen([_of(make, 5000, 0.91)] * 2, make.reference())
