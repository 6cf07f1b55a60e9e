"""A lone ONNX file, quantised and built for an FPGA: rows from a CSV file or made up, and the folder with its report.

Where there is no file of rows, ordinary ones are made up from the model's own thresholds and scalers, and the report says so:
ranges of activations and agreement are then no better than these. Rows are judged on that are not used for ranges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.lone import Lone, read_lone
from edgeloop_components.compile.lone_build import OutputError, replacing
from edgeloop_components.fpga.backend import patchable
from edgeloop_components.fpga.boards import BOARDS
from edgeloop_components.fpga.build import Built, Order, build, sources
from edgeloop_components.fpga.calibration import Calibration, CalibrationError, read_rows
from edgeloop_components.fpga.chosen import choose
from edgeloop_components.fpga.kept import FACTS, Kept
from edgeloop_components.fpga.page import page
from edgeloop_components.fpga.quantise import Evidence, Floors, Found, read
from edgeloop_components.fpga.whole import checked_bitstream, checked_folder, document
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import CERTIFICATE_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = [
    "REPORT_FILE",
    "WIDTHS_FILE",
    "Quantised",
    "build_folder",
    "quantise_file",
    "verified",
    "write_report",
]

Progress = Callable[[str], None]
WIDTHS_FILE, REPORT_FILE = "widths.json", "report.html"
MADE_UP = 8_000


@dataclass(frozen=True)
class Quantised:
    """A design that holds the floors, the rows that it was judged on, and how its width was found (`chosen`)."""

    lone: Lone
    found: Found
    floors: Floors
    rows: Rows
    source: str
    how: str

    def document(self) -> dict[str, Any]:
        """widths.json."""
        return {
            "model": self.lone.path.name,
            "onnx": self.lone.digest,
            "rows": self.source,
            "floors": asdict(self.floors),
            "kept": asdict(self.found.widths),
            "chosen": self.how,
            "tried": [asdict(one) for one in self.found.tried],
        }


def quantise_file(
    path: Path,
    calibration: Path | None,
    floors: Floors,
    *,
    bits: int = 0,
    order: Order | None = None,
    base: Path | None = None,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Quantised:
    """Searches the widths, or takes `bits` where that is not 0. ModelError, Unsupported, CalibrationError.

    The width of what the folder `base` holds is kept where the design can be patched into it as `order` wants it.
    """
    evidence, source, lone = _evidence(path, calibration, seed, progress)
    earlier = [] if base is None else _last_bits(base)

    def base_of(design: FpgaDesign) -> Kept | None:
        if base is None or order is None:
            return None
        return patchable(sources(design, order), order.part, order.board, base, front=order.front)

    chosen = choose(read(path), evidence, floors, bits=bits, earlier=earlier, base_of=base_of, progress=progress)
    return Quantised(lone, chosen.found, floors, evidence.rows, source, chosen.how)


def evidence_of(path: Path, calibration: Path | None, seed: int = 0) -> tuple[Evidence, str]:
    """Rows to judge a file on, the labels that it gives them, and where they come from. ModelError, CalibrationError."""
    evidence, source, _ = _evidence(path, calibration, seed)
    return evidence, source


def _evidence(
    path: Path, calibration: Path | None, seed: int, progress: Progress = lambda _: None
) -> tuple[Evidence, str, Lone]:
    lone = read_lone(path)
    if not lone.classifier:
        raise ModelError(
            f"{path}: expected a classifier with probabilities, found another graph: an FPGA design has labels"
        )
    given, source = _rows(lone, calibration, seed)
    judged, ranged = given.rows[1::2], given.rows[::2]
    truth = given.truth(lone.adapted.classes)
    for remark in given.remarks(lone.adapted.classes):
        progress(remark)
    _check_missing(lone, given)
    labels = lone.outputs(judged)["label"]
    return Evidence(judged, labels, None if truth is None else truth[1::2], ranged), source, lone


def _check_missing(lone: Lone, given: Calibration) -> None:
    """CalibrationError where the model has no answer to rows with missing values: nothing can agree with it there."""
    import numpy as np

    missing = given.rows[np.isnan(given.rows).any(axis=1)]
    if not len(missing):
        return
    unanswered = int((~np.isfinite(lone.outputs(missing)["probabilities"])).any(axis=1).sum())
    if unanswered:
        raise CalibrationError(
            f"{given.source or lone.path}: expected rows that the model has an answer to, found missing values in "
            f"{len(missing):,} of {len(given.rows):,} rows, and no answer to {unanswered:,} of them: leave them out, or put "
            "an imputer into the model"
        )


def _last_bits(folder: Path) -> list[int]:
    """The width of the design that was built into a folder, where there is one."""
    try:
        return [int(json.loads((folder / WIDTHS_FILE).read_bytes())["kept"]["bits"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _rows(lone: Lone, calibration: Path | None, seed: int) -> tuple[Calibration, str]:
    if calibration is not None:
        given = read_rows(calibration, lone.adapted.features)
        if len(given.rows) < 2:
            raise ModelError(f"{calibration}: expected at least 2 rows, found {len(given.rows)}")
        return given, calibration.name
    probes = lone.probes(MADE_UP, seed)
    ordinary = [place for place, kind in enumerate(probes.kinds) if kind == "ordinary"]
    return Calibration(probes.rows[ordinary], None), "made up, for lack of --calibration"


def build_folder(
    quantised: Quantised, order: Order, out: Path, *, force: bool = False, progress: Progress = lambda _: None
) -> Built:
    """Builds into `out`, which appears when all of it is there. What is there of the same shape is patched into.

    OutputError when it holds something else, and the errors of `build`.
    """
    foreign = out.exists() and any(out.iterdir()) and not (out / CERTIFICATE_FILE).is_file()
    if foreign and not force:
        raise OutputError(
            f"{out}: expected an empty folder or a built design, found other files", "--force replaces it"
        )
    with replacing(out) as folder:
        log = out.with_name(f"{out.name}.log")
        built = build(quantised.found.design, quantised.rows, order, folder, progress=progress, base=out, log=log)
        (folder / WIDTHS_FILE).write_text(json.dumps(quantised.document(), indent=1) + "\n")
        write_report(folder)
    return built


def write_report(folder: Path) -> Mapping[str, Any]:
    """Writes report.html of a built folder, when all files are those of its certificate; the certificate. ModelError."""
    certificate = checked_folder(folder)
    widths, facts = (document(folder / name) for name in (WIDTHS_FILE, FACTS))
    try:
        text = page(str(widths["model"]), certificate, widths, facts["floor"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: expected {CERTIFICATE_FILE}, {WIDTHS_FILE} and {FACTS} with all figures, found a gap: {error!r}; "
            "build it again"
        ) from error
    (folder / REPORT_FILE).write_text(text)
    return {**certificate, "widths": widths}


def verified(folder: Path) -> tuple[Path, str]:
    """The bitstream of a built folder and its board by openFPGALoader's name.

    ModelError when it, or design.json, is not the certificate's.
    """
    path, figures = checked_bitstream(folder)
    board = str(figures.get("board"))
    if board not in BOARDS:
        raise ModelError(
            f"{folder / CERTIFICATE_FILE}: bitstream.board: expected one of {', '.join(BOARDS)}, found {board!r}"
        )
    return path, BOARDS[board].loader
