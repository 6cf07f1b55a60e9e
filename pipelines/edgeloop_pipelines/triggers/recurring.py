"""Makes the recurring runs on Kubeflow Pipelines what the loops' `retrain.schedule` say: made, changed, removed, or left.

A recurring run is named `edgeloop-<loop>` and holds all it needs: cron rule, pipeline version, the loop document. The server
cannot change one, so a changed one is made anew and the old one removed after that; when the two steps are torn apart the
next time mends it, and a time at which both fall due gives two runs of one key, hence one version. What somebody paused
stays paused. `changes` decides from values alone; `reconcile` does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from edgeloop_contracts import Loop, RunRequest
from edgeloop_pipelines.compile import Compiled, compile_pipeline, must_fit_clusters
from edgeloop_pipelines.kfpruns import ensure_experiment, experiment_id
from edgeloop_pipelines.kfpserver import Settings, everything, talking
from edgeloop_pipelines.submit import ensure_version, find_version
from edgeloop_pipelines.triggers.schedule import kfp_cron

__all__ = ["Change", "Recurring", "changes", "name_of", "reconcile", "recurring_runs", "wanted"]

PREFIX, NEW = "edgeloop-", "(new)"
TIME = "[[ScheduledTime]]"  # the scheduler writes the due time here, as 14 digits


@dataclass(frozen=True)
class Recurring:
    """A recurring run, as it is or as it should be. `recurring_id` is empty where it is not there yet."""

    name: str
    cron: str
    version_id: str
    parameters: Mapping[str, Any] = field(repr=False)
    service_account: str = ""
    enabled: bool = True
    at_once: int = 1
    catch_up: bool = False
    recurring_id: str = ""


@dataclass(frozen=True)
class Change:
    """What is done about one name. `remove` are the ids that go; `make` is what comes."""

    action: Literal["create", "change", "keep", "remove"]
    name: str
    why: str
    make: Recurring | None = None
    remove: tuple[str, ...] = ()


def name_of(loop: str) -> str:
    """The name of a loop's recurring run."""
    return f"{PREFIX}{loop}"


def wanted(loop: Loop, version_id: str, service_account: str = "") -> Recurring | None:
    """The recurring run that a loop asks for; None when it has no schedule. CronError."""
    if not loop.retrain.schedule:
        return None
    from edgeloop_pipelines.training import arguments_of

    request = RunRequest(loop=loop.name, key=f"{loop.name}-{TIME}", cause="schedule", by="schedule")
    cron, parameters = kfp_cron(loop.retrain.schedule), arguments_of(request, loop)
    return Recurring(name_of(loop.name), cron, version_id, parameters, service_account)


_DIFFERENCES: Mapping[str, Callable[[Recurring, Recurring], bool]] = {
    "schedule": lambda want, have: want.cron != have.cron,
    "pipeline version": lambda want, have: want.version_id != have.version_id,
    "loop": lambda want, have: dict(want.parameters) != dict(have.parameters),
    "service account": lambda want, have: want.service_account not in ("", have.service_account),
    "runs at once": lambda want, have: want.at_once != have.at_once,
    "catching up": lambda want, have: want.catch_up != have.catch_up,
}


def changes(
    loops: Mapping[str, Recurring | None], there: Sequence[Recurring], *, prune: bool = False
) -> tuple[Change, ...]:
    """What has to be done so that each named loop has the one recurring run that it wants (or none).

    With `prune` ours of all other loops go, too; names that are not ours are never touched.
    """
    made = []
    for loop, want in sorted(loops.items()):
        mine = [have for have in there if have.name == name_of(loop)]
        if want is not None:
            made.append(_change(want, mine))
        elif mine:
            made.append(Change("remove", name_of(loop), "the loop has no schedule", remove=_ids(mine)))
        else:
            made.append(Change("keep", name_of(loop), "no schedule, and none there"))
    others = {have.name for have in there if _ours(have)} - {name_of(loop) for loop in loops} if prune else set()
    gone = ([have for have in there if have.name == name] for name in sorted(others))
    made += [Change("remove", mine[0].name, "no such loop was given", remove=_ids(mine)) for mine in gone]
    return tuple(made)


def _change(want: Recurring, mine: Sequence[Recurring]) -> Change:
    right = next((have for have in mine if not _differences(want, have)), None)
    if right is not None:
        extra = _ids([have for have in mine if have is not right])
        paused = "" if right.enabled else "; it is paused there"
        if extra:
            return Change("change", want.name, f"{len(extra)} more of this name{paused}", remove=extra)
        return Change("keep", want.name, f"as it should be{paused}")
    if not mine:
        return Change("create", want.name, f"schedule {want.cron}", make=want)
    enabled = any(have.enabled for have in mine)
    paused = "" if enabled else "; it stays paused"
    why = f"another {', '.join(_differences(want, mine[0]))}{paused}"
    return Change("change", want.name, why, make=replace(want, enabled=enabled), remove=_ids(mine))


def _differences(want: Recurring, have: Recurring) -> list[str]:
    return [name for name, differ in _DIFFERENCES.items() if differ(want, have)]


def _ids(found: Collection[Recurring]) -> tuple[str, ...]:
    return tuple(have.recurring_id for have in found)


def _ours(have: Recurring) -> bool:
    """Whether `reconcile` made it: by its name and by the run key that nobody else writes."""
    key = str(have.parameters.get("run_key") or "")
    return have.name.startswith(PREFIX) and key == f"{have.name.removeprefix(PREFIX)}-{TIME}"


def recurring_runs(settings: Settings) -> list[Recurring]:
    """The recurring runs of the settings' experiment that are ours, by name."""
    with talking(settings) as client:
        return sorted((have for have in _there(client, settings) if _ours(have)), key=lambda have: have.name)


def reconcile(
    loops: Sequence[Loop], settings: Settings, *, prune: bool = False, dry_run: bool = False
) -> tuple[Change, ...]:
    """Brings the server to what the loops say, and gives what was done (with `dry_run`: would be done).

    The pipeline is uploaded where its content is new and a loop has a schedule. NotForClustersError, CronError, RefusedError,
    UnreachableError; nothing is changed when a loop cannot be scheduled.
    """
    timed = [loop for loop in loops if loop.retrain.schedule]
    for loop in timed:
        must_fit_clusters(loop)
        kfp_cron(loop.retrain.schedule)
    compiled = compile_pipeline(settings.image) if timed else None
    with talking(settings) as client:
        pipeline_id, version_id = _version(client, settings, compiled, dry_run=dry_run) if compiled else ("", "")
        want = {loop.name: wanted(loop, version_id, settings.service_account) for loop in loops}
        found = changes(want, list(_there(client, settings)), prune=prune)
        if not dry_run:
            for change in found:
                _apply(client, settings, change, pipeline_id)
        return found


def _version(client: Any, settings: Settings, compiled: Compiled, *, dry_run: bool) -> tuple[str, str]:
    if dry_run:
        pipeline_id, version_id = find_version(client, settings, compiled)
        return pipeline_id, version_id or NEW
    version = ensure_version(client, settings, compiled)
    return version.pipeline_id, version.version_id


def _apply(client: Any, settings: Settings, change: Change, pipeline_id: str) -> None:
    if change.make is not None:
        make = change.make
        client.create_recurring_run(
            ensure_experiment(client, settings),
            make.name,
            description=f"retrain.schedule of loop {make.name.removeprefix(PREFIX)}; kept by edgeloop schedule",
            cron_expression=make.cron,
            max_concurrency=make.at_once,
            no_catchup=not make.catch_up,
            params=dict(make.parameters),
            pipeline_id=pipeline_id,
            version_id=make.version_id,
            enabled=make.enabled,
            service_account=make.service_account or None,
        )
    for recurring_id in change.remove:
        client.delete_recurring_run(recurring_id)


def _there(client: Any, settings: Settings) -> Iterator[Recurring]:
    experiment = experiment_id(client, settings)
    if not experiment:
        return
    for run in everything(client.list_recurring_runs, "recurring_runs", experiment_id=experiment):
        reference, trigger = run.pipeline_version_reference, run.trigger
        yield Recurring(
            name=str(run.display_name),
            cron=str((trigger.cron_schedule.cron if trigger and trigger.cron_schedule else "") or ""),
            version_id=str((reference.pipeline_version_id if reference else "") or ""),
            parameters=dict((run.runtime_config.parameters if run.runtime_config else None) or {}),
            service_account=str(run.service_account or ""),
            enabled=str(run.mode) != "DISABLE",
            at_once=int(run.max_concurrency or 1),
            catch_up=not run.no_catchup,
            recurring_id=str(run.recurring_run_id),
        )
