"""Writes a Loop as a commented loop.yaml: every field that there is, with what it means, taken from the contract itself.

A field that holds nothing is written as a comment with an example, so that the file is also the list of what can be said.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union, get_args, get_origin

import yaml

from edgeloop_contracts import API_VERSION, Contract, Loop
from edgeloop_contracts.codec import fields_of
from edgeloop_pipelines.loopfile import yamltext

__all__ = ["EXAMPLES", "contract_in", "flow", "write"]

WIDTH = 118
COMMENT_COLUMN = 44

EXAMPLES: dict[str, str] = {  # what a field that is empty could hold
    "metadata.owner": "wind-ops",
    "data.time": "timestamp",
    "data.node": "device",
    "train.estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "train.entrypoint": "my_package.train:fit",
    "train.onnx": "model.onnx",
    "train.params": "{max_iter: 150}",
    "validate.require": '{accuracy: ">= 0.9", ece: "<= 0.05"}',
    "validate.slices": "[device]",
    "targets.nodes.labels": "{edgeloop.dev/group: edge}",
    "targets.part": "ice40-up5k",
    "targets.fpga.board": "icebreaker",
    "targets.fpga.device": "/dev/ttyUSB1",
    "targets.budget.latency_p99_ms": "5",
    "targets.budget.memory_mib": "256",
    "targets.budget.cpu_m": "500",
    "targets.budget.image_mib": "400",
    "targets.budget.requests_per_s": "200",
    "targets.has.runtimes": "[python3.11]",
    "targets.has.instruction_set": "x86-64-v3",
    "targets.has.accelerator": "ice40-up5k",
    "targets.has.driver": "ftdi",
    "targets.has.memory_mib": "1024",
    "targets.has.disk_mib": "4096",
    "targets.base": "registry.example/base@sha256:" + 64 * "0",
    "retrain.schedule": '"0 3 * * 0"',
    "rollout.waves": "[[canary], [edge]]",
}


def write(loop: Loop, notes: Mapping[str, str], head: Sequence[str] = ()) -> str:
    """The text of a loop.yaml. `notes` are shown above their field (path: text), `head` at the top."""
    lines = [*(f"# {line}".rstrip() for line in head), f"apiVersion: {API_VERSION}", f"kind: {Loop.KIND}"]
    for f in fields_of(Loop):
        section = contract_in(f.type)
        assert section is not None  # every field of a loop is a section
        lines += ["", *(f"# {line}" for line in _first_lines(section))]
        value = getattr(loop, f.attribute)
        if isinstance(value, tuple):
            lines += [f"{f.name}:", *(line for item in value for line in _item(item, f.name, notes))]
        else:
            lines += [f"{f.name}:", *_fields(value, f.name, f.name, 2, notes)]
    return "\n".join(lines) + "\n"


def contract_in(tp: Any) -> type[Contract] | None:
    """The contract that a field holds, or a list of; None for plain fields."""
    if get_origin(tp) is tuple:
        return contract_in(get_args(tp)[0])
    if get_origin(tp) in (Union, types.UnionType):
        return contract_in(next(a for a in get_args(tp) if a is not type(None)))
    return tp if isinstance(tp, type) and issubclass(tp, Contract) else None


def _first_lines(section: type[Contract]) -> list[str]:
    return (inspect.getdoc(section) or "").split("\n\n", maxsplit=1)[0].replace("`", "").splitlines()


def _item(value: Contract, path: str, notes: Mapping[str, str]) -> Iterator[str]:
    """One entry of a list of sections: as a mapping, with a dash before its first field."""
    lines = list(_fields(value, path, path, 4, notes))
    first = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
    lines[first] = "  - " + lines[first][4:]
    yield from lines


def _fields(section: Contract, path: str, example: str, indent: int, notes: Mapping[str, str]) -> Iterator[str]:
    for f in fields_of(type(section)):
        here, value = f"{path}.{f.name}", getattr(section, f.attribute)
        if here in notes:
            yield f"{' ' * indent}# {notes[here]}"
        if isinstance(value, Contract):
            inner = list(_fields(value, here, f"{example}.{f.name}", indent + 2, notes))
            empty = all(line.lstrip().startswith("#") for line in inner)
            yield from _line(indent, f"# {f.name}:" if empty else f"{f.name}:", _first_lines(type(value))[0])
            yield from inner
        elif value in ("", (), None) or value == {}:
            yield from _line(indent, f"# {f.name}: {EXAMPLES[f'{example}.{f.name}']}", f.metadata.get("doc", ""))
        else:
            yield from _line(indent, f"{f.name}: {flow(value)}", f.metadata.get("doc", ""))


def _line(indent: int, text: str, doc: str) -> Iterator[str]:
    """A field with its comment behind it, or above it where the line would be too long."""
    text = " " * indent + text
    commented = f"{text:<{COMMENT_COLUMN}}  # {doc}" if doc else text
    if len(commented) <= WIDTH:
        yield commented
    else:
        yield " " * indent + f"# {doc}"
        yield text


def flow(value: Any) -> str:
    """A value in YAML's flow form, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(k))}: {flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    if isinstance(value, str):
        return value if _plain(value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value)


def _plain(text: str) -> bool:
    """Whether text needs no quotes: every reader of YAML, old or new, takes it as that text, in a list too."""
    if not text or any(c in text for c in ",[]{}#\"'\n") or not text.isprintable():
        return False
    try:
        read = yaml.safe_load(f"[{text}]")
    except yaml.YAMLError:
        return False
    mine = yamltext.parse(f"[{text}]".encode())
    return bool(read == [text] and mine.value == [text] and not mine.problems)
