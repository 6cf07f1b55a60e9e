"""The gate of a wave."""

import random

import pytest

from edgeloop_fleet.controller.gate import PATIENCE, Evidence, Side, Soak, look

UP, NOT_UP = Soak(shall_s=3600, soaked_s=3600), Soak(shall_s=3600, soaked_s=60)


def _look(wave, rest=None, *, time_is_up=True, soak=None, **changes):
    evidence = Evidence(wave=wave, rest=rest or Side(), **{"accuracy": 0.94, "accuracy_rows": 5000, **changes})
    return look(evidence, soak or (UP if time_is_up else NOT_UP), tolerance=0.05, max_failed_share=0.01)


def _labels(rows, share):
    return Side(rows=rows, labelled=rows, correct=round(rows * share))


def test_it_waits_while_nothing_is_wrong():
    """Before the time is up a good wave waits."""
    assert _look(_labels(1000, 0.95), time_is_up=False).state == "wait"


@pytest.mark.parametrize(
    ("wave", "rest", "words"),
    [
        (
            _labels(1000, 0.95),
            _labels(1000, 0.94),
            "95.0 % of 1,000 labelled rows, 94.0 % on the nodes with the old version",
        ),
        (_labels(1000, 0.95), Side(), "94.0 % when it was accepted"),
        (Side(rows=500, estimate=0.93, estimate_error=0.01), Side(), "by its confidence right in 93.0 %"),
        (Side(rows=500), Side(), "500 rows scored, too few labels to compare; nothing speaks against it"),
    ],
)
def test_it_passes_when_time_is_up_and_says_on_what_evidence(wave, rest, words):
    """Nothing speaks against the wave: it passes, and the words say how much was known."""
    gate = _look(wave, rest)
    assert gate.state == "passed"
    assert words in gate.why


def test_a_first_version_passes_on_health_alone():
    """Nothing serves the loop yet: no row need come, and the words say so. A soak of 0 passes at once."""
    for shall_s in (0, 3600):
        gate = _look(Side(), soak=Soak(shall_s=shall_s, soaked_s=shall_s, first=True))
        assert gate.state == "passed"
        assert "no row was scored" in gate.why


@pytest.mark.parametrize(
    ("shall_s", "window_s", "patience_s"),
    [(7200, 3600, PATIENCE * 7200), (600, 3600, PATIENCE * 3600), (0, 3600, PATIENCE * 3600)],
)
def test_a_wave_that_scored_nothing_does_not_pass(shall_s, window_s, patience_s):
    """It soaks on for three soaks, or windows where these are longer, and then fails; one row in time lets it pass."""

    def at(soaked_s, rows=0):
        return _look(Side(rows=rows), soak=Soak(shall_s=shall_s, soaked_s=soaked_s), window_s=window_s)

    assert [at(s).state for s in (shall_s, patience_s - 1, patience_s)] == ["wait", "wait", "failed"]
    assert "no row was scored" in at(patience_s).why
    assert [at(s, rows=1).state for s in (shall_s, patience_s)] == ["passed", "passed"]


def test_requests_that_all_fail_are_no_silence():
    """A wave that answered only with errors fails at once, as failing, not as unseen."""
    assert "20 of 20 requests failed" in _look(Side(failed=20), time_is_up=False).why


def test_a_wave_that_is_surely_worse_fails():
    """70 % against 94 % on the rest fails, early and late."""
    for time_is_up in (True, False):
        gate = _look(_labels(400, 0.7), _labels(2000, 0.94), time_is_up=time_is_up)
        assert gate.state == "failed"
        assert "surely worse by more than 5.0 %" in gate.why
        assert gate.numbers["against"] == pytest.approx(0.94)


def test_the_rest_of_the_fleet_is_the_measure_not_the_past():
    """In a storm in which the old version is at 80 % a new one at 80 % passes, though it was accepted at 94 %."""
    assert _look(_labels(2000, 0.8), _labels(2000, 0.8)).state == "passed"
    assert _look(_labels(2000, 0.8)).state == "failed"


def test_dependent_rows_are_not_believed_as_if_independent():
    """100 labelled rows at 80 % fail with independent rows; with a design effect of 10 they are too few to compare."""
    assert _look(_labels(100, 0.6)).state == "failed"
    assert _look(_labels(100, 0.6), design_effect=10.0).state == "passed"


def test_a_low_estimate_fails_without_labels():
    """Confidence that fell by 20 points fails the wave where no labels came."""
    gate = _look(Side(rows=500, estimate=0.74, estimate_error=0.01), Side(rows=500, estimate=0.94, estimate_error=0.01))
    assert gate.state == "failed"
    assert "no labels" in gate.why


@pytest.mark.parametrize(
    ("wave", "rest", "state"),
    [
        (Side(rows=900, failed=100), Side(), "failed"),
        (Side(rows=900, failed=4), Side(), "passed"),
        (Side(rows=10, failed=4), Side(), "passed"),
        (Side(rows=900, failed=100), Side(rows=9000, failed=900), "passed"),
    ],
)
def test_failed_requests(wave, rest, state):
    """A failed share surely above 1 % and twice the rest's fails; few failures, or as many as elsewhere, do not."""
    assert _look(wave, rest).state == state


def test_looking_often_does_not_fail_a_good_wave():
    """An equally good wave, looked at after each of 50 windows, fails in at most 2 % of 300 rollouts (tolerance 0)."""
    failed = 0
    for seed in range(300):
        rng = random.Random(seed)
        mine = theirs = 0
        for n in range(20, 1020, 20):
            mine += sum(rng.random() < 0.9 for _ in range(20))
            theirs += sum(rng.random() < 0.9 for _ in range(20))
            evidence = Evidence(
                wave=Side(rows=n, labelled=n, correct=mine), rest=Side(rows=n, labelled=n, correct=theirs)
            )
            gate = look(evidence, UP if n == 1000 else NOT_UP, tolerance=0.0, max_failed_share=0.01)
            if gate.state == "failed":
                failed += 1
                break
    assert failed <= 12
