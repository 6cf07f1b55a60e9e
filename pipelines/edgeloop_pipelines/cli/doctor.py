"""`edgeloop doctor`: looks over a cluster, or one machine, and says what is wrong, why that matters, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, console, emit, say
from edgeloop_pipelines.cli.stores import HomeOption

if TYPE_CHECKING:
    from edgeloop_pipelines.doctor import Facts, Finding

STYLES = {"error": "bold red", "warning": "bold yellow"}


def command(
    loops: Annotated[
        list[Path] | None, typer.Argument(metavar="[LOOP.YAML]...", help="loops to hold the cluster against")
    ] = None,
    *,
    kubeconfig: Annotated[str, typer.Option(help="kubeconfig file [default: KUBECONFIG, ~/.kube/config]")] = "",
    context: Annotated[str, typer.Option(help="context of the kubeconfig [default: the current one]")] = "",
    namespace: Annotated[str, typer.Option(help="namespace of agents and servers")] = "edgeloop",
    cloud: Annotated[str, typer.Option(help="namespace of the fleet service")] = "edgeloop-cloud",
    kubeedge: Annotated[str, typer.Option(help="namespace of CloudCore")] = "kubeedge",
    kubeflow: Annotated[str, typer.Option(help="namespace of Kubeflow Pipelines")] = "kubeflow",
    folder: Annotated[
        Path | None, typer.Option(help="look at the objects of this folder (edgeloop render) in place of a cluster")
    ] = None,
    kfp: Annotated[str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="URL of Kubeflow Pipelines")] = "",
    kfp_namespace: Annotated[str, typer.Option(envvar="EDGELOOP_KFP_NAMESPACE", help="your namespace there")] = "",
    token: Annotated[str, typer.Option(envvar="EDGELOOP_KFP_TOKEN", help="bearer token for Kubeflow Pipelines")] = "",
    ca_file: Annotated[str, typer.Option(envvar="EDGELOOP_KFP_CA_FILE", help="CA certificate of its host")] = "",
    fleet: Annotated[str, typer.Option(envvar="EDGELOOP_FLEET_URL", help="URL of the fleet service")] = "",
    registry: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT of a registry to ask, besides those of the applied images")
    ] = None,
    home: HomeOption = Path(".edgeloop"),
    write: Annotated[
        bool, typer.Option("--write", help="put and remove one object in the object store, to see that it is safe")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="seconds that each service may take")] = 10.0,
    strict: Annotated[bool, typer.Option("--strict", help="exit code 1 for warnings, too")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look over an installation: what is wrong, why it matters, how to mend it.

    Looks at the cluster of the kubeconfig (reads only), at Kubeflow Pipelines, object store, registry, fleet service and clocks,
    as far as they are named, and says what it did not look at. Without a cluster it looks at what runs in HOME. A part that does
    not answer is a finding. Exit codes: 0 no errors (with --strict: nothing at all), 1 findings.

    Examples:

      edgeloop doctor
      edgeloop doctor loop.yaml --context plant --kfp http://localhost:8080
      edgeloop doctor --folder rendered --strict --json
    """
    from edgeloop_pipelines import loopfile
    from edgeloop_pipelines.doctor import examine
    from edgeloop_pipelines.doctor.gather.look import Wanted, look
    from edgeloop_pipelines.submit import Settings

    wanted = Wanted(
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        cloud=cloud,
        kubeedge=kubeedge,
        kubeflow=kubeflow,
        folder=folder,
        loops=tuple(loopfile.load(path) for path in loops or []),
        kfp=Settings(host=kfp, image="", namespace=kfp_namespace, token=token, ca_file=ca_file),
        fleet=fleet,
        home=home,
        registries=tuple(registry or ()),
        write=write,
        timeout_s=timeout,
    )
    with console.status("looking"):
        facts = look(wanted)
    findings = examine(facts)
    emit(_document(facts, findings), lambda: _show(facts, findings), as_json)
    if any(strict or finding.severity == "error" for finding in findings):
        raise typer.Exit(1)


def _looked(facts: Facts) -> list[dict[str, str]]:
    cluster = (
        [{"what": "cluster" if facts.cluster.live else "folder", "where": facts.cluster.where}] if facts.cluster else []
    )
    loops = [{"what": "loop", "where": loop.name} for loop in facts.loops]
    return [*cluster, *({"what": service.name, "where": service.where} for service in facts.services), *loops]


def _document(facts: Facts, findings: Sequence[Finding]) -> dict[str, Any]:
    counts = {name: sum(finding.severity == name for finding in findings) for name in STYLES}
    return {
        "ok": not findings,
        "counts": counts,
        "findings": [finding.document() for finding in findings],
        "looked_at": _looked(facts),
        "not_looked_at": [{"what": each.what, "why": each.why} for each in facts.skipped],
    }


def _show(facts: Facts, findings: Sequence[Finding]) -> None:
    """Findings of one check stand together; what they share is said once."""
    for (severity, code), group in groupby(findings, key=lambda finding: (finding.severity, finding.code)):
        same = list(group)
        say(f"{severity}: {code}", STYLES[severity])
        for finding in same:
            say(f"  {finding.subject}: {finding.what}")
        say(f"  why: {same[0].why} ({same[0].source})")
        for fix in dict.fromkeys(finding.fix for finding in same):
            say(f"  fix: {fix}")
        say("")
    for each in _looked(facts):
        say(f"looked at: {each['what']} {each['where']}")
    for skipped in facts.skipped:
        say(f"not looked at: {skipped.what}: {skipped.why}")
    counts = _document(facts, findings)["counts"]
    say(", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items()))
