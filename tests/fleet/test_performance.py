"""The sequential test on labelled errors: how often it cries wolf, how soon it finds a fall."""

import random
import statistics

import pytest

from edgeloop_fleet.judge.performance import (
    MARGIN,
    ErrorBlock,
    bets,
    judge_errors,
    tolerated_error,
)

ROWS, LIMIT = 96, 60.0


def _first_alarm(rates, q, limit):
    return next((i + 1 for i, m in enumerate(bets(rates, q)) if m >= limit), None)


def _run_lengths(draw, q, limit, repetitions, horizon):
    """Blocks to the first alarm of each repetition, cut at the horizon."""
    found = []
    for seed in range(repetitions):
        rng = random.Random(seed)
        found.append(_first_alarm([draw(rng, i) for i in range(horizon)], q, limit) or horizon)
    return found


def _binomial(p):
    return lambda rng, _i: sum(rng.random() < p for _ in range(ROWS)) / ROWS


def _clustered(p, rho):
    """Rows inside a block follow one another (AR(1) of the error indicator, correlation rho); blocks are independent."""

    def draw(rng, _i):
        state, errors = rng.random() < p, 0
        for _ in range(ROWS):
            state = state if rng.random() < rho else rng.random() < p
            errors += state
        return errors / ROWS

    return draw


@pytest.mark.parametrize("draw", [_binomial(0.07), _clustered(0.07, 0.95)], ids=["iid", "ar95"])
def test_false_alarms_keep_the_stated_run_length(draw):
    """With the error exactly at the tolerated rate the mean run length is at least the limit, even with AR(.95) rows."""
    lengths = _run_lengths(draw, 0.07, LIMIT, repetitions=150, horizon=600)
    assert statistics.mean(lengths) >= LIMIT


@pytest.mark.parametrize(("draw", "most"), [(_binomial(0.06), 5), (_clustered(0.06, 0.95), 35)], ids=["iid", "ar95"])
def test_below_the_margin_most_runs_are_quiet(draw, most):
    """At the held-out error itself (a margin below the tolerated rate) few of 100 repetitions alarm within 100 blocks."""
    lengths = _run_lengths(draw, 0.07, 100.0, repetitions=100, horizon=100)
    assert sum(n < 100 for n in lengths) <= most


def test_the_statistic_by_hand():
    """Two blocks at q = 0.1: error rates 0.2 and 0 give the sums of bets that the formula says; they stay above 0."""
    first = (1.1 + 1.2 + 1.4 + 1.8) / 4
    second = ((1 + 1.1) * 0.9 + (1 + 1.2) * 0.8 + (1 + 1.4) * 0.6 + (1 + 1.8) * 0.2) / 4
    assert bets([0.2, 0.0], 0.1) == pytest.approx([first, second])
    assert min(bets([0.0] * 50, 0.1)) > 0


def test_a_real_fall_is_found_within_days():
    """An error of 11 % against 7 % tolerated is found within 30 blocks in every repetition."""
    lengths = _run_lengths(_binomial(0.11), 0.07, 100.0, repetitions=50, horizon=200)
    assert max(lengths) <= 30


def test_a_late_fall_is_not_hidden_by_a_good_past():
    """After 300 good blocks a fall is found about as soon as at the start."""
    rng = random.Random(1)
    rates = [_binomial(0.05)(rng, 0) for _ in range(300)] + [_binomial(0.14)(rng, 0) for _ in range(40)]
    first = _first_alarm(rates, 0.07, 100.0)
    assert first is not None
    assert 300 < first <= 320


def test_a_tiny_fall_starts_nothing_however_sure(make):
    """Half the margin more errors, over two years of many rows, is no alarm: the effect-size gate."""
    error = 1 - make.reference().accuracy
    rows = 1_000_000
    blocks = [ErrorBlock(start_s=i, labelled=rows, errors=round((error + MARGIN / 2) * rows)) for i in range(730)]
    found = judge_errors(blocks, make.reference(), 100.0)
    assert found is not None
    assert found.alarm_s is None


def test_few_held_out_rows_widen_the_margin(make):
    """With 100 held-out rows the tolerated error lies half a standard error above the held-out one."""
    few, many = make.reference(accuracy_rows=100), make.reference(accuracy_rows=10**6)
    assert tolerated_error(many) == pytest.approx(0.06 + MARGIN)
    assert tolerated_error(few) == pytest.approx(0.06 + 0.5 * (0.06 * 0.94 * 4 / 100) ** 0.5)


def test_the_alarm_names_when_the_fall_began(make):
    """`since_s` is the first bad block, `alarm_s` a later one, and the error is that since the fall."""
    good = [ErrorBlock(start_s=i, labelled=100, errors=5) for i in range(50)]
    bad = [ErrorBlock(start_s=50 + i, labelled=100, errors=20) for i in range(10)]
    found = judge_errors([*good, *bad], make.reference(), 100.0)
    assert found is not None
    assert found.since_s == 50
    assert found.alarm_s is not None
    assert 50 < found.alarm_s < 60
    assert found.error == pytest.approx(0.2)


def test_the_state_depends_on_the_counts_alone(make):
    """The same list gives the same state, and blocks without labels change nothing: a restart loses nothing."""
    blocks = [ErrorBlock(start_s=i, labelled=100, errors=5 + i) for i in range(12)]
    gaps = [ErrorBlock(start_s=100 + i, labelled=0, errors=0) for i in range(5)]
    assert judge_errors(blocks, make.reference(), 9.0) == judge_errors([*blocks, *gaps], make.reference(), 9.0)
    assert judge_errors(gaps, make.reference(), 9.0) is None
