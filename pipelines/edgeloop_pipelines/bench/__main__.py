"""`make bench-edge`: native code beside onnxruntime, then the servers beside their peers. Exit code 1: a bar is missed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from edgeloop_pipelines.bench import models, serving

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was measured; 0 when all bars hold."""
    parser = argparse.ArgumentParser(prog="python -m edgeloop_pipelines.bench", description=__doc__)
    parser.add_argument("--only", choices=("models", "serving"), help="one part alone [both]")
    parser.add_argument("--rounds", type=int, default=models.ROUNDS, help=f"of the models' part [{models.ROUNDS}]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write models.json and serving.json there, too")
    options = parser.parse_args(arguments)
    codes = []
    if options.only != "serving":
        codes.append(_models(options.rounds, options.out))
    if options.only != "models":
        codes.append(serving.main(["--json", str(options.out / "serving.json")] if options.out else []))
    return max(codes)


def _models(rounds: int, out: Path | None) -> int:
    found = []
    for result in models.run(rounds=rounds):
        found.append(result)
        print(_line(result), flush=True)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "models.json").write_text(json.dumps([result.document() for result in found], indent=2) + "\n")
    return int(not all(result.holds for result in found))


def _line(result: models.Result) -> str:
    case = result.case
    bar = "no bar" if result.bar is None else f"bar {result.bar:g}: {'holds' if result.holds else 'MISSED'}"
    return (
        f"{case.model}, batch {case.batch}, {result.instruction_set}: native {result.native_us.shown()} us a row, "
        f"onnxruntime {result.onnxruntime_us.shown()}; {result.times_faster.shown()} times faster ({bar}); "
        f"largest difference {result.max_abs_difference:.2g}"
    )


if __name__ == "__main__":
    sys.exit(main())
