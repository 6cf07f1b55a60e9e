"""`edgeloop profile` and `edgeloop model profile`: what a model costs, shown, measured, drawn, and compared."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, Unavailable, UserError, emit, say
from edgeloop_pipelines.cli.models import FileArgument, RuntimeOption, SeedOption, progress, runtime_of
from edgeloop_pipelines.cli.nodes import RegistryOption
from edgeloop_pipelines.cli.profile_show import check_plot, document, documents, draw_all, show_all
from edgeloop_pipelines.cli.stores import HomeOption, open_objects

if TYPE_CHECKING:
    from edgeloop_components.profile.plan import Plan
    from edgeloop_contracts import Loop, ResourceProfile

__all__ = ["command", "model_command"]

PlanOption = Annotated[str, typer.Option("--plan", help="quick (seconds) or full (about eight minutes)")]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="draw it: .svg, .png or .pdf", show_default=False)
]
CandidatesOption = Annotated[
    bool, typer.Option("--candidates", help="compare every runtime, 8-bit weights, and numbers of threads")
]
LatencyOption = Annotated[float | None, typer.Option(show_default=False, min=0.01)]  # the minimums of `Budget`
MemoryOption = Annotated[float | None, typer.Option(show_default=False, min=4)]
CpuOption = Annotated[float | None, typer.Option(show_default=False, min=10)]


def command(
    what: Annotated[
        str, typer.Argument(metavar="LOOP|FOLDER|FILE", help="a loop, a compiled folder, or a profile.json")
    ],
    *,
    target: Annotated[str, typer.Option("--target", help="one target of the loop", show_default=False)] = "",
    plan: PlanOption = "quick",
    candidates: CandidatesOption = False,
    plot: PlotOption = None,
    job: Annotated[
        Path | None,
        typer.Option(
            "--job", metavar="FOLDER", help="write a Job that measures on a node of the group", show_default=False
        ),
    ] = None,
    registry: RegistryOption = "edgeloop.local",
    load_image: Annotated[
        str,
        typer.Option(
            "--load-image", help="the load generator's image by digest; default: written here", show_default=False
        ),
    ] = "",
    job_log: Annotated[
        Path | None,
        typer.Option("--job-log", metavar="FILE", help="what the Job's container `load` printed", show_default=False),
    ] = None,
    home: HomeOption = Path(".edgeloop"),
    as_json: JsonOption = False,
) -> None:
    """Show what the last version of a loop costs on each target, or measure a compiled folder on this machine.

    A loop's profiles are read from the catalog, as its packages hold them; nothing is measured then. With --candidates the last
    version is compiled and measured here in every way that the target allows, and the one that keeps furthest from the limits
    of the target's budget (loop.yaml) is named. With --job the same
    profile is made on a node of the target's group: apply the objects, keep the log of the container `load`, and give it
    with --job-log. A pod writes no control groups, so the Job varies the load alone, under the pod's own limits.

    Examples:

      edgeloop profile turbine-power
      edgeloop profile turbine-power --target cabinet --plot cabinet.svg
      edgeloop profile turbine-power --target cabinet --candidates --plot front.svg
      edgeloop profile turbine-power --target cabinet --job job/ --registry registry.example
      edgeloop profile turbine-power --target cabinet --job-log load.log
      edgeloop profile out/compiled --plan full --plot full.svg
    """
    check_plot(plot)
    chosen_plan = _plan(plan)
    if job:
        from edgeloop_pipelines.cli.profile_job import write_job

        made = write_job(what, target, job, registry=registry, load_image=load_image, home=home)
        emit({"files": [str(path) for path in made]}, lambda: say("\n".join(map(str, made))), as_json)
        return
    if candidates:
        from edgeloop_pipelines.cli.profile_candidates import compared_of_loop

        profiles, choice = compared_of_loop(what, target, chosen_plan, home)
        if plot:
            draw_all(profiles, plot, choice)
        emit(documents(profiles, choice), lambda: show_all(profiles, plot, choice), as_json)
        return
    path = Path(what)
    if path.is_dir():
        found = [_measured_folder(path, chosen_plan)]
    elif path.is_file():
        found = [_read(path)]
    else:
        found = _of_loop(what, target, home)
    if job_log:
        from edgeloop_pipelines.cli.profile_job import read_log

        if len(found) != 1:
            raise UserError(f"--job-log: expected one target, found {len(found)}", "name it with --target")
        found = [read_log(found[0], job_log, node="")]
    if plot:
        draw_all(found, plot)
    emit([document(profile) for profile in found], lambda: show_all(found, plot), as_json)


def model_command(
    file: FileArgument,
    *,
    runtime: RuntimeOption = "native",
    plan: PlanOption = "quick",
    latency_p99_ms: LatencyOption = None,
    memory_mib: MemoryOption = None,
    cpu_m: CpuOption = None,
    candidates: CandidatesOption = False,
    plot: PlotOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure what a lone ONNX file costs to serve on this machine: the real server, under limits, under load.

    A limit that the model breaks is an error with the numbers. With --candidates every runtime is measured, and the one that
    keeps furthest from the limits is named.

    Examples:

      edgeloop model profile m.onnx
      edgeloop model profile m.onnx --plan full --latency-p99-ms 20 --memory-mib 64 --plot m.svg
      edgeloop model profile m.onnx --candidates --plot front.svg
    """
    from edgeloop_components.profile.core import profile

    check_plot(plot)
    loop, chosen = _lone_loop(file, runtime_of(runtime), (latency_p99_ms, memory_mib, cpu_m)), _plan(plan)
    with tempfile.TemporaryDirectory(prefix="edgeloop-profile-") as made:
        folder = _lone_folder(file, Path(made), loop, seed)
        if candidates:
            from edgeloop_pipelines.cli.profile_candidates import compared

            profiles, choice = compared(loop, loop.targets[0], folder, chosen)
        else:
            compiled = _compiled(folder, Path(made) / "compiled", loop)
            profiles, choice = [profile(loop, loop.targets[0], compiled, plan=chosen, say=progress)], None
    if plot:
        draw_all(profiles, plot, choice)
    emit(documents(profiles, choice), lambda: show_all(profiles, plot, choice), as_json)


def _plan(name: str) -> Plan:
    from edgeloop_components.profile.plan import PLANS

    if name not in PLANS:
        raise UserError(f"--plan: expected {' or '.join(PLANS)}, got {name}")
    return PLANS[name]


# --- where profiles come from -----------------------------------------------------------------------------------------


def _read(path: Path) -> ResourceProfile:
    from edgeloop_contracts import ContractError, ResourceProfile, loads

    if path.suffix == ".onnx":
        raise UserError(f"{path}: expected a profile.json, got a model", f"measure it: edgeloop model profile {path}")
    try:
        return loads(ResourceProfile, path.read_bytes())
    except ContractError as error:
        raise UserError(f"{path}: {error}", "expected the profile.json of a step, or a loop's name") from error


def _of_loop(loop: str, target: str, home: Path) -> list[ResourceProfile]:
    """The profiles of the newest version that has packages."""
    from edgeloop_components.catalog import catalog

    with contextlib.ExitStack() as stack:
        try:
            objects = stack.enter_context(open_objects(home))
        except Unavailable as error:
            raise Unavailable(f"{loop}: no such folder or file, and as a loop: {error}", error.hint) from error
        known = list(catalog.loops(objects))
        if loop not in known:
            raise UserError(f"{loop}: no such loop, folder or file", "known loops: " + (", ".join(known) or "none yet"))
        numbers = sorted((version.number for version in catalog.versions(objects, loop)), reverse=True)
        packages = next(filter(None, (catalog.packages(objects, loop, number) for number in numbers)), ())
    found = [package.profile for package in packages if package.profile and target in ("", package.target)]
    if not found:
        have = ", ".join(package.target for package in packages) or "none"
        raise UserError(
            f"{loop}: no profile{f' for target {target}' if target else ''}", f"targets with packages: {have}"
        )
    return found


def _measured_folder(folder: Path, plan: Plan) -> ResourceProfile:
    """A compiled folder, measured now."""
    from edgeloop_components.package.layers import host_platform
    from edgeloop_components.profile.core import profile
    from edgeloop_contracts import Reference, loads
    from edgeloop_pipelines.cli.profile_folder import compiled_in

    with compiled_in(folder, host_platform()) as found:
        if not (found.folder / "reference.json").is_file():
            raise UserError(f"{folder}: expected a compiled folder with reference.json, found none")
        name = loads(Reference, (found.folder / "reference.json").read_bytes()).loop
        loop = _made_loop(name, found.runtime, (None, None, None), platform=found.platform)
        return profile(loop, loop.targets[0], found.folder, plan=plan, say=progress)


def _made_loop(name: str, runtime: str, limits: Sequence[float | None], platform: str = "") -> Loop:
    """A loop around a model that has none; its one target is this machine, or one of `platform` that it stands for."""
    from edgeloop_components.compile.lone_loop import loop_around
    from edgeloop_components.package.layers import host_platform

    names = ("latency_p99_ms", "memory_mib", "cpu_m")
    budget = {key: value for key, value in zip(names, limits, strict=True) if value is not None}
    target = {"name": "here", "platform": platform or host_platform(), "runtime": runtime, "budget": budget}
    return loop_around(name, [target])


def _lone_loop(file: Path, runtime: str, limits: Sequence[float | None]) -> Loop:
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.compile.lone_documents import check_servable

    lone = read_lone(file)
    check_servable(lone)
    return _made_loop(lone.name, runtime, limits)


def _lone_folder(file: Path, made: Path, loop: Loop, seed: int) -> Path:
    """The model folder of a lone file, documents made up."""
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.compile.lone_documents import write_documents

    folder = made / "model"
    folder.mkdir()
    lone = read_lone(file, name=loop.name)
    (folder / "model.onnx").write_bytes(lone.adapted.model.SerializeToString())
    write_documents(lone, folder, seed)
    return folder


def _compiled(model: Path, out: Path, loop: Loop) -> Path:
    import shutil

    from edgeloop_components.runtimes import RUNTIMES

    out.mkdir()
    for name in ("reference.json", "golden.json", "version.json"):
        shutil.copyfile(model / name, out / name)
    RUNTIMES[loop.targets[0].runtime].compile(model, out, loop.targets[0])
    return out
