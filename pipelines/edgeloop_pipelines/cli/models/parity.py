"""`edgeloop model parity`: whether a compiled ONNX file answers as the file does, and with the same bits everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say, table
from edgeloop_pipelines.cli.models import (
    FileArgument,
    PlatformOption,
    RuntimeOption,
    SeedOption,
    platforms_of,
    progress,
    runtime_of,
)

if TYPE_CHECKING:
    from edgeloop_components.compile.lone_parity import PlatformParity

__all__ = ["command"]

FAILED, NOT_RUN = 1, 3


def command(
    file: FileArgument,
    *,
    platform: PlatformOption = None,
    runtime: RuntimeOption = "native",
    rows: Annotated[int, typer.Option("--rows", help="how many to make up", min=20, max=1_000_000)] = 1000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare a compiled ONNX file with onnxruntime on one thread, on every platform, on rows that it makes up.

    Rows: ordinary ones around the model's thresholds and scales, missing values, values exactly on thresholds, infinities, and
    values far out of range. Foreign platforms are run by qemu's user-mode emulation. Probabilities may differ by 1e-6, trees
    without a post-transform not by a bit, labels only at ties; and all platforms must give the same bits.

    Exit codes: 0 all hold, 1 one does not (its worst row is shown), 3 a platform could not be run here.

    Examples:

      edgeloop model parity m.onnx --runtime native
      edgeloop model parity m.onnx --platform linux/arm64 --rows 10000 --seed 7
      edgeloop model parity m.onnx --json
    """
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.compile.lone_parity import parity_lone
    from edgeloop_components.package.layers import host_platform

    chosen = runtime_of(runtime)
    platforms = platforms_of(platform, chosen, ["all"] if chosen == "native" else [host_platform()])
    lone = read_lone(file)
    found = parity_lone(lone, platforms, chosen, rows=rows, seed=seed, say=progress)
    document = {
        "file": str(file),
        "onnx": lone.digest,
        "runtime": chosen,
        "seed": seed,
        "limit": lone.limit,
        "same_bits": lone.exact,
        "platforms": [result.document() for result in found],
    }
    emit(document, lambda: _show(found, lone.limit, lone.exact), as_json)
    code = _exit_code(found)
    if code:
        raise typer.Exit(code)


def _exit_code(found: Sequence[PlatformParity]) -> int:
    states = {result.state for result in found}
    return FAILED if "failed" in states else NOT_RUN if "not run" in states else 0


def _show(found: Sequence[PlatformParity], limit: float, exact: bool) -> None:
    heads = ("platform", "", "rows", "max abs", "max ulp", "bit-equal", "labels", "digest")
    table(heads, [_row(result) for result in found])
    for result in found:
        if result.why:
            say(f"{result.platform}: {result.state}: {result.why}")
    failed = next((result for result in found if result.state == "failed" and result.worst), None)
    if failed is not None and failed.worst is not None:
        say(f"the worst row on {failed.platform}, {failed.worst['row']} ({failed.worst['kind']}):")
        for what in ("values", "expected", "got"):
            say(f"  {what}: {failed.worst[what]}")
    say(f"limit {limit:g}" + (", and the same bits" if exact else "") + "; onnxruntime on one thread is right")


def _row(result: PlatformParity) -> tuple[Any, ...]:
    figures = result.agreement
    if figures is None:
        return (result.platform, result.state, "", "", "", "", "", "")
    return (
        result.platform,
        result.state,
        figures.rows,
        f"{figures.max_abs_difference:.2g}",
        figures.max_ulp,
        f"{figures.bit_equal:.1%}",
        figures.label_differences,
        result.digest.removeprefix("sha256:")[:12],
    )
