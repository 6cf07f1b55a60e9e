"""Bad documents: every problem is named with path, expected and got, and nothing but ContractError is ever raised."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeloop_contracts import (
    DOCUMENTS,
    ContractError,
    Loop,
    Report,
    dumps,
    from_json,
    inconsistencies,
    loads,
    problems_in,
    to_json,
)
from edgeloop_contracts.processors import SETS_OF

KINDS = sorted(DOCUMENTS)

LOOP = {
    "apiVersion": "edgeloop.dev/v1alpha1",
    "kind": "Loop",
    "metadata": {"name": "turbine-power"},
    "data": {"source": "rows.csv", "label": "state", "features": ["wind", "pitch"], "time": "at"},
    "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "targets": [{"name": "gateway", "nodes": {"group": "edge"}}, {"name": "box", "nodes": {"group": "cabinets"}}],
}


def changed(path: str, value: object) -> dict:
    """LOOP with one value replaced; `...` takes the field away."""
    document = copy.deepcopy(LOOP)
    *outer, last = [int(step) if step.isdigit() else step for step in path.split("/")]
    here = document
    for step in outer:
        here = here.setdefault(step, {}) if isinstance(here, dict) else here[step]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return document


WRONG = [
    ("metadata/name", "Turbine Power", "metadata.name", "a name of lower-case letters", '"Turbine Power"'),
    ("metadata/name", ..., "metadata.name", "a name of lower-case letters", "nothing"),
    ("metadata", [], "metadata", "a mapping (LoopMetadata)", "a list of 0"),
    ("kind", "Lopp", "kind", "Loop", '"Lopp"'),
    ("apiVersion", ..., "apiVersion", "edgeloop.dev/v1alpha1", "nothing"),
    ("data/features", "wind", "data.features", "a list", '"wind"'),
    ("data/features", ["wind", 3], "data.features[1]", "text", "3"),
    ("data/label", True, "data.label", "text", "true"),
    ("data/window", "60 days", "data.window", "a duration such as 90s", '"60 days"'),
    ("train/seed", 1.5, "train.seed", "a whole number", "1.5"),
    ("train/seed", True, "train.seed", "a whole number", "true"),
    ("train/seed", -1, "train.seed", ">= 0", "-1"),
    ("train/seed", 2**70, "train.seed", "a whole number of 64 bits", str(2**70)),
    ("targets/1/platform", "linux/arm65", "targets[1].platform", "one of linux/amd64", '"linux/arm65"'),
    ("targets/0/budget", {"cpu_m": "1"}, "targets[0].budget.cpu_m", "a number", '"1"'),
    ("targets/0/budget", {"latency_p99_ms": 0.0}, "targets[0].budget.latency_p99_ms", ">= 0.01", "0.0"),
    ("targets/0/budget", {"memory_mib": 3.9}, "targets[0].budget.memory_mib", ">= 4", "3.9"),
    ("targets/0/budget", {"cpu_m": 9.5}, "targets[0].budget.cpu_m", ">= 10", "9.5"),
    ("targets/0/fpga", {"device": "ttyUSB1"}, "targets[0].fpga.device", "a device directly in /dev", '"ttyUSB1"'),
    ("targets/0/fpga", {"device": "/dev/a/b"}, "targets[0].fpga.device", "a device directly in /dev", '"/dev/a/b"'),
    ("targets/0/fpga", {"agreement": 1.5}, "targets[0].fpga.agreement", "<= 1", "1.5"),
    ("targets/0/fpga", {"baud": 300}, "targets[0].fpga.baud", ">= 1200", "300"),
    ("targets", {}, "targets", "a list", "a mapping"),
    ("validate/holdout", 0.95, "validate.holdout", "<= 0.9", "0.95"),
    ("validate/require", {"ece": "0.05"}, "validate.require.ece", "a bound such as", '"0.05"'),
    ("validate/champion", None, None, "", ""),
    ("retrain/budget", "4/fortnight", "retrain.budget", "a rate such as", '"4/fortnight"'),
    ("retrain/schedule", "0 3 * *", "retrain.schedule", "a cron rule of five fields", '"0 3 * *"'),
    ("retrain/on", ["drifft"], "retrain.on[0]", "one of performance, drift", '"drifft"'),
]


@pytest.mark.parametrize(("path", "value", "where", "expected", "got"), WRONG)
def test_each_mistake_is_named(path, value, where, expected, got):
    """A wrong value is answered with its path, what was expected and what was found."""
    document = changed(path, value)
    if where is None:
        assert from_json(Loop, document)
        return
    with pytest.raises(ContractError) as caught:
        from_json(Loop, document)
    assert caught.value.path == where
    assert caught.value.expected.startswith(expected)
    assert caught.value.got == got
    assert where in str(caught.value)


def test_all_mistakes_come_at_once():
    """Several mistakes in one document are all in one error."""
    document = changed("train/seed", "x")
    document["targets"][0]["platform"] = 4
    del document["data"]["label"]
    with pytest.raises(ContractError) as caught:
        from_json(Loop, document)
    assert {p.path for p in caught.value.problems} == {"train.seed", "targets[0].platform", "data.label"}


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("data/featurs", "did you mean features?"),
        ("targets/0/nodes/groups", "did you mean group?"),
        ("zzz", "known: metadata, data, train, targets, validate, monitor, retrain, rollout, offline"),
    ],
)
def test_unknown_fields_of_people_are_problems(path, hint):
    """What a person misspells is named with the nearest known field; a machine's unknown field is let through."""
    document = changed(path, 1)
    loop, problems = problems_in(Loop, document)
    assert loop is None
    assert [p.hint for p in problems] == [hint]
    assert from_json(Loop, document)


INCONSISTENT = [
    ("train/onnx", "model.onnx", "train", "estimator and onnx"),
    ("train/estimator", "", "train", "none"),
    ("train/estimator", "LogisticRegression", "train.estimator", "LogisticRegression"),
    ("data/features", [], "data.features", "none"),
    ("data/features", ["wind", "state"], "data.features[1]", "state"),
    ("data/features", ["wind", "wind"], "data.features[1]", "wind"),
    ("data/label", "at", "data.label", "at"),
    ("data/window", "0d", "data.window", "0d"),
    ("monitor/window", "00s", "monitor.window", "00s"),
    ("monitor/false_alarms", "0/year", "monitor.false_alarms", "0/year"),
    ("targets", [], "targets", "none"),
    ("targets/1/name", "gateway", "targets[1].name", "gateway"),
    ("targets/1/name", "model", "targets[1].name", "model"),
    ("targets/1/has", {"instruction_set": "x86-64-v9"}, "targets[1].has.instruction_set", "x86-64-v9"),
    ("targets/1/has", {"instruction_set": "armv8-a"}, "targets[1].has.instruction_set", "armv8-a"),
    ("targets/1/has", {"runtimes": ["cuda", ""]}, "targets[1].has.runtimes[1]", "''"),
    ("targets/1/has", {"runtimes": ["cuda, python3.11"]}, "targets[1].has.runtimes[0]", "'cuda, python3.11'"),
    ("targets/1/nodes/group", "edge", "targets[1].nodes.group", "edge"),
    ("targets/1/runtime", "fpga", "targets[1].part", "nothing"),
    ("rollout/waves", [["edge"], ["cabinet"]], "rollout.waves[1][0]", "cabinet"),
    ("rollout/waves", [["edge"]], "rollout.waves", "no wave for cabinets"),
    ("rollout/waves", [["edge", "cabinets"], ["edge"]], "rollout.waves[1][0]", "edge"),
    ("validate/require", {"acuracy": "> 0"}, "validate.require.acuracy", "acuracy"),
]


@pytest.mark.parametrize(("path", "value", "where", "got"), INCONSISTENT)
def test_fields_that_do_not_fit_together(path, value, where, got):
    """Fields that are right alone and wrong together are found, at the field that a person would change."""
    found = {p.path: p.got for p in inconsistencies(from_json(Loop, changed(path, value)))}
    assert found[where] == got


def test_the_nearest_instruction_set_is_named():
    """Of the target's own platform: another family's name is not near."""
    for name, near in (("x86-64-v9", "did you mean x86-64-v4?"), ("armv8-a", "known: x86-64, x86-64-v2")):
        loop = from_json(Loop, changed("targets/1/has", {"instruction_set": name}))
        (problem,) = inconsistencies(loop)
        assert near in str(problem)
    for name in SETS_OF["linux/amd64"]:
        loop = from_json(Loop, changed("targets/1/has", {"instruction_set": name, "runtimes": ["python3.11"]}))
        assert inconsistencies(loop) == []


def test_a_right_loop_has_no_inconsistency():
    """The loop that the table above breaks is itself without fault; a zero that makes sense is none."""
    assert inconsistencies(from_json(Loop, LOOP)) == []
    assert inconsistencies(from_json(Loop, changed("rollout/soak", "0s"))) == []


@pytest.mark.parametrize("kind", KINDS)
@given(noise=st.binary(max_size=200))
@example(noise=b'{"a": NaN}')
@example(noise=b'{"a": 1e999}')
@example(noise=b"[" * 5000)
@example(noise=b"1" * 5000)
@example(noise=b'{"a": "\\ud800"}')
@example(noise=b"\xff\xfe{\x00}\x00")
def test_noise_is_refused(kind, noise):
    """Bytes that are no document give ContractError and nothing else."""
    with pytest.raises(ContractError):
        loads(DOCUMENTS[kind], noise)


@pytest.mark.parametrize(
    ("value", "why"),
    [('"\\ud800"', "surrogate"), ("1e999", "too large"), ("-Infinity", "JSON has no"), ("[" * 70 + "]" * 70, "nested")],
)
def test_a_field_nobody_could_write_again_is_refused(value, why):
    """An unknown field must survive, so one that could not be written again makes the document bad at once."""
    text = dumps(from_json(Loop, LOOP))[:-1] + f', "unknown": {value}}}'
    with pytest.raises(ContractError, match=why):
        loads(Loop, text)


def _places(value, path=()):
    """The paths of all values inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _attempt(cls, text):
    """What was read, or the refusal; any other exception fails the test."""
    try:
        return loads(cls, text), None
    except ContractError as refusal:
        return None, refusal


def _replaced(document, path, value):
    if not path:
        return value
    changed_copy = copy.deepcopy(document)
    here = changed_copy
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = value
    return changed_copy


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60)
@given(data=st.data())
def test_mutated_documents_are_read_or_refused(kind, instances, json_values, data):
    """A good document with one value replaced by any other is read and written again, or refused with ContractError."""
    cls = DOCUMENTS[kind]
    document = to_json(data.draw(instances(cls)))
    path = data.draw(st.sampled_from(list(_places(document))))
    mutated = _replaced(document, path, data.draw(json_values))
    read, refusal = _attempt(cls, json.dumps(mutated))
    if refusal is None:
        assert loads(cls, dumps(read)) == read
    else:
        assert all(p.expected and p.got for p in refusal.problems)


@given(data=st.data())
def test_broken_text_is_read_or_refused(instances, data):
    """A report cut off or with one byte changed is refused with ContractError, unless it is still a report."""
    text = bytearray(dumps(data.draw(instances(Report))).encode())
    place = data.draw(st.integers(0, len(text) - 1))
    if data.draw(st.booleans()):
        del text[place:]
    else:
        text[place] = data.draw(st.integers(0, 255))
    read, refusal = _attempt(Report, bytes(text))
    assert isinstance(read, Report) or refusal.kind == "Report"
