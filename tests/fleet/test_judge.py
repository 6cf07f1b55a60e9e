"""The judge: the order of precedence, and who may ask for a run."""

import pytest

from edgeloop_fleet.judge.blocks import NodeBlock, block_s, complete_until_s, mature_until_s, run_length
from edgeloop_fleet.judge.judge import Case, judge
from edgeloop_fleet.judge.quality import faults_in

DAY_S = 86_400


def _blocks(make, days, *, first=0, nodes=("n2", "n3"), **counts):
    """A block a day and node; `faults` as the quality rules find them."""
    found = make.counts(**counts)
    faults = faults_in(found, make.reference())
    return [
        NodeBlock(node=node, group="rest", start_s=(first + day) * DAY_S, counts=found, faults=faults)
        for day in range(days)
        for node in nodes
    ]


def _judge(make, blocks, *, days=None, loop=None, reference=None, armed_s=0.0):
    end = max(block.start_s for block in blocks) / DAY_S + 1 if days is None else days
    case = Case(
        loop=loop or make.loop(),
        version=1,
        reference=reference or make.reference(),
        blocks=blocks,
        now_s=end * DAY_S + 2 * DAY_S,
        armed_s=armed_s,
    )
    return judge(case)


GOOD = {"labelled": 144, "correct": 136}
BAD = {"labelled": 144, "correct": 110}


def _broken(make, **labels):
    return {"rows": 144, "features": {"a": make.features(40, missing=104), "b": make.features(144)}, **labels}


def test_block_lengths_follow_the_window(make):
    """Hourly and daily windows are judged by the day, minute windows by 24 of them, long windows one by one."""
    lengths = [block_s(make.loop(monitor={"window": w})) for w in ("1h", "1d", "1m", "2w")]
    assert lengths == [DAY_S, DAY_S, 24 * 60, 14 * DAY_S]
    assert run_length(make.loop(monitor={"false_alarms": "4/year"})) == pytest.approx(91.3, abs=0.1)
    assert run_length(make.loop(monitor={"false_alarms": "9/day"})) == 20.0
    assert run_length(make.loop(monitor={"false_alarms": "0/year"})) == float("inf")


def test_only_complete_and_mature_blocks_count(make):
    """A block is complete a window after its end, and has its labels one delay later."""
    loop = make.loop(monitor={"window": "1h", "label_delay": "2d"})
    assert complete_until_s(loop, 10 * DAY_S) == 10 * DAY_S - 3600
    assert mature_until_s(loop, 10 * DAY_S) == 8 * DAY_S - 3600


def test_nothing_complete_is_insufficient(make):
    """Without a complete block the verdict is that there is too little."""
    case = Case(loop=make.loop(), version=1, reference=make.reference(), blocks=_blocks(make, 1), now_s=DAY_S)
    assert judge(case)[0].judgement == "insufficient"


def test_good_labels_are_healthy_even_when_inputs_moved(make):
    """Labels that hold outrank drift: it is told in the sentence, and asks for nothing."""
    verdict = _judge(make, _blocks(make, 20, shift=14.0, **GOOD))[0]
    assert (verdict.judgement, verdict.cause) == ("healthy", None)
    assert "Inputs that moved most: a" in verdict.sentence
    assert verdict.numbers["moved/a"] > 1


def test_bad_labels_ask_for_a_run(make):
    """A fall in labelled accuracy asks for a run, names the block of the alarm and what it saw."""
    verdict = _judge(make, [*_blocks(make, 30, **GOOD), *_blocks(make, 10, first=30, **BAD)])[0]
    assert (verdict.judgement, verdict.cause) == ("performance", "performance")
    assert 30 * DAY_S < verdict.window_start_s < 40 * DAY_S
    assert "76.4 % of 2,880 labelled rows since 1970-01-31" in verdict.sentence
    assert verdict.numbers["accuracy"] == pytest.approx(110 / 144)


def test_labels_outrank_the_estimate(make):
    """Where labels hold, low confidence starts nothing."""
    unsure = make.confidence(144, 0.6)
    assert _judge(make, _blocks(make, 10, **GOOD, **unsure))[0].judgement == "healthy"


def test_the_estimate_speaks_where_labels_are_silent(make):
    """Without labels two blocks of low confidence ask for a run for performance."""
    verdict = _judge(make, _blocks(make, 10, rows=2000, **make.confidence(2000, 0.6)))[0]
    assert (verdict.judgement, verdict.cause) == ("estimated_performance", "performance")
    assert "No labels are due yet" in verdict.sentence


def test_the_estimate_outranks_drift(make):
    """Low confidence on moved inputs is judged as performance; the inputs explain it."""
    verdict = _judge(make, _blocks(make, 10, rows=2000, shift=14.0, **make.confidence(2000, 0.6)))[0]
    assert verdict.judgement == "estimated_performance"
    assert "Inputs that moved most: a" in verdict.sentence


@pytest.mark.parametrize("labels", [{}, BAD, {"labelled": 144, "correct": 0}], ids=["none", "bad", "all-wrong"])
def test_a_broken_sensor_never_asks_for_a_run(make, labels):
    """All nodes with a fault, whatever the labels say, for a month: alarm, no cause, verdicts for nodes and group."""
    verdicts = _judge(make, _blocks(make, 30, **_broken(make, **labels)))
    assert [v.judgement for v in verdicts] == ["quality"] * 4
    assert {v.scope for v in verdicts} == {"fleet", "group/rest", "node/n2", "node/n3"}
    assert all(v.cause is None for v in verdicts)
    assert "a is missing in 72.2 % of the rows" in verdicts[0].sentence


def test_a_broken_node_does_not_hide_a_fall_of_the_others(make):
    """With one node in quarantine the labels of the other still decide, and the broken one has its own verdict."""
    blocks = [
        *_blocks(make, 20, nodes=("n2",), **_broken(make, **GOOD)),
        *_blocks(make, 20, nodes=("n3",), **BAD),
    ]
    verdicts = _judge(make, blocks)
    assert [(v.scope, v.judgement) for v in verdicts] == [("fleet", "performance"), ("node/n2", "quality")]
    assert verdicts[0].numbers["accuracy"] == pytest.approx(110 / 144)


def test_errors_of_a_broken_node_do_not_count(make):
    """One node with a fault and only errors, one healthy: no performance verdict."""
    blocks = [
        *_blocks(make, 20, nodes=("n2",), **_broken(make, labelled=144, correct=0)),
        *_blocks(make, 20, nodes=("n3",), **GOOD),
    ]
    assert _judge(make, blocks)[0].judgement == "quality"


def test_drift_asks_only_when_allowed_large_and_without_labels(make):
    """Large drift asks where loop.yaml lists it; a small one, or a loop without `drift`, does not."""
    large, small = _blocks(make, 10, rows=2000, shift=10.0), _blocks(make, 10, rows=2000, shift=3.0)
    daily = make.reference(window_s=DAY_S)

    def asked(blocks, **changes):
        return [(v.judgement, v.cause) for v in _judge(make, blocks, reference=daily, **changes)]

    assert asked(large) == [("drift", "drift")]
    assert asked(small) == [("drift", None)]
    assert asked(large, loop=make.loop(retrain={"on": ["performance"]})) == [("drift", None)]


def test_after_a_run_the_tests_begin_anew(make):
    """Blocks from before the last run do not count: the same fall asks again only with new evidence."""
    blocks = [*_blocks(make, 30, **GOOD), *_blocks(make, 10, first=30, **BAD)]
    assert _judge(make, blocks, armed_s=39 * DAY_S)[0].judgement == "healthy"
    later = [*blocks, *_blocks(make, 10, first=40, **BAD)]
    verdict = _judge(make, later, armed_s=39 * DAY_S)[0]
    assert verdict.judgement == "performance"
    assert verdict.window_start_s > 39 * DAY_S


def test_after_a_run_old_estimates_do_not_count(make):
    """Two blocks of low confidence from before the run, and one after it: not yet a fall."""
    low = _blocks(make, 10, rows=2000, **make.confidence(2000, 0.6))
    assert _judge(make, low, armed_s=9 * DAY_S)[0].cause is None
    assert _judge(make, low, armed_s=8 * DAY_S)[0].cause == "performance"


def test_a_cause_that_the_loop_does_not_list_asks_for_nothing(make):
    """With retrain.on: [schedule] a fall is told and starts nothing."""
    verdict = _judge(make, _blocks(make, 20, **BAD), loop=make.loop(retrain={"on": ["schedule"]}))[0]
    assert (verdict.judgement, verdict.cause) == ("performance", None)
