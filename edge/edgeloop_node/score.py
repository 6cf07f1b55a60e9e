"""`edgeloop-node score`: rows of a CSV file in, answers out, as CSV or JSON lines: labels and probabilities, or values.

Columns that are features are used, others are named once on stderr and left out; a feature without a column is a mistake.
The output has a line for each row; a refused row's line is empty (CSV) or holds `error` (JSON), and stderr says why.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from edgeloop_node.access import (
    AccessError,
    AmbiguousError,
    Item,
    Model,
    NoServerError,
    Scored,
    Settings,
    WrongVersionError,
    open_model,
    score_with,
)
from edgeloop_node.documents import nearest

__all__ = ["EXITS", "BadInputError", "command"]

OK, BAD_INPUT, USAGE, NO_SERVER, WRONG_VERSION, SOME_REFUSED = range(6)
EXITS: dict[type[Exception], int] = {AmbiguousError: USAGE, NoServerError: NO_SERVER, WrongVersionError: WRONG_VERSION}


class BadInputError(ValueError):
    """The CSV cannot be read; nothing more is scored."""


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _columns(header: list[str], model: Model, options: argparse.Namespace) -> None:
    """Says what is wrong with the header line. BadInputError."""
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise BadInputError(f"line 1: expected each column once, got twice: {', '.join(twice)}")
    wanted = [*model.kinds, *(name for name in (options.time, options.id) if name)]
    for name in wanted:
        if name not in header:
            raise BadInputError(f"line 1: expected a column {name} {nearest(name, header)}")
    ignored = [name for name in header if name not in wanted]
    if ignored:
        _say(f"columns that {model.loop}@{model.version} does not use: {', '.join(ignored)}")


def _cell(text: str, kind: str) -> float | str | None:
    """A cell's value: empty is missing. What should be a number and is not stays text, for the server to refuse."""
    if text == "" or kind == "category":
        return text or None
    try:
        value = float(text)
    except ValueError:
        return text
    return None if math.isnan(value) else text if math.isinf(value) else value


def _item(cells: dict[str, str], model: Model, options: argparse.Namespace) -> Item:
    features = {name: _cell(cells[name].strip(), kind) for name, kind in model.kinds.items()}
    time: str | float | None = cells[options.time].strip() or None if options.time else None
    with suppress(ValueError):
        time = float(time) if time else None
    return Item(features, time, cells[options.id] or None if options.id else None)


def _items(
    reader: Iterator[list[str]], header: list[str], model: Model, options: argparse.Namespace
) -> Iterator[tuple[int, Item | str]]:
    """(line, row) for each row; a row of the wrong length is the reason why it is refused."""
    lines = reader.line_num if hasattr(reader, "line_num") else 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadInputError(f"line {lines + 1}: {error}") from error
        lines = getattr(reader, "line_num", lines + 1)
        if not cells:
            continue
        if len(cells) != len(header):
            yield lines, f"expected {len(header)} cells, got {len(cells)}"
        else:
            yield lines, _item(dict(zip(header, cells, strict=True)), model, options)


CLASS_FIELDS = ("label", "confidence", "probabilities")


def _value_columns(outputs: Mapping[str, int]) -> list[str]:
    """A column for each value: an output's name, with the value's place where it has several."""
    several = {name: [f"{name}_{i}" for i in range(width)] for name, width in outputs.items()}
    return [column for name, width in outputs.items() for column in ([name] if width == 1 else several[name])]


def _flat(values: Mapping[str, Any]) -> list[Any]:
    return [item for value in values.values() for item in (value if isinstance(value, list) else [value])]


class _Writer:
    """Writes answers as CSV or JSON lines."""

    def __init__(self, model: Model, options: argparse.Namespace) -> None:
        self._classes, self._json = list(model.classes), options.json
        self._id = [options.id] if options.id else []
        self._csv = csv.writer(sys.stdout, lineterminator="\n")
        scores = ["label", "confidence", *(f"p_{name}" for name in self._classes)]
        self._columns = scores if self._classes else _value_columns(model.outputs)
        if not self._json:
            self._csv.writerow([*self._id, *self._columns, "version"])

    def write(self, answer: Scored) -> None:
        if self._json:
            document = asdict(answer) if not answer.error else {"id": answer.id, "error": answer.error}
            if not answer.error:
                for name in ("error", *(("values",) if self._classes else CLASS_FIELDS)):
                    document.pop(name)
            print(json.dumps(document))
            return
        names = [answer.id or ""] if self._id else []
        if answer.error:
            self._csv.writerow([*names, *("" for _ in self._columns), ""])
        elif not self._classes:
            self._csv.writerow([*names, *_flat(answer.values), answer.version])
        else:
            scores = [answer.probabilities[name] for name in self._classes]
            self._csv.writerow([*names, answer.label, answer.confidence, *scores, answer.version])


def _batch(
    model: Model, batch: Sequence[tuple[int, Item | str]], settings: Settings
) -> tuple[Model, list[tuple[int, Scored]]]:
    items = [item for _, item in batch if isinstance(item, Item)]
    answers: list[Scored] = []
    if items:
        model, answers = score_with(model, items, settings)
    scored = iter(answers)
    return model, [(line, next(scored) if isinstance(item, Item) else Scored(error=str(item))) for line, item in batch]


def _run(file: IO[str], settings: Settings, options: argparse.Namespace) -> int:
    reader = csv.reader(file, strict=True)
    header = [name.strip() for name in next(reader, [])]
    if not header:
        raise BadInputError("line 1: expected a header line, got nothing")
    model = open_model(settings)
    _columns(header, model, options)
    writer, refused = _Writer(model, options), 0
    rows = _items(reader, header, model, options)
    while batch := list(itertools.islice(rows, settings.batch)):
        model, answers = _batch(model, batch, settings)
        for line, answer in answers:
            writer.write(answer)
            if answer.error:
                refused += 1
                _say(f"line {line}: refused: {answer.error}")
    sys.stdout.flush()
    if refused:
        _say(f"{refused} rows were refused")
    return SOME_REFUSED if refused else OK


def _open(rows: str) -> AbstractContextManager[IO[str]]:
    if rows == "-":
        sys.stdin.reconfigure(encoding="utf-8-sig", newline="")  # type: ignore[union-attr]
        return nullcontext(sys.stdin)
    return Path(rows).open(encoding="utf-8-sig", newline="")


def command(options: argparse.Namespace) -> int:
    """Scores a file; the exit code says how it went (see --help)."""
    if not 1 <= options.batch <= 1000:
        _say(f"--batch: expected 1 to 1000, got {options.batch}")
        return USAGE
    settings = Settings(
        run_dir=Path(options.run_dir),
        url=options.url or "",
        loop=options.loop or "",
        version=options.version,
        batch=options.batch,
        retries=options.retries,
    )
    try:
        with _open(options.rows) as file:
            return _run(file, settings, options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except AccessError as error:
        _say(str(error))
        return EXITS.get(type(error), NO_SERVER)
    except (BadInputError, OSError, UnicodeDecodeError, csv.Error) as error:
        _say(f"{options.rows}: {error}")
        return BAD_INPUT
