"""The laws of reports: late, double and disordered delivery changes nothing; sums do not hang on the order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts import Counts, FeatureCounts, Report, newer, total

SMALL = st.integers(0, 1000)
FLOATS = st.none() | st.floats(-1e6, 1e6)
FEATURE = st.builds(
    FeatureCounts,
    counts=st.tuples(SMALL, SMALL, SMALL),
    sums=st.tuples(SMALL, SMALL, SMALL),
    missing=SMALL,
    out_of_range=SMALL,
    minimum=FLOATS,
    maximum=FLOATS,
    extra=st.just({}) | st.just({"new": 1}),
)
COUNTS = st.builds(
    Counts,
    rows=SMALL,
    refused=SMALL,
    failed=SMALL,
    features=st.dictionaries(st.sampled_from("abc"), FEATURE),
    classes=st.just(()) | st.tuples(SMALL, SMALL),
    confidence=st.just(()) | st.tuples(SMALL, SMALL),
    confidence_sums=st.just(()) | st.tuples(SMALL, SMALL),
    latency=st.just(()) | st.tuples(SMALL, SMALL, SMALL),
    labelled=SMALL,
    correct=SMALL,
    quality=st.dictionaries(st.sampled_from(["stuck/a", "gap/b"]), SMALL),
)


def state(sequence: int, **key: object) -> Report:
    """The state of one key at a sequence number: as on a node, the counts follow from the number."""
    base = {"loop": "l", "node": "n", "group": "g", "boot": "b", "version": 1, "schema_hash": "s"}
    window = {"window_start_s": 0, "window_end_s": 60}
    return Report(**{**base, **window, **key}, sequence=sequence, counts=Counts(rows=sequence * 3))


SEQUENCES = st.integers(1, 50)


@given(SEQUENCES)
def test_merge_is_idempotent(a):
    """The same report twice is that report."""
    assert newer(state(a), state(a)) == state(a)


@given(SEQUENCES, SEQUENCES)
def test_merge_is_commutative(a, b):
    """Two states merge to the same in either order."""
    assert newer(state(a), state(b)) == newer(state(b), state(a))


@given(SEQUENCES, SEQUENCES, SEQUENCES)
def test_merge_is_associative(a, b, c):
    """Three states merge to the same however they are grouped."""
    x, y, z = state(a), state(b), state(c)
    assert newer(newer(x, y), z) == newer(x, newer(y, z))


@given(st.lists(SEQUENCES, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_any_delivery_ends_in_the_last_state(sequences, shuffle):
    """Deliveries doubled and shuffled end in the state with the highest sequence."""
    delivered = [state(s) for s in sequences] * 2
    shuffle.shuffle(delivered)
    merged = delivered[0]
    for report in delivered[1:]:
        merged = newer(merged, report)
    assert merged == state(max(sequences))


@pytest.mark.parametrize("field", ["loop", "node", "boot", "schema_hash", "window_start_s", "version"])
def test_reports_of_different_keys_are_not_merged(field):
    """Each part of the key keeps reports apart."""
    other = replace(state(2), **{field: 7 if field in ("window_start_s", "version") else "other"})
    with pytest.raises(ValueError, match="different keys"):
        newer(state(1), other)


@given(st.lists(COUNTS, max_size=6), st.randoms(use_true_random=False))
def test_total_does_not_hang_on_the_order(parts, shuffle):
    """The sum of counts is the same in any order."""
    shuffled = list(parts)
    shuffle.shuffle(shuffled)
    assert _known(total(shuffled)) == _known(total(parts))


@given(st.lists(COUNTS, max_size=6), st.integers(0, 6))
def test_total_of_totals_is_the_total(parts, cut):
    """Sums of groups add up to the sum of all: node, group and fleet agree."""
    assert _known(total([total(parts[:cut]), total(parts[cut:])])) == _known(total(parts))


def _known(counts: Counts) -> Counts:
    """Counts without unknown fields: those belong to single reports, a sum has none."""
    features = {name: replace(f, extra={}) for name, f in counts.features.items()}
    return replace(counts, features=features)


@given(st.lists(COUNTS, max_size=6))
def test_total_loses_no_row(parts):
    """Every counter of the sum is the sum of the counters, exactly."""
    result = total(parts)
    for name in ("rows", "refused", "failed", "labelled", "correct"):
        assert getattr(result, name) == sum(getattr(part, name) for part in parts)
    for feature in result.features:
        assert sum(result.features[feature].counts) == sum(
            sum(part.features[feature].counts) for part in parts if feature in part.features
        )


def test_counts_of_different_bins_are_not_added():
    """Counts in other bins are refused: adding them would make numbers that mean nothing."""
    with pytest.raises(ValueError, match="different bins"):
        total([Counts(classes=(1, 2)), Counts(classes=(1, 2, 3))])


def test_large_counts_stay_exact():
    """A million windows of large counts add up to the last unit, in any order."""
    parts = [Counts(rows=2**40 + i, confidence_sums=(10**12 + i,)) for i in range(1000)]
    random.Random(1).shuffle(parts)
    result = total(parts)
    assert result.rows == 1000 * 2**40 + 499_500
    assert result.confidence_sums == (1000 * 10**12 + 499_500,)
