"""How profiles are shown: as documents for programs, as tables for people, and as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.cli.console import UserError, say, table

if TYPE_CHECKING:
    from edgeloop_components.profile.pareto import Choice
    from edgeloop_contracts import ResourceProfile

__all__ = ["check_plot", "document", "documents", "draw_all", "show_all"]


def check_plot(out: Path | None) -> None:
    """UserError for a picture that cannot be written, before anything is measured."""
    from edgeloop_components.profile.plot import SUFFIXES

    if out is None:
        return
    if out.suffix not in SUFFIXES:
        raise UserError(f"--plot {out}: expected a name that ends in {', '.join(SUFFIXES)}")
    if not out.absolute().parent.is_dir():
        raise UserError(f"--plot {out}: expected an existing folder, found none at {out.parent}")


def documents(profiles: Sequence[ResourceProfile], choice: Choice | None) -> dict[str, Any]:
    """Profiles and, where candidates were compared, the choice with every verdict."""
    from dataclasses import asdict

    found = {"profiles": [document(profile) for profile in profiles]}
    return {**found, "choice": asdict(choice)} if choice else found


def document(profile: ResourceProfile) -> dict[str, Any]:
    from edgeloop_contracts import to_json

    document: dict[str, Any] = to_json(profile)
    return document


def draw_all(profiles: Sequence[ResourceProfile], out: Path, choice: Choice | None = None) -> None:
    """One file a profile; further ones get the target's name before the suffix."""
    from edgeloop_components.profile.plot import draw

    if choice:
        draw(profiles[0], out, choice)
        return
    for place, profile in enumerate(profiles):
        draw(profile, out if place == 0 else out.with_name(f"{out.stem}-{profile.target}{out.suffix}"))


def show_all(profiles: Sequence[ResourceProfile], plot: Path | None, choice: Choice | None = None) -> None:
    if choice:
        _show_choice(choice)
    else:
        for profile in profiles:
            _show(profile)
    if plot:
        say(f"drawn: {plot}")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def _interval(value: float | None, low: float | None, high: float | None, unit: str) -> str:
    if value is None:
        return "none was proved"
    ends = ["?" if end is None else _figure(end) for end in (low, high)]
    return f"{_figure(value)} {unit}" + (f" ({ends[0]} to {ends[1]})" if ends != ["?", "?"] else "")


def _cpu_time(p: ResourceProfile) -> str:
    if p.cpu_us_per_request is None:
        return "not measured"
    return _interval(p.cpu_us_per_request, p.cpu_us_low_per_request, p.cpu_us_high_per_request, "us")


def _show(profile: ResourceProfile) -> None:
    p = profile
    floor = "not searched" if p.memory_floor_mib is None else f"{p.memory_floor_mib:.2f} MiB"
    cores = f", on {p.cores} core{'s' if p.cores > 1 else ''}" if p.cores else ""
    rows = [
        ("CPU, request / limit", f"{p.cpu_request_m}m / {p.cpu_limit_m}m"),
        ("threads", f"{p.threads}{cores}"),
        ("memory, request / limit", f"{p.memory_request_mib} MiB / {p.memory_limit_mib} MiB"),
        ("memory, peak / floor", f"{p.memory_peak_mib:.2f} MiB / {floor}"),
        ("sustainable rate", _interval(p.rate_per_s, p.rate_low_per_s, p.rate_high_per_s, "requests a second")),
        ("latency, median", f"{p.latency_p50_ms:.3g} ms"),
        ("latency, 99th percentile", _interval(p.latency_p99_ms, p.latency_p99_low_ms, p.latency_p99_high_ms, "ms")),
        ("CPU time a request", _cpu_time(p)),
        ("start until ready", f"{p.load_ms:.0f} ms"),
    ]
    say(f"{p.loop} for {p.target}", style="bold")
    table(("", ""), rows)
    say(p.method)
    if not p.limited:
        say("NOT under limits: quotas, cores and the memory floor were not measured; limits here are plain head-room")


def _show_choice(choice: Choice) -> None:
    rows = [
        (
            "chosen" if verdict.candidate == choice.chosen else "front" if verdict.front else "",
            verdict.candidate.name,
            f"{verdict.candidate.latency_ms:.3g}",
            f"{verdict.candidate.memory_mib:.3g}",
            f"{verdict.candidate.size_mib:.3g}",
            f"{verdict.candidate.accuracy:.4f}",
            "" if verdict.cost is None else f"{verdict.cost:.3g}",
            verdict.why,
        )
        for verdict in choice.verdicts
    ]
    table(("", "candidate", "p99 ms", "memory MiB", "files MiB", "accuracy", "cost", ""), rows)
    limits = ", ".join(f"{name} {limit:.3g}" for name, limit in choice.limits.items())
    say(f"cost: the sum of squared shares of the limits ({limits}); the least is chosen")
