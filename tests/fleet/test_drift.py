"""Drift of the inputs: the e-value, the effect, and how often it cries wolf."""

import math
import random

import pytest

from edgeloop_contracts import Counts
from edgeloop_fleet.judge.drift import drifted, effect, log_e, merged

BLOCK_S = 86_400


def _block(make, rng, rows, mean=0.0, spread=9.24):
    """Counts of `rows` draws of feature a from the reference's uniform distribution, moved by `mean`."""
    counts, sums = [0] * 32, [0] * 32
    for _ in range(rows):
        value = rng.uniform(-16, 16) + mean
        place = sum(value > edge for edge in range(-15, 16))
        counts[place] += 1
        sums[place] += round(value * 16)
    return Counts(rows=rows, features={"a": make.features(0, counts=tuple(counts), sums=tuple(sums))})


def _stream(make, seed, blocks, rows=300, mean=0.0):
    rng = random.Random(seed)
    return [(i * BLOCK_S, _block(make, rng, rows, mean)) for i in range(blocks)]


def _reference(make, **changes):
    return make.reference(features=(make.feature("a", **changes),), window_s=BLOCK_S)


def test_e_value_has_mean_at_most_one_without_drift():
    """Over blocks drawn from the reference the mean of e is about 1 or less: it is an e-value."""
    rng, reference = random.Random(0), (4000,) * 8
    blocks = [
        tuple(map(lambda i, p=places: p.count(i), range(8)))
        for places in ([rng.randrange(8) for _ in range(200)] for _ in range(400))
    ]
    assert sum(math.exp(log_e(block, reference, 1.0)) for block in blocks) / len(blocks) < 1.5


def test_log_e_by_hand():
    """Two bins, one row: far and near are symmetric, so the e-value is 1."""
    assert log_e((1, 0), (10, 10), 1.0) == pytest.approx(0.0)
    with pytest.raises(ValueError, match="expected a block with rows"):
        log_e((0, 0), (10, 10), 1.0)


def test_merged_bins_keep_every_row_and_are_even():
    """32 even bins become 8 of four; a heavy bin stays whole."""
    assert merged(range(32), (100,) * 32) == tuple(sum(range(4 * i, 4 * i + 4)) for i in range(8))
    heavy = merged((1,) * 32, (1,) * 10 + (1000,) + (1,) * 21)
    assert sum(heavy) == 32


def test_effect_is_the_shift_in_standard_deviations(make):
    """Values moved by 2 of a sd of 9.24 give 0.216; the same data give 0."""
    feature = make.feature("a")
    assert effect(feature, make.features(6400)) == pytest.approx(0.0, abs=0.01)
    assert effect(feature, make.features(6400, shift=2.0)) == pytest.approx(2 / 9.24, abs=0.01)


def test_effect_of_categories_is_total_variation(make):
    """Half of the rows moved to another category: 0.5."""
    feature = make.feature("a", kind="category", edges=(), categories=("x",), counts=(100, 0), sums=())
    assert effect(feature, make.features(0, counts=(50, 50), sums=())) == pytest.approx(0.5)


def test_false_alarms_stay_within_the_budget(make):
    """40 streams of 50 blocks without drift: at most a few say drift."""
    reference = _reference(make)
    found = sum(
        bool(drifted(stream[:i], reference, BLOCK_S, 100.0))
        for seed in range(40)
        for stream in [_stream(make, seed, 50, rows=100)]
        for i in (25, 50)
    )
    assert found <= 2


def test_autocorrelated_rows_need_the_design_effect(make):
    """Rows repeated 40 times cry wolf without the design effect and are quiet with it."""
    rng = random.Random(3)
    blocks = []
    for i in range(30):
        one = _block(make, rng, 10).features["a"]
        counts, sums = tuple(40 * n for n in one.counts), tuple(40 * s for s in one.sums)
        blocks.append((i, Counts(features={"a": make.features(0, counts=counts, sums=sums)})))
    assert drifted(blocks, _reference(make), BLOCK_S, 100.0)
    assert not drifted(blocks, _reference(make, design_effect=40.0), BLOCK_S, 100.0)


def test_a_shift_is_found_and_ranked(make):
    """A shift of 1.3 sd is found; one block of it is not enough."""
    reference = _reference(make)
    quiet, loud = _stream(make, 5, 5), [(10**6 + i, b) for i, (_, b) in enumerate(_stream(make, 6, 3, mean=12.0))]
    assert not drifted([*quiet, loud[0]], reference, BLOCK_S, 100.0)
    found = drifted([*quiet, *loud], reference, BLOCK_S, 100.0)
    assert [moved.feature for moved in found] == ["a"]
    assert found[0].effect == pytest.approx(12 / 9.24, abs=0.1)
    assert found[0].since_s == 10**6
