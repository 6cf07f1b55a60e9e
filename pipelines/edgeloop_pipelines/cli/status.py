"""`edgeloop status`: the state of the whole, asked of the fleet service, or read from the catalog when there is none."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, Unavailable, console, emit, say, table
from edgeloop_pipelines.cli.stores import HomeOption, open_objects
from edgeloop_pipelines.cli.times import ago, shown

ASK_S = 5.0  # a service that takes longer to answer is not there


def command(
    *,
    url: Annotated[str, typer.Option(envvar="EDGELOOP_FLEET_URL", help="URL of the fleet service.")] = "",
    home: HomeOption = Path(".edgeloop"),
    as_json: JsonOption = False,
) -> None:
    """Show loops, versions, nodes, the last verdict and the last run.

    Asks the fleet service: that of --url or EDGELOOP_FLEET_URL, else the one of HOME. When it does not answer, says so and
    shows what the catalog holds. Exit code 3 when neither can be reached.

    Examples:

      edgeloop status
      edgeloop status --url http://fleet.example:8080 --json
    """
    asked = url or local_url(home)
    try:
        document = from_fleet(asked)
    except Unavailable as away:
        document = {"source": "catalog", "why": str(away), "loops": _from_catalog(home, away)}
    emit(document, lambda: _show(document, time.time()), as_json)


def local_url(home: Path) -> str:
    """The URL of the installation in a folder, whether or not it runs; empty when there is none."""
    path = home / "installation.json"
    if not path.exists():
        return ""
    return f"http://127.0.0.1:{json.loads(path.read_text(encoding='utf-8'))['fleet_port']}"


def from_fleet(url: str) -> dict[str, Any]:
    """The status as the fleet service gives it, with its nodes. `Unavailable` when it does not answer as one."""
    if not url:
        raise Unavailable("no fleet service is named: EDGELOOP_FLEET_URL is not set")
    import httpx

    try:
        with httpx.Client(base_url=url, timeout=ASK_S) as client:
            status = client.get("/v1/status").raise_for_status().json()
            nodes = client.get("/v1/nodes").raise_for_status().json()["nodes"]
            return {"source": "fleet", "url": url, **status, "nodes": nodes, "loops": list(status["loops"])}
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Unavailable(f"the fleet service at {url} does not answer: {said}") from error


def _from_catalog(home: Path, away: Unavailable) -> list[dict[str, Any]]:
    try:
        with open_objects(home) as objects:
            return catalog_loops(objects)
    except Unavailable as error:
        raise Unavailable(f"{away}; {error}", error.hint) from error


def catalog_loops(objects: Any) -> list[dict[str, Any]]:
    """What the catalog says of each loop: versions, aliases and the last run."""
    from edgeloop_components.catalog import catalog

    loops = []
    for name in catalog.loops(objects):
        found = catalog.versions(objects, name)
        versions = [{"number": v.number, "state": catalog.standing(objects, v)} for v in found]
        aliases = dict(catalog.aliases(objects, name))
        loops.append({"loop": name, "versions": versions, "aliases": aliases, "last_run": _last_run(objects, name)})
    return loops


def _last_run(objects: Any, loop: str) -> dict[str, Any] | None:
    """The run that was recorded last, as the audit log has it."""
    from edgeloop_components.catalog import audit, catalog

    recorded = [entry for entry in audit.entries(objects, loop) if entry.action == "record_run"]
    run = catalog.run(objects, loop, recorded[-1].subject) if recorded else None
    return {**run, "at_s": recorded[-1].at_s} if run else None


def _show(document: dict[str, Any], now_s: float) -> None:
    if document["source"] == "catalog":
        console.print(
            f"{document['why']}\nwhat follows is from the catalog: it knows no nodes and no verdicts\n", markup=False
        )
        _show_catalog(document["loops"])
    else:
        _show_fleet(document, now_s)


def _show_catalog(loops: list[dict[str, Any]]) -> None:
    if not loops:
        say("the catalog holds no loop yet")
        return
    rows = []
    for loop in loops:
        aliases = ", ".join(f"{alias} -> {number}" for alias, number in loop["aliases"].items())
        rows.append((loop["loop"], _counted(loop["versions"]), aliases, _run(loop["last_run"])))
    table(("loop", "versions", "aliases", "last run"), rows)
    for loop in loops:
        if loop["last_run"] and loop["last_run"].get("reason"):
            run = loop["last_run"]
            say(f"{loop['loop']}: run {run['run_key']} {run['state']}: {run['reason']}")


def _counted(versions: list[dict[str, Any]]) -> str:
    """How many there are, how many of them stand, and those that are accepted and not whole, by number."""
    accepted = sum(v["state"] == "accepted" for v in versions)
    partial = [f"@{v['number']} {v['state']}" for v in versions if v["state"] not in {"accepted", "rejected"}]
    return f"{len(versions)} ({'; '.join([f'{accepted} accepted', *partial])})"


def _run(run: dict[str, Any] | None) -> str:
    return f"{run['run_key']} {run['state']} at {shown(run['at_s'])}" if run else "none"


def _show_fleet(status: dict[str, Any], now_s: float) -> None:
    say(f"fleet service {status['url']}, its clock at {shown(status['now_s'])}", style="bold")
    if status["loops"]:
        table(
            ("loop", "serving", "versions", "rollout", "last run", "active runs"),
            [_loop_row(x) for x in status["loops"]],
        )
    else:
        say("no loop yet")
    say("")
    for loop in status["loops"]:
        verdict = loop["verdict"]
        said = f"{verdict['judgement']}: {verdict['sentence']}" if verdict else "no verdict yet"
        faulty = f"; faults at {', '.join(loop['faulty'])}" if loop["faulty"] else ""
        say(f"{loop['loop']}: {said}{faulty}")
    say("")
    if status["nodes"]:
        table(("node", "group", "loaded", "heard of", ""), [_node_row(node, now_s) for node in status["nodes"]])
    else:
        say("no node has reported yet")


def _loop_row(loop: dict[str, Any]) -> tuple[str, ...]:
    rollout = loop["rollout"]
    moving = f"@{rollout['version']} {rollout['state']}" if rollout else "none"
    last = loop["last_run"]
    run = (
        f"{last['key']}, {last['cause']}{'' if last['started'] else ', not started: ' + last['why']}"
        if last
        else "none"
    )
    serving = f"@{loop['serving']}" if loop["serving"] else "none"
    return (
        loop["loop"],
        serving,
        ", ".join(map(str, loop["versions"])),
        moving,
        run,
        ", ".join(loop["active_runs"]) or "none",
    )


def _node_row(node: dict[str, Any], now_s: float) -> tuple[str, ...]:
    loaded = ", ".join(
        f"{x['loop']}@{x['version']}{'' if x.get('ready', True) else ' (not ready)'}" for x in node["loaded"]
    )
    reach = "" if node["reachable"] else "OUT OF REACH"
    return (node["node"], node["group"], loaded or "nothing", ago(node["seen_s"], now_s), reach)
