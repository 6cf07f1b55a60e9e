"""Whether a compiled lone ONNX file answers as the file does, on every platform, over rows made up for it.

Each platform's own program computes the rows: the very one that `edgeloop model compile` writes, under emulation where the
platform is a foreign one. Its answers are compared with onnxruntime's on one thread, and all platforms with one another,
bit for bit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.agreement import Agreement, agreement, raw_digest, typical_sizes
from edgeloop_components.compile.lone import Lone
from edgeloop_components.compile.lone_build import build_program
from edgeloop_components.compile.lone_documents import servable, write_documents
from edgeloop_components.compile.rows import Probes
from edgeloop_components.compile.tolerance import row_limits
from edgeloop_components.native.emit import WAY_OUT, Emitted
from edgeloop_components.native.emulate import EmulatorUnavailable, ProgramError, emulator, run_program
from edgeloop_components.package.layers import host_platform
from edgeloop_components.train.golden import said

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["PlatformParity", "parity_lone"]

Say = Callable[[str], None]
PREDICT: Mapping[str, list[str]] = {"server": ["predict"], "predict": []}  # program: what makes it score


@dataclass(frozen=True)
class PlatformParity:
    """What came of one platform: `passed`, `failed` or `not run`, and why."""

    platform: str
    state: str
    why: str = ""
    agreement: Agreement | None = None
    digest: str = ""
    worst: Mapping[str, Any] | None = None
    scales: Mapping[str, float] = field(
        default_factory=dict
    )  # typical sizes of outputs, of a graph that is no classifier

    def document(self) -> dict[str, Any]:
        """As JSON."""
        figures = {}
        if self.agreement is not None:
            figures = {name: said(v) if isinstance(v, float) else v for name, v in vars(self.agreement).items()}
        return {
            "platform": self.platform,
            "state": self.state,
            "why": self.why,
            **figures,
            "output_digest": self.digest,
            "worst": self.worst,
            **({"scales": dict(self.scales)} if self.scales else {}),
        }


@dataclass(frozen=True)
class _Trial:
    """What is compared: rows, and the file's own answers to them."""

    lone: Lone
    probes: Probes
    expected: Mapping[str, Array]
    seed: int
    say: Say
    terms: Mapping[str, Array]


def parity_lone(
    lone: Lone, platforms: Sequence[str], runtime: str, *, rows: int, seed: int, say: Say = lambda _: None
) -> list[PlatformParity]:
    """One result for each platform. ModelError, Unsupported, ToolchainError."""
    probes = lone.probes(rows, seed)
    found = RUNNERS[runtime](
        _Trial(lone, probes, lone.outputs(probes.rows), seed, say, lone.terms(probes.rows)), platforms
    )
    first = next((result for result in found if result.state == "passed"), None)
    return [_same_as(first, result) for result in found]


def _same_as(first: PlatformParity | None, result: PlatformParity) -> PlatformParity:
    if first is None or result.state != "passed" or result.digest == first.digest:
        return result
    why = f"other bits than on {first.platform}: expected the digest {first.digest}, got {result.digest}"
    return replace(result, state="failed", why=why)


def _native(trial: _Trial, platforms: Sequence[str]) -> list[PlatformParity]:
    emitted = trial.lone.emitted(WAY_OUT if servable(trial.lone) else "")
    found = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if servable(trial.lone):
            write_documents(trial.lone, folder, trial.seed)
        for number, platform in enumerate(platforms, 1):
            trial.say(f"{platform}: {len(trial.probes.rows)} rows ({number} of {len(platforms)})")
            found.append(_on_platform(trial, emitted, folder, platform))
    return found


def _on_platform(trial: _Trial, emitted: Emitted, folder: Path, platform: str) -> PlatformParity:
    try:
        emulator(platform)
    except EmulatorUnavailable as error:
        return PlatformParity(platform, "not run", f"{error}; {error.hint}")
    program = build_program(trial.lone, emitted, folder, folder, platform=platform)
    rows = trial.probes.rows
    try:
        raw = run_program(program, PREDICT[program.name], rows.astype("<f4").tobytes(), platform)
        outputs = _outputs(raw, emitted, len(rows))
    except ProgramError as error:
        return PlatformParity(platform, "failed", str(error))
    return _compared(trial, platform, _with_places(trial.expected, emitted), outputs)


def _outputs(raw: bytes, emitted: Emitted, rows: int) -> dict[str, Array]:
    """The outputs in a program's bytes. ProgramError for another length."""
    import numpy as np

    sizes = [rows * info.width * np.dtype(info.kind).itemsize for info in emitted.outputs]
    if len(raw) != sum(sizes):
        raise ProgramError(f"expected {sum(sizes)} bytes of outputs, got {len(raw)}")
    found, start = {}, 0
    for info, size in zip(emitted.outputs, sizes, strict=True):
        kind = np.dtype(info.kind).newbyteorder("<")
        found[info.name] = np.frombuffer(raw, kind, size // kind.itemsize, start).reshape(rows, *info.shape)
        start += size
    return found


def _with_places(expected: Mapping[str, Array], emitted: Emitted) -> Mapping[str, Array]:
    """Expected outputs of text as the places that the C code gives."""
    import numpy as np

    found = dict(expected)
    for name, texts in emitted.texts.items():
        place = {text: number for number, text in enumerate(texts)}
        found[name] = np.vectorize(lambda text, place=place: place.get(str(text), -1), otypes=[np.int64])(found[name])
    return found


def _compared(trial: _Trial, platform: str, expected: Mapping[str, Array], got: Mapping[str, Array]) -> PlatformParity:
    import numpy as np

    lone = trial.lone
    names = {"label": "label", "probabilities": "probabilities"} if lone.classifier else {}
    limits = row_limits(expected["probabilities"], lone.power, lone.limit) if lone.classifier else lone.limit
    sizes = {} if lone.classifier else typical_sizes(expected, trial.terms)
    scales = {name: np.maximum(size, trial.terms.get(name, size)) for name, size in sizes.items()}
    figures = agreement(expected, got, limits, scales=scales, **names)
    passed = figures.holds(lone.exact)
    why = "" if passed else _why(lone, figures)
    worst = _worst(trial.probes, expected, got, figures.worst_row)
    digest = raw_digest(list(got.values()))
    return PlatformParity(platform, "passed" if passed else "failed", why, figures, digest, worst, sizes)


def _why(lone: Lone, figures: Agreement) -> str:
    if figures.of_limit > 1.0:
        return f"differs from onnxruntime by {figures.max_abs_difference:.3g} (limit {lone.limit:g})"
    if figures.label_differences:
        return f"another label in {figures.label_differences} of {figures.rows} rows"
    return f"trees must give the same bits, and {1 - figures.bit_equal:.3%} of the values do not"


def _worst(probes: Probes, expected: Mapping[str, Array], got: Mapping[str, Array], place: int) -> dict[str, Any]:
    def shown(values: Array) -> list[Any]:
        return [said(v) if isinstance(v, float) else v for v in values[place].ravel()[:64].tolist()]

    return {
        "row": place,
        "kind": probes.kinds[place],
        "values": shown(probes.rows),
        "expected": {name: shown(values) for name, values in expected.items()},
        "got": {name: shown(values) for name, values in got.items()},
    }


def _onnxruntime(trial: _Trial, platforms: Sequence[str]) -> list[PlatformParity]:
    """The graph that is packaged, row by row as a node scores, on this machine; wheels of other platforms do not run here."""
    return [_with_onnxruntime(trial) if platform == host_platform() else _elsewhere(platform) for platform in platforms]


def _elsewhere(platform: str) -> PlatformParity:
    return PlatformParity(platform, "not run", f"onnxruntime's wheel for {platform} runs on such a machine only")


def _with_onnxruntime(trial: _Trial) -> PlatformParity:
    import numpy as np

    from edgeloop_components.runtimes.onnxruntime import session

    loaded = session(trial.lone.adapted.model.SerializeToString(), str(trial.lone.path))
    (given,) = loaded.get_inputs()
    rows = trial.probes.rows.reshape(-1, *given.shape[1:])
    parts = [loaded.run(None, {given.name: rows[i : i + 1]}) for i in range(len(rows))]
    names = [output.name for output in loaded.get_outputs()]
    got = {name: np.concatenate([part[place] for part in parts]) for place, name in enumerate(names)}
    return _compared(trial, host_platform(), trial.expected, got)


RUNNERS = {"native": _native, "onnxruntime": _onnxruntime}
