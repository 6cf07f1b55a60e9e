"""The stopping rule and the intervals."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.profile.stopping import (
    binomial_at_most,
    least_queries,
    percentile,
    percentile_interval,
    proved,
    share_interval,
)

OVER = (0, 1, 2, 5, 10, 30, 100)
TABLE = {  # MLPerf's early stopping at confidence 0.99
    0.9: (44, 64, 81, 127, 197, 447, 1246),
    0.99: (459, 662, 838, 1307, 2010, 4533, 12571),
    0.999: (4603, 6636, 8403, 13105, 20140, 45394, 125826),
}


@pytest.mark.parametrize("percent", TABLE)
def test_the_table_of_the_rule(percent: float) -> None:
    """The least number of queries for each number of misses, and one query less does not prove it."""
    assert tuple(least_queries(percent, over) for over in OVER) == TABLE[percent]
    for over in OVER:
        n = least_queries(percent, over)
        assert proved(n, over, percent)
        assert not proved(n - 1, over, percent)


def test_the_binomial_sum_is_exact() -> None:
    """Against the sum in whole numbers, and at the ends."""
    from fractions import Fraction
    from math import comb

    share = Fraction(3, 10)
    for n, k in ((1, 0), (10, 3), (40, 20), (200, 55)):
        exact = sum(comb(n, i) * share**i * (1 - share) ** (n - i) for i in range(k + 1))
        assert binomial_at_most(k, n, 0.3) == pytest.approx(float(exact), rel=1e-10)
    assert binomial_at_most(5, 5, 0.5) == 1.0
    assert binomial_at_most(0, 100_000, 0.5) == 0.0


@given(st.sampled_from([0.5, 0.9, 0.99]), st.integers(0, 60), st.integers(1, 60))
def test_more_misses_need_more_queries(percent: float, over: int, more: int) -> None:
    """Monotone in misses and in confidence."""
    assert least_queries(percent, over + more) > least_queries(percent, over)
    assert least_queries(percent, over, 0.9) < least_queries(percent, over, 0.99)


def test_a_run_of_only_misses_proves_nothing() -> None:
    """No number of queries over the limit, and no queries, prove it."""
    assert not proved(100_000, 100_000, 0.99)
    assert not proved(0, 0, 0.99)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_a_percentile_is_a_value_that_was_seen(values: list[float]) -> None:
    """At least the share of the values does not exceed it, and fewer would not do."""
    for share in (0.5, 0.99):
        found = percentile(sorted(values), share)
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) - 1e-9
        assert sum(value < found for value in values) < share * len(values)


@pytest.mark.parametrize(("share", "n"), [(0.5, 200), (0.99, 1500)])
def test_an_interval_holds_the_percentile_as_often_as_it_says(share: float, n: int) -> None:
    """Over 400 samples of a known distribution at least 93 % of the 95 % intervals hold the true percentile."""
    draw, held = random.Random(7), 0
    for _ in range(400):
        values = sorted(draw.random() for _ in range(n))
        low, high = percentile_interval(values, share)
        assert low is not None
        assert high is not None
        held += low <= share <= high
    assert held >= 0.93 * 400


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=600), st.sampled_from([0.5, 0.9, 0.99]))
def test_intervals_hold_the_sample_percentile(values: list[float], share: float) -> None:
    """An end that cannot be had is None: 600 values have no upper end for the 99th percentile of 100."""
    ordered = sorted(values)
    low, high = percentile_interval(ordered, share)
    found = percentile(ordered, share)
    assert low is None or low <= found
    assert high is None or high >= found
    if len(values) < 300 and share == 0.99:
        assert high is None


def test_shares_have_clopper_pearson_intervals() -> None:
    """Known values: 0 of 10, 5 of 10, 10 of 10; nothing of nothing is refused."""
    assert share_interval(0, 10) == pytest.approx((0.0, 0.3085), abs=1e-4)
    assert share_interval(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert share_interval(10, 10) == pytest.approx((0.6915, 1.0), abs=1e-4)
    with pytest.raises(ValueError, match="of at least one"):
        share_interval(0, 0)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_shares_outside_are_refused(share: float) -> None:
    """The name of what is wrong is in the message."""
    with pytest.raises(ValueError, match="percent: expected a share between 0 and 1"):
        proved(10, 0, share)
