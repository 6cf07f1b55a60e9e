"""`edgeloop catalog`: what the catalog holds of a loop, and whether its audit log is whole. It only reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table
from edgeloop_pipelines.cli.stores import HomeOption, open_objects
from edgeloop_pipelines.cli.times import shown

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects
    from edgeloop_contracts import ModelVersion

app = typer.Typer(help="List, show and audit the versions of a loop.", no_args_is_help=True)

LoopArgument = Annotated[str, typer.Argument(help="the loop's name")]
HOME = Path(".edgeloop")


@app.command("list")
def list_loops(home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the loops in the catalog.

    Examples:

      edgeloop catalog list
    """
    from edgeloop_components.catalog import catalog

    with open_objects(home) as objects:
        rows = [
            (name, len(catalog.versions(objects, name)), _aliases(objects, name)) for name in catalog.loops(objects)
        ]
    document = [{"loop": name, "versions": count, "aliases": aliases} for name, count, aliases in rows]
    emit(document, lambda: _show_loops(document), as_json)


def _show_loops(rows: list[dict[str, Any]]) -> None:
    if rows:
        table(("loop", "versions", "aliases"), [(r["loop"], r["versions"], _pairs(r["aliases"])) for r in rows])
    else:
        say("the catalog holds no loop yet")


@app.command()
def versions(loop: LoopArgument, *, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """List the versions of a loop, the rejected ones too.

    A version whose run goes on or was killed is `accepted, not packed` or `accepted, not rolled out`: it is not whole.

    Examples:

      edgeloop catalog versions turbine-power
      edgeloop catalog versions turbine-power --json
    """
    from edgeloop_components.catalog import catalog

    with open_objects(home) as objects:
        _must_be_known(objects, loop)
        found, aliases = catalog.versions(objects, loop), _aliases(objects, loop)
        document = [_line(version, catalog.standing(objects, version), aliases) for version in found]
    columns = ("version", "state", "aliases", "accuracy", "cause", "made")
    emit(document, lambda: _show_versions(loop, columns, document), as_json)


def _show_versions(loop: str, columns: tuple[str, ...], document: list[dict[str, Any]]) -> None:
    if document:
        table(columns, [_row(line) for line in document])
    else:
        say(f"{loop} has no version yet: edgeloop status shows its last run")


def _line(version: ModelVersion, standing: str, aliases: dict[str, int]) -> dict[str, Any]:
    accuracy = next((m for m in version.metrics if m.name == "accuracy" and not m.slice), None)
    return {
        "version": version.name,
        "number": version.number,
        "state": standing,
        "aliases": [alias for alias, number in aliases.items() if number == version.number],
        "accuracy": accuracy.value if accuracy else None,
        "low": accuracy.low if accuracy else None,
        "high": accuracy.high if accuracy else None,
        "cause": version.cause,
        "created_s": version.created_s,
    }


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    known = line["accuracy"] is not None
    accuracy = f"{line['accuracy']:.4f} ({line['low']:.4f} to {line['high']:.4f})" if known else ""
    aliases = ", ".join(line["aliases"])
    return (line["version"], line["state"], aliases, accuracy, line["cause"], shown(line["created_s"]))


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="LOOP@NUMBER, or LOOP@ALIAS such as turbine-power@champion")],
    *,
    home: HomeOption = HOME,
    as_json: JsonOption = False,
) -> None:
    """Show one version: its gates, metrics and packages.

    Examples:

      edgeloop catalog show turbine-power@3
      edgeloop catalog show turbine-power@champion --json
    """
    from edgeloop_components.catalog import catalog
    from edgeloop_contracts import to_json

    with open_objects(home) as objects:
        loop, number = _resolve(objects, version)
        found, aliases = catalog.version(objects, loop, number), _aliases(objects, loop)
        packages, standing = catalog.packages(objects, loop, number), catalog.standing(objects, found)
    document = {
        "version": to_json(found),
        "standing": standing,
        "aliases": [alias for alias, other in aliases.items() if other == number],
        "packages": [to_json(package) for package in packages],
    }
    emit(document, lambda: _show_version(found, document), as_json)


def _resolve(objects: Objects, text: str) -> tuple[str, int]:
    from edgeloop_components.catalog import catalog

    loop, _, which = text.rpartition("@")
    if not loop or not which:
        raise UserError(f"expected LOOP@NUMBER or LOOP@ALIAS, got {text}", "edgeloop catalog versions LOOP lists them")
    _must_be_known(objects, loop)
    if re.fullmatch("[0-9]+", which):
        return loop, int(which)
    number = catalog.alias(objects, loop, which)
    if number is None:
        known = _pairs(_aliases(objects, loop)) or "none"
        raise UserError(f"{loop} has no alias {which}", f"known: {known}")
    return loop, number


def _show_version(version: ModelVersion, document: dict[str, Any]) -> None:
    say(f"{version.name}: {document['standing']}, made {shown(version.created_s)} for {version.cause}", style="bold")
    facts = {"aliases": ", ".join(document["aliases"]), "run": version.run_key, "onnx": version.onnx}
    facts |= {
        "snapshot": version.snapshot,
        "compared with": f"{version.loop}@{version.champion}" if version.champion else "",
    }
    table(("", ""), [(name, value) for name, value in facts.items() if value])
    if version.gates:
        gates = [(g.gate, "passed" if g.passed else "FAILED", g.expected, g.got) for g in version.gates]
        say("")
        table(("gate", "", "expected", "got"), gates)
    if version.metrics:
        rows = [
            (m.name, m.slice or "all", f"{m.value:.4f}", f"{m.low:.4f} to {m.high:.4f}", m.rows)
            for m in version.metrics
        ]
        say("")
        table(("metric", "rows of", "value", "95 % interval", "rows"), rows)
    if document["packages"]:
        rows = [(p["target"], p["platform"], p["runtime"], p["digest"], p["size_bytes"]) for p in document["packages"]]
        say("")
        table(("target", "platform", "runtime", "image", "bytes"), rows)


@app.command()
def audit(loop: LoopArgument, *, home: HomeOption = HOME, as_json: JsonOption = False) -> None:
    """Verify the loop's audit log (a chain of hashes) and print it; exit code 1 when an entry was changed or is missing.

    Examples:

      edgeloop catalog audit turbine-power
    """
    from dataclasses import asdict

    from edgeloop_components.catalog import audit as log

    with open_objects(home) as objects:
        _must_be_known(objects, loop)
        problems = log.verify(objects, loop)
        entries = [] if problems else [asdict(entry) for entry in log.entries(objects, loop)]
    document = {"loop": loop, "whole": not problems, "problems": problems, "entries": entries}
    emit(document, lambda: _show_audit(document), as_json)
    if problems:
        raise typer.Exit(1)


def _show_audit(document: dict[str, Any]) -> None:
    if document["problems"]:
        say(f"the audit log of {document['loop']} is broken:", style="bold red")
        say("\n".join(document["problems"]))
        return
    columns = ("at", "actor", "action", "subject", "why")
    table(columns, [(shown(e["at_s"]), e["actor"], e["action"], e["subject"], e["why"]) for e in document["entries"]])
    say(f"the chain of {len(document['entries'])} entries is whole")


def _must_be_known(objects: Objects, loop: str) -> None:
    import difflib

    from edgeloop_components.catalog import catalog

    known = list(catalog.loops(objects))
    if loop not in known:
        near = difflib.get_close_matches(loop, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "known: " + (", ".join(known) or "none yet")
        raise UserError(f"the catalog holds no loop {loop}", hint)


def _aliases(objects: Objects, loop: str) -> dict[str, int]:
    from edgeloop_components.catalog import catalog

    return dict(catalog.aliases(objects, loop))


def _pairs(aliases: dict[str, int]) -> str:
    return ", ".join(f"{alias} -> {number}" for alias, number in aliases.items())
