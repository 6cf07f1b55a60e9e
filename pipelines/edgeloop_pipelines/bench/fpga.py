"""`make bench-fpga`: three classifiers through the whole FPGA flow, and a retrained one patched. Exit code 1: a bar is missed.

The same models go through conifer and hls4ml then, and a table shows them side by side.

Wall times are of this machine as busy as it is; the bar of three minutes is held against processor time. Area and timing are
nextpnr's, static, for one seed; nothing runs on hardware.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.bench.fpga_beside import Given, beside
from edgeloop_pipelines.bench.fpga_models import HELD_OUT, Made, make
from edgeloop_pipelines.bench.fpga_steps import PART, spent_s
from edgeloop_pipelines.bench.fpga_table import Row, documents, rendered

if TYPE_CHECKING:
    from edgeloop_components.fpga.build import Built
    from edgeloop_components.fpga.quantise import Found
    from edgeloop_pipelines.bench.fpga_models import Labels

__all__ = ["CASES", "Bars", "Case", "Result", "main", "run"]

AGREEMENT, SECONDS, PEAK_MIB, ROWS = 0.99, 180.0, 1024.0, 4_000
PATCH_SECONDS, PATCH_BYTES = 5.0, 2_048


@dataclass(frozen=True)
class Bars:
    """What is asked: logic cells at most, and core latency in microseconds at Fmax at most; None: not asked."""

    luts: int | None = None
    latency_us: float | None = None


@dataclass(frozen=True)
class Case:
    """A model on a part. `bits` 0: the fewest that hold the agreement."""

    model: str
    part: str
    bits: int
    bars: Bars


CASES = (
    Case("perceptron", "ice40-up5k", 8, Bars(luts=1_250)),
    Case("perceptron", "ice40-hx8k", 8, Bars(latency_us=8.0)),
    Case("perceptron", "ecp5-25k", 8, Bars(latency_us=8.0)),
    Case("boosting", "ice40-hx8k", 0, Bars(latency_us=0.1)),
    Case("boosting", "ecp5-25k", 0, Bars(latency_us=0.1)),
    Case("boosting-binary", "ecp5-25k", 0, Bars(luts=2_100, latency_us=0.1)),
)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was measured of a case, and which bars it misses."""

    case: Case
    seconds: float  # synthesis, place and route, pack, on this machine as busy as it was
    cpu_seconds: float  # the same in processor time, which is what idle cores would take
    proof_seconds: float
    peak_mib: float
    luts: int
    fmax_mhz: float
    cycles: int
    latency_us: float
    agreement: float
    rows: int
    exact: int
    netlist_rows: int
    bytes: int
    sha256: str
    used: Mapping[str, int]
    numbers: str  # of the design
    tried: Mapping[str, float]  # bits: agreement
    convert_cpu_s: float  # the search for the fewest bits included
    proof_cpu_s: float
    tools: Mapping[str, str]
    missed: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was measured; 0 when all bars hold."""
    parser = argparse.ArgumentParser(prog="python -m edgeloop_pipelines.bench.fpga", description=__doc__)
    parser.add_argument("--only", metavar="WORD", default="", help="cases whose model or part has the word in its name")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results there as JSON")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="conifer and hls4ml, too")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if options.only in f"{case.model} {case.part}"]
    with tempfile.TemporaryDirectory() as folder:
        models: dict[str, Made] = {}
        missed, found = 0, []
        for document, line, misses in run(cases, Path(folder), models):
            print(line, flush=True)
            missed += bool(misses)
            found.append(document)
        rows = list(_table(found, models, Path(folder))) if options.peers else []
    print("\n" + rendered(rows) if rows else "conifer and hls4ml: not asked for")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        whole = {"cases": found, "beside": documents(rows), "load": os.getloadavg(), "cpus": os.cpu_count()}
        options.out.write_text(json.dumps(whole, indent=1) + "\n")
    return int(missed > 0)


def _table(found: Sequence[Mapping[str, Any]], models: Mapping[str, Made], folder: Path) -> Iterator[Row]:
    """Rows of each model that was built for PART: edgeloop's and the peers'."""
    for document in found:
        case = document.get("case", {})
        if case.get("part") != PART:
            continue
        made = models[case["model"]]
        given = Given(case["model"], made, _labels(made), AGREEMENT, folder, _progress)
        yield from beside(given, _own(document))


_PROOF = "simulating is the proof: {exact:,} of {rows:,} rows bit-exact, {netlist_rows:,} on the netlist; converting: the search"


def _own(document: Mapping[str, Any]) -> Row:
    return Row(
        model=document["case"]["model"],
        tool="edgeloop",
        numbers=document["numbers"],
        agreement=document["agreement"],
        rows=HELD_OUT,
        used=document["used"],
        around="shell and UART, 3 pins",
        fmax_mhz=document["fmax_mhz"],
        convert_s=document["convert_cpu_s"],
        simulate_s=document["proof_cpu_s"],
        build_s=document["cpu_seconds"],
        tried=document["tried"],
        versions=document["tools"],
        remarks=(_PROOF.format(**document),),
    )


def run(
    cases: Sequence[Case], folder: Path, models: dict[str, Made] | None = None
) -> Iterator[tuple[Mapping[str, Any], str, tuple[str, ...]]]:
    """Document, line and missed bars of each case; after the first perceptron those of a retrained one, patched.

    `models` keeps those that were trained, by name.
    """
    models = {} if models is None else models
    patched = False
    for case in cases:
        if case.model not in models:
            models[case.model] = make(case.model, folder)
        out = folder / f"{case.model}-{case.part}"
        result = _result(case, *_built(models[case.model], case, out))
        yield asdict(result), _line(result), result.missed
        if case.model == "perceptron" and not patched:
            patched = True
            yield _patch(case, folder, out)


@dataclass(frozen=True)
class _Took:
    """Wall seconds of the build with its proof; processor time of that, and of the search before it."""

    seconds: float
    cpu_s: float
    search_cpu_s: float


def _built(made: Made, case: Case, out: Path, base: Path | None = None) -> tuple[Found, Built, _Took]:
    from edgeloop_components.fpga.build import Order, build
    from edgeloop_components.fpga.quantise import Evidence, Floors, read, search

    spent = [spent_s()]
    evidence = Evidence(made.rows, _labels(made), made.truth, made.calibration)
    found = search(read(made.path), evidence, Floors(AGREEMENT), bits=(case.bits,) if case.bits else None)
    spent.append(spent_s())
    started_s = time.monotonic()
    built = build(found.design, made.rows, Order(part=case.part), out, base=base, progress=_progress)
    spent.append(spent_s())
    return found, built, _Took(time.monotonic() - started_s, spent[2] - spent[1], spent[1] - spent[0])


def _labels(made: Made) -> Labels:
    """The float model's, of the held-out rows."""
    from edgeloop_components.compile.lone import read_lone

    found: Labels = read_lone(made.path).outputs(made.rows)["label"]
    return found


def _progress(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _result(case: Case, found: Found, built: Built, took: _Took) -> Result:
    figures, proof = built.figures, built.certificate["proof"]
    own_s, cpu_s = sum(figures.seconds.values()), sum(figures.cpu_seconds.values())
    cycles = int(proof["cycles"]["most"])
    latency_us = cycles / figures.fmax_mhz
    agreement = found.tried[-1].agreement
    checks = {
        f"{cpu_s:.0f} s of CPU of {SECONDS:.0f}": cpu_s > SECONDS,
        f"{figures.peak_mib:.0f} MiB of {PEAK_MIB:.0f}": figures.peak_mib > PEAK_MIB,
        f"{figures.used['luts']} LUT of {case.bars.luts}": _over(figures.used["luts"], case.bars.luts),
        f"{latency_us:.3g} us of {case.bars.latency_us}": _over(latency_us, case.bars.latency_us),
        f"agreement {agreement:.4f} of {AGREEMENT}": agreement < AGREEMENT,
        f"{proof['exact']} of {ROWS} rows": proof["exact"] < ROWS or proof["exact"] != proof["rows"],
    }
    return Result(
        case=case,
        seconds=round(own_s, 1),
        cpu_seconds=round(cpu_s, 1),
        proof_seconds=round(took.seconds - own_s, 1),
        peak_mib=figures.peak_mib,
        luts=figures.used["luts"],
        fmax_mhz=figures.fmax_mhz,
        cycles=cycles,
        latency_us=round(latency_us, 4),
        agreement=agreement,
        rows=proof["rows"],
        exact=proof["exact"],
        netlist_rows=proof["netlist"]["rows"],
        bytes=figures.bytes,
        sha256=figures.sha256,
        used=dict(figures.used),
        numbers=_numbers(found),
        tried={str(one.bits): one.agreement for one in found.tried},
        convert_cpu_s=round(took.search_cpu_s, 1),
        proof_cpu_s=round(took.cpu_s - cpu_s, 1),
        tools=dict(figures.tools),
        missed=tuple(text for text, missed in checks.items() if missed),
    )


def _numbers(found: Found) -> str:
    bits, codes = found.tried[-1].bits, found.design.code_bits
    return f"{bits} bits" if found.design.perceptron else f"codes of {codes} bits, leaves of {bits}"


def _over(value: float, most: float | None) -> bool:
    return most is not None and value > most


def _line(result: Result) -> str:
    case = result.case
    bars = "bars hold" if not result.missed else "MISSED: " + ", ".join(result.missed)
    return (
        f"{case.model} on {case.part}: {result.seconds:g} s ({result.cpu_seconds:g} s CPU), proof "
        f"{result.proof_seconds:g} s, {result.peak_mib:.0f} MiB; "
        f"{result.luts:,} LUT, {result.fmax_mhz:g} MHz, {result.cycles} cycles, {result.latency_us:.3g} us (core, static timing, "
        f"excluding the link); agreement {result.agreement:.2%}; {result.exact:,} of {result.rows:,} rows bit-exact, "
        f"{result.netlist_rows:,} on the netlist; {bars}"
    )


def _patch(case: Case, folder: Path, base: Path) -> tuple[Mapping[str, Any], str, tuple[str, ...]]:
    """Another model of the same shape, patched into what was placed: time, difference, proof."""
    from edgeloop_components.fpga.build import difference

    other = folder / "retrained"
    other.mkdir()
    out = folder / "patched"
    _, built, _ = _built(make(case.model, other, seed=2), case, out, base)
    figures, proof = built.figures, built.certificate["proof"]
    seconds = sum(figures.seconds.values())
    differing = difference(*((place / figures.bitstream).read_bytes() for place in (base, out)))
    checks = {
        "not patched": not figures.patched,
        f"{seconds:.1f} s of {PATCH_SECONDS}": case.part.startswith("ice40") and seconds > PATCH_SECONDS,
        f"{differing['bytes']} bytes of {PATCH_BYTES}": differing["bytes"] > PATCH_BYTES,
        f"{proof['exact']} of {ROWS} rows": proof["exact"] < ROWS or proof["exact"] != proof["rows"],
    }
    missed = tuple(text for text, missed in checks.items() if missed)
    document = {"patched": case.model, "part": case.part, "seconds": seconds, **differing, "exact": proof["exact"]}
    line = (
        f"{case.model} retrained, patched on {case.part}: {seconds:.1f} s, {differing['bytes']:,} bytes differ (a delta of "
        f"{differing['delta_bytes']:,}); {proof['exact']:,} of {proof['rows']:,} rows bit-exact; "
        + ("bars hold" if not missed else "MISSED: " + ", ".join(missed))
    )
    return document, line, missed


if __name__ == "__main__":
    sys.exit(main())
