"""`make bench-fpga`: three classifiers through the whole FPGA flow, and a retrained one patched. Exit code 1: a bar is missed.

Wall times are of this machine as busy as it is; the bar of three minutes is held against processor time. Area and timing are
nextpnr's, static, for one seed; nothing runs on hardware.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.bench.fpga_models import Made, make

if TYPE_CHECKING:
    from edgeloop_components.fpga.build import Built
    from edgeloop_components.fpga.quantise import Found

__all__ = ["CASES", "Bars", "Case", "Result", "main", "run"]

AGREEMENT, SECONDS, PEAK_MIB, ROWS = 0.99, 180.0, 1024.0, 4_000
PATCH_SECONDS, PATCH_BYTES = 5.0, 2_048
PEERS = {"conifer": "trees", "hls4ml": "perceptrons"}


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
    missed: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints what was measured; 0 when all bars hold."""
    parser = argparse.ArgumentParser(prog="python -m edgeloop_pipelines.bench.fpga", description=__doc__)
    parser.add_argument("--only", metavar="WORD", default="", help="cases whose model or part has the word in its name")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the results there as JSON")
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if options.only in f"{case.model} {case.part}"]
    missed, documents = 0, []
    with tempfile.TemporaryDirectory() as folder:
        for document, line, misses in run(cases, Path(folder)):
            print(line, flush=True)
            missed += bool(misses)
            documents.append(document)
    for peer, what in PEERS.items():
        print(f"{peer}: not part of edgeloop's lock, so {what} are not compared with it here")
    if options.out:
        options.out.write_text(json.dumps(documents, indent=1) + "\n")
    return int(missed > 0)


def run(cases: Sequence[Case], folder: Path) -> Iterator[tuple[Mapping[str, Any], str, tuple[str, ...]]]:
    """Document, line and missed bars of each case; after the first perceptron those of a retrained one, patched."""
    models: dict[str, Made] = {}
    patched = False
    for case in cases:
        if case.model not in models:
            models[case.model] = make(case.model, folder)
        out = folder / f"{case.model}-{case.part}"
        found, built, seconds = _built(models[case.model], case, out)
        result = _result(case, found, built, seconds)
        yield asdict(result), _line(result), result.missed
        if case.model == "perceptron" and not patched:
            patched = True
            yield _patch(case, folder, out)


def _built(made: Made, case: Case, out: Path, base: Path | None = None) -> tuple[Found, Built, float]:
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.fpga.build import Order, build
    from edgeloop_components.fpga.quantise import Evidence, Floors, read, search

    labels = read_lone(made.path).outputs(made.rows)["label"]
    evidence = Evidence(made.rows, labels, made.truth, made.calibration)
    found = search(read(made.path), evidence, Floors(AGREEMENT), bits=(case.bits,) if case.bits else None)
    started_s = time.monotonic()
    built = build(found.design, made.rows, Order(part=case.part), out, base=base, progress=_progress)
    return found, built, time.monotonic() - started_s


def _progress(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _result(case: Case, found: Found, built: Built, seconds: float) -> Result:
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
        proof_seconds=round(seconds - own_s, 1),
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
        missed=tuple(text for text, missed in checks.items() if missed),
    )


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
        f"{seconds:.1f} s of {PATCH_SECONDS}": seconds > PATCH_SECONDS,
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
