"""The golden model of FPGA designs in plain Python: codes, scores, labels and probabilities as the contract's text has them."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts.codec import digest_of, dumps, loads
from edgeloop_contracts.fpga import DenseLayer, FpgaDesign, FpgaForest, FpgaPerceptron, FpgaTail, FpgaTree
from edgeloop_contracts.fpga_model import codes_of, label_of, probabilities_of, scores_of

NAN, INF = math.nan, math.inf

DENSE = FpgaDesign(
    features=2, classes=2, scores=2, code_bits=4, score_bits=12, fraction_bits=2, missing=(3, 0),
    perceptron=FpgaPerceptron(
        bits=4, factors=(2.0, 0.5), offsets=(0.0, 1.0),
        layers=(
            DenseLayer(weights=((1, 2), (-3, 1)), biases=(3, -2), shift=1),
            DenseLayer(weights=((1, 0), (0, 1)), biases=(0, 10)),
        ),
    ),
)  # fmt: skip
STUMPS = FpgaDesign(
    features=1, classes=2, scores=1, code_bits=2, score_bits=6, fraction_bits=3, missing=(3,),
    tail=FpgaTail(transform="logistic"),
    forest=FpgaForest(
        thresholds=((-0.5, 0.1),), base=(1,),
        trees=(
            FpgaTree(features=(0, -1, -1), edges=(0, 0, 0), left=(1, 0, 0), right=(2, 0, 0),
                     missing_left=(True, False, False), values=((), (5,), (-7,)), outputs=(0,)),
            FpgaTree(features=(0, -1, -1), edges=(1, 0, 0), left=(1, 0, 0), right=(2, 0, 0),
                     missing_left=(False, False, False), values=((), (2,), (-3,)), outputs=(0,)),
        ),
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "codes"),
    [
        ((0.0, 0.0), (0, 1)),
        ((0.25, -1.0), (1, 1)),  # halves go up: 0.5 to 1, and 0.5 to 1
        ((-0.25, -3.0), (0, 0)),  # -0.5 to 0, too
        ((3.9, 1e9), (7, 7)),
        ((-INF, -1e300), (-8, -8)),  # what is no float32 is infinite
        ((INF, INF), (7, 7)),
        ((NAN, NAN), (3, 0)),
    ],
)
def test_codes_of_inputs(row, codes):
    """Scaled, rounded half up, cut to the range; missing values have their own code."""
    assert codes_of(DENSE, row) == codes


@pytest.mark.parametrize(
    ("value", "code"),
    [(-1.0, 0), (-0.5, 0), (-0.49, 1), (0.1, 2), (0.09999, 1), (9.0, 2), (-INF, 0), (INF, 2), (NAN, 3)],
)
def test_codes_of_bins(value, code):
    """How many thresholds lie below the value, as float32: 0.1 is more than the threshold 0.1 of float64."""
    assert codes_of(STUMPS, [value]) == (code,)


def test_dense_scores():
    """Sums, the rounding shift, the ReLU, and its saturation, by hand."""
    assert scores_of(DENSE, (1, 2)) == (4, 10)  # (1+4+3+1)>>1 = 4; (-3+2-2+1)>>1 < 0
    assert scores_of(DENSE, (-8, 0)) == (0, 21)  # -5 to 0; (22+1)>>1 = 11
    assert scores_of(DENSE, (7, 7)) == (12, 10)
    wide = replace(DENSE.perceptron.layers[0], shift=0)
    saturated = replace(DENSE, perceptron=replace(DENSE.perceptron, layers=(wide, DENSE.perceptron.layers[1])))
    assert scores_of(saturated, (7, 7)) == (15, 10)  # 24 does not fit 4 bits


@pytest.mark.parametrize(("code", "score"), [(0, 8), (1, -4), (2, -9), (3, 3)])
def test_forest_scores(code, score):
    """Each tree's leaf and the base; a missing value goes left only where the node says so."""
    assert scores_of(STUMPS, (code,)) == (score,)


def test_the_lower_class_wins_a_tie():
    """Of equal scores the first, and of one score 0 is the first class."""
    assert label_of(DENSE, (4, 4)) == 0
    assert label_of(DENSE, (3, 4)) == 1
    assert label_of(STUMPS, (0,)) == 0
    assert label_of(STUMPS, (1,)) == 1


def test_probabilities_by_hand():
    """Every transform, of one score and of several, with the temperature."""
    assert probabilities_of(STUMPS, (8,)) == pytest.approx((1 / (1 + math.e), math.e / (1 + math.e)))
    assert probabilities_of(DENSE, (4, 0)) == pytest.approx((math.e / (1 + math.e), 1 / (1 + math.e)))
    share = replace(STUMPS, tail=FpgaTail(transform="identity"))
    assert probabilities_of(share, (2,)) == (0.25, 0.75)
    assert probabilities_of(share, (9,)) == (0.0, 1.0)
    tempered = replace(share, tail=FpgaTail(transform="identity", calibrated=True, power=2.0, floor=0.5))
    assert probabilities_of(tempered, (2,)) == pytest.approx((0.25 / 0.8125, 0.5625 / 0.8125))
    shares = replace(DENSE, tail=FpgaTail(transform="identity"))
    assert probabilities_of(shares, (1, 3)) == (0.25, 0.75)
    rest = replace(DENSE, tail=FpgaTail(transform="logistic"))
    assert probabilities_of(rest, (0, 0)) == (0.5, 0.5)


@pytest.mark.parametrize("name", sorted(samples.SAMPLES))
@given(seed=st.integers(0, 10**6))
def test_samples_stay_within_their_widths(name, seed):
    """Codes fit code_bits, scores score_bits; the label has the highest probability; probabilities add up to 1."""
    design = samples.SAMPLES[name]()
    low = -(1 << (design.code_bits - 1)) if design.perceptron else 0
    for row in samples.rows(design, 20, seed):
        codes = codes_of(design, row)
        assert all(low <= code < low + (1 << design.code_bits) for code in codes)
        scores = scores_of(design, codes)
        assert all(-(1 << (design.score_bits - 1)) <= score < 1 << (design.score_bits - 1) for score in scores)
        found = probabilities_of(design, scores)
        assert math.fsum(found) == pytest.approx(1)
        assert found[label_of(design, scores)] == max(found)


@pytest.mark.parametrize("name", sorted(samples.SAMPLES))
def test_a_design_is_a_document(name):
    """It is written and read again, and its digest is that of its content."""
    design = samples.SAMPLES[name]()
    again = loads(FpgaDesign, dumps(design))
    assert again == design
    assert digest_of(again) == digest_of(design)
    assert digest_of(replace(design, fraction_bits=design.fraction_bits + 1)) != digest_of(design)


def test_wrong_sizes_are_named():
    """Too few values or codes, and a design without a model."""
    with pytest.raises(ValueError, match="row: expected 2 values, found 1"):
        codes_of(DENSE, [0.0])
    with pytest.raises(ValueError, match="codes: expected 2, found 3"):
        scores_of(DENSE, (0, 0, 0))
    empty = replace(DENSE, perceptron=None)
    for use in (codes_of, scores_of):
        with pytest.raises(ValueError, match="expected a perceptron or a forest"):
            use(empty, (0, 0))
