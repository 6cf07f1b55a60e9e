"""loop.yaml is read with the place of every mistake, and nothing that a file holds can do harm."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Loop
from edgeloop_pipelines.loopfile import LoopFileError, load, loads
from edgeloop_pipelines.loopfile.yamltext import MAX_BYTES, parse

GOOD = """\
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: turbine-power, owner: wind-ops}
data:
  source: s3://telemetry/turbines/
  label: power_state
  features: [wind_speed, wind_dir]
  time: timestamp
train:
  estimator: sklearn.ensemble.HistGradientBoostingClassifier
  params: {max_iter: 150, learning_rate: 1e-1, early_stopping: false, interaction_cst: null}
validate:
  require: {accuracy: ">= 0.95"}
targets:
  - {name: gateway, platform: linux/arm64, runtime: native, nodes: {group: gateways}}
  - {name: cabinet, nodes: {group: cabinets}}
retrain: {on: [performance, drift]}
rollout: {waves: [[gateways], [cabinets]]}
"""


def mistakes(text: str | bytes) -> list[tuple[int, int, str, str, str, str]]:
    """(line, column, path, expected, got, hint) of each mistake."""
    with pytest.raises(LoopFileError) as caught:
        loads(text.encode() if isinstance(text, str) else text)
    return [
        (m.line, m.column, m.problem.path, m.problem.expected, m.problem.got, m.problem.hint)
        for m in caught.value.problems
    ]


def test_a_good_file_is_read(tmp_path):
    """A file without mistakes gives the loop, and `on` is a word, not a truth value."""
    path = tmp_path / "loop.yaml"
    path.write_text(GOOD)
    loop = load(path)
    assert isinstance(loop, Loop)
    assert loop.name == "turbine-power"
    assert loop.retrain.on == ("performance", "drift")
    assert loop.train.params == {
        "max_iter": 150,
        "learning_rate": 0.1,
        "early_stopping": False,
        "interaction_cst": None,
    }


MISTAKES = [
    ("label: power_state", "labell: power_state", (6, 3, "data.labell"), "did you mean label?"),
    ("label: power_state", "label: 7", (6, 10, "data.label"), ""),
    ("platform: linux/arm64", "platform: linux/arm65", (15, 31, "targets[0].platform"), "did you mean linux/arm64?"),
    ("on: [performance, drift]", "on: [performance, drifft]", (17, 29, "retrain.on[1]"), "did you mean drift?"),
    ("[cabinets]]", "[cabinet]]", (18, 32, "rollout.waves[1][0]"), "did you mean cabinets?"),
    ("name: cabinet,", "name: gateway,", (16, 12, "targets[1].name"), ""),
    ("accuracy:", "acuracy:", (13, 13, "validate.require.acuracy"), "did you mean accuracy?"),
    ("  label: power_state\n", "", (4, 1, "data.label"), "this field is required"),
    ("kind: Loop\n", "", (1, 1, "kind"), ""),
    ("sklearn.ensemble.HistGradientBoostingClassifier", '""', (9, 1, "train"), ""),
    ("  time: timestamp", "  time: timestamp\n  label: b", (9, 3, "data.label"), "first in line 6"),
]


@pytest.mark.parametrize(("old", "new", "place", "hint"), MISTAKES)
def test_a_mistake_is_shown_at_its_place(old, new, place, hint):
    """Each mistake is named with line, column and path, and the nearest known name where there is one."""
    assert old in GOOD
    found = {(line, column, path): given for line, column, path, _, _, given in mistakes(GOOD.replace(old, new, 1))}
    assert found[place] == hint


def test_every_mistake_at_once():
    """Mistakes of form, of doubled fields, and of fields that do not fit together come in one report, by line."""
    text = GOOD.replace("linux/arm64", "linux/arm65").replace("[[gateways]", "[[gatewys]")
    text = text.replace("name: cabinet,", "name: gateway,").replace('">= 0.95"', "0.95").replace("owner", "ownr")
    text = text.replace("kind: Loop\n", "kind: Loop\nkind: Loop\n")
    paths = [path for _, _, path, *_ in mistakes(text)]
    assert paths == [
        "kind",
        "metadata.ownr",
        "validate.require.accuracy",
        "targets[0].platform",
        "targets[1].name",
        "rollout.waves",
        "rollout.waves[0][0]",
    ]


CASCADES = [  # a mistake that must not draw false ones after it
    ("nodes: {group: gateways}", "nodes: {grup: gateways}", {"targets[0].nodes.grup", "targets[0].nodes.group"}),
    ("estimator:", "estimater:", {"train.estimater"}),
    ("features: [wind_speed, wind_dir]", "features: wind_speed", {"data.features"}),
    ("rollout: {waves:", "rollout: {wave:", {"rollout.wave"}),
    ("metadata: {name: turbine-power, owner: wind-ops}\n", "", {"metadata"}),
]


@pytest.mark.parametrize(("old", "new", "paths"), CASCADES)
def test_a_mistake_draws_no_false_ones(old, new, paths):
    """What could only be wrong because of another mistake is not reported."""
    assert {path for _, _, path, *_ in mistakes(GOOD.replace(old, new, 1))} == paths


SYNTAX = [
    (b"", 1, "a loop", "an empty file"),
    (b"a:\n\tb: 1", 2, "spaces to indent with", "cannot start any token"),
    (b"a: b: c", 1, "one 'name: value' a line", "mapping values are not allowed"),
    (b"a: [1, 2\nb: 3", 2, "',' or ']'", "parsing a flow sequence"),
    (b"a: {x: 1\nb: 3", 2, "',' or '}'", "parsing a flow mapping"),
    (b"a:\n  - b\n - c\n", 3, "the same indentation", "parsing a block mapping"),
    (b"a: 'x\nb: 1\n", 3, "the quote that closes the text", "end of stream"),
    (b"a: *x", 1, "an anchor (&name) before its alias", "undefined alias"),
    (b"a: 1\n---\nb: 2", 2, "one document", "another document"),
    (b"a: 1\nb: \xff", 2, "text in UTF-8", "byte 0xff"),
    (b"a: 1\nb: \x01", 2, "printable characters", "special characters"),
    (b"? [a]\n: 1", 1, "a name before ':'", "a list or a mapping"),
    (b"- &a [*a]", 1, "a value", "an alias of what it stands in"),
    (b"a: !!python/object:os.system x", 1, "a plain value", "the tag"),
    (b"a: !!python/object/apply:os.system [ls]", 1, "a plain value", "the tag"),
    (b"a: " + b"9" * 5000, 1, "a number that can be read", "5000 characters"),
    (b"[" * 5000, 1, "a document that a person can read", "nested too deeply"),
    (b"#" * (MAX_BYTES + 1), 1, f"at most {MAX_BYTES} bytes", "bytes"),
    (b"null", 1, "a mapping (Loop)", "null"),
    (b"[1]", 1, "a mapping (Loop)", "a list of 1"),
]


@pytest.mark.parametrize(("text", "line", "expected", "got"), SYNTAX, ids=[text[:12] for text, *_ in SYNTAX])
def test_what_is_no_yaml(text, line, expected, got):
    """Text that is no usable YAML is answered with the line, what was expected, and what was found."""
    assert any(m[0] == line and m[3].startswith(expected) and got in m[4] for m in mistakes(text)), mistakes(text)


def test_an_alias_bomb_is_refused_quickly():
    """Aliases of aliases that would fill the memory end after a bounded number of values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    started = time.monotonic()
    found = mistakes("\n".join(lines))
    assert any("aliases" in got for *_, got, _ in found)
    assert time.monotonic() - started < 10


def test_anchors_and_merges_are_plain_values():
    """An anchor may be used again, and `<<` fills in what a mapping does not say itself."""
    text = b"base: &b {a: 1, b: 2}\none: {<<: *b, b: 3}\ntwo: *b\nthree: {<<: [*b, {c: 4, a: 9}]}"
    document = parse(text)
    assert document.problems == []
    assert document.value["one"] == {"a": 1, "b": 3}
    assert document.value["two"] == {"a": 1, "b": 2}
    assert document.value["three"] == {"a": 1, "b": 2, "c": 4}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("2014-01-01", "2014-01-01"),
        ("1:30", "1:30"),
        ("010", 10),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-7", -7),
        ("true", True),
        ("~", None),
        ("'1'", "1"),
        (".inf", ".inf"),
        ("1_000", "1_000"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    """Words and dates stay text; numbers and truth values are what today's YAML says."""
    read = parse(f"a: {text}".encode()).value["a"]
    assert read == value
    assert type(read) is type(value)


def test_a_file_that_is_not_there(tmp_path):
    """A missing file is an OSError that names it."""
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


def test_a_huge_file_is_not_read_into_memory(tmp_path):
    """A file over the limit is refused by its size."""
    path = tmp_path / "loop.yaml"
    with path.open("wb") as out:
        out.truncate(1 << 31)  # sparse: two gigabytes that take no disk
    with pytest.raises(LoopFileError, match="at most"):
        load(path)


LINES = GOOD.splitlines(keepends=True)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(LINES), max_size=18).map("".join)
    | st.tuples(st.integers(0, len(GOOD)), st.text(max_size=5), st.integers(0, 8)).map(
        lambda cut: GOOD[: cut[0]] + cut[1] + GOOD[cut[0] + cut[2] :]
    )
)
@example("targets: {}\ndata: 1")
@example("targets: [1, {nodes: 1}]\ndata: {features: [[]]}")
@example("metadata:\n  <<: [1]")
@example("data: null\ntargets: [null]")
@example("data.label: 1\ntargets[0].nodes: 2\ntargets: [{nodes.group: x}]")
@example(GOOD.replace("metadata: {name: turbine-power, owner: wind-ops}", "metadata: {name: {a: 1}}"))
def test_any_text_is_read_or_refused(text):
    """Lines left out, doubled, shuffled or cut give a loop or LoopFileError with places inside the text, nothing else."""
    try:
        loads(text.encode("utf-8", "surrogatepass"))
    except LoopFileError as error:
        found = error.problems
    else:
        found = ()
    lines = text.count("\n") + text.count("\x85") + text.count("\u2028") + text.count("\u2029") + text.count("\r") + 2
    assert all(1 <= m.line <= lines and m.column >= 1 for m in found)


def test_the_example_in_the_design_is_read():
    """The documented loop.yaml (docs/loop.md) is one without mistakes."""
    page = (Path(__file__).parents[2] / "docs" / "loop.md").read_text()
    example_text = page.split("```yaml\n", 1)[1].split("```", 1)[0]
    assert loads(example_text.encode()).name == "turbine-power"


def manual_function() -> str:
    """The training function of docs/loop.md."""
    page = (Path(__file__).parents[2] / "docs" / "loop.md").read_text()
    return page.split("```python\n", 1)[1].split("```", 1)[0]


@pytest.mark.parametrize("imputes", [True, False])
def test_the_training_function_of_the_manual(imputes, tmp_path, monkeypatch):
    """It has under 50 lines and trains to a model that answers missing values; without its imputer it is refused."""
    import numpy as np
    import pandas as pd

    from edgeloop_components.ingest.core import ingest
    from edgeloop_components.train.core import train
    from edgeloop_components.train.problem import TrainError

    text, name = manual_function(), f"manual_training_{imputes}"
    assert len(text.splitlines()) < 50
    (tmp_path / f"{name}.py").write_text(text if imputes else text.replace("(imputer, ", "("))
    monkeypatch.chdir(tmp_path)
    a, b = np.random.default_rng(0).normal(size=(2, 300))
    pd.DataFrame({"a": a, "b": b, "y": np.where(a > b, "on", "off")}).to_csv("rows.csv", index=False)
    loop = loads(
        f"apiVersion: edgeloop.dev/v1alpha1\nkind: Loop\nmetadata: {{name: own}}\n"
        f"data: {{source: rows.csv, label: y, features: [a, b]}}\n"
        f"train: {{entrypoint: '{name}:fit', params: {{strength: 2.0}}}}\n"
        f"targets: [{{name: t, nodes: {{group: g}}}}]\n".encode()
    )
    ingest(loop, tmp_path / "snapshot", objects=None)
    if imputes:
        made = train(loop, tmp_path / "snapshot", tmp_path / "out")
        assert made.proof is not None
        golden = json.loads((tmp_path / "out" / "golden.json").read_text())
        assert any(value is None for row in golden["rows"] for value in row)
    else:
        with pytest.raises(TrainError, match="it has no answer to a missing value"):
            train(loop, tmp_path / "snapshot", tmp_path / "out")
