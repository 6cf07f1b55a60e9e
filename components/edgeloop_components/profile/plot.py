"""Pictures of a profile: the points under each quota, the memory search, and the Pareto front; SVG, PNG or PDF by suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeloop_components.profile.pareto import Choice
from edgeloop_contracts import ProfilePoint, ResourceProfile

__all__ = ["SUFFIXES", "PlotError", "draw"]

SUFFIXES = (".svg", ".png", ".pdf")
PROVED, REFUSED = {"marker": "o", "color": "tab:green"}, {"marker": "x", "color": "tab:red"}


class PlotError(ValueError):
    """The picture cannot be drawn; the message says why."""


def draw(profile: ResourceProfile, out: Path, choice: Choice | None = None) -> None:
    """Writes the picture. PlotError for a suffix that is not known and a profile without points."""
    if out.suffix not in SUFFIXES:
        raise PlotError(f"{out}: expected a name that ends in {', '.join(SUFFIXES)}")
    if not profile.points:
        raise PlotError(f"the profile of {profile.loop} for {profile.target} holds no points; measure it anew")
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.hashsalt"] = "edgeloop"  # the same profile gives the same file
    from matplotlib import pyplot

    parts = [_rates, _quotas, *([_memory] if any(p.memory_mib and not p.rate_per_s for p in profile.points) else [])]
    figure, axes = pyplot.subplots(
        1, len(parts) + bool(choice), figsize=(5 * (len(parts) + bool(choice)), 4), layout="constrained"
    )
    for part, place in zip(parts, axes, strict=False):
        part(place, profile)
    if choice:
        _front(axes[-1], choice)
    figure.suptitle(f"{profile.loop} for {profile.target}: {profile.method.split(';')[0]}", fontsize=9)
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)
    pyplot.close(figure)


def _split(points: Sequence[ProfilePoint]) -> list[tuple[dict[str, str], list[ProfilePoint]]]:
    return [(style, [p for p in points if p.ok is ok]) for style, ok in ((PROVED, True), (REFUSED, False))]


def _rates(axes: Any, profile: ResourceProfile) -> None:
    """Latency over rate, a line for each quota."""
    rated = [p for p in profile.points if p.rate_per_s and p.latency_p99_ms]
    for quota in sorted({p.quota_m for p in rated}):
        line = sorted((p.rate_per_s, p.latency_p99_ms or 0.0) for p in rated if p.quota_m == quota)
        axes.plot(*zip(*line, strict=True), linewidth=0.8, label=f"{quota}m" if quota else "no quota")
    for style, some in _split(rated):
        axes.scatter([p.rate_per_s for p in some], [p.latency_p99_ms for p in some], s=18, zorder=3, **style)
    if profile.latency_limit_ms:
        axes.axhline(profile.latency_limit_ms, linestyle="--", linewidth=0.8, color="gray")
    if rated:
        axes.set(xscale="log", yscale="log")
        axes.legend(title="CPU quota", fontsize=8)
    axes.set(xlabel="requests a second", ylabel="99th percentile, ms", title="latency over load")


def _quotas(axes: Any, profile: ResourceProfile) -> None:
    """Rates over the quota, proved or not."""
    rated = [p for p in profile.points if p.rate_per_s]
    for style, some in _split(rated):
        axes.scatter([p.quota_m for p in some], [p.rate_per_s for p in some], s=18, **style)
    if profile.rate_per_s:
        axes.axhline(profile.rate_per_s, linestyle="--", linewidth=0.8, color="gray")
    axes.set(xlabel="CPU quota, thousandths of a core", ylabel="requests a second", title="proved (o) and not (x)")


def _memory(axes: Any, profile: ResourceProfile) -> None:
    """Limits that served and that did not."""
    tried = [p for p in profile.points if p.memory_mib and not p.rate_per_s]
    for style, some in _split(tried):
        axes.scatter([p.memory_mib for p in some], [int(p.ok) for p in some], s=18, **style)
    if profile.memory_floor_mib:
        axes.axvline(profile.memory_floor_mib, linestyle="--", linewidth=0.8, color="gray")
    axes.set(xlabel="memory limit, MiB", yticks=[0, 1], yticklabels=["fails", "serves"], title="memory floor")


def _front(axes: Any, choice: Choice) -> None:
    """Latency over memory; the size of a mark is that of the image."""
    for verdict in choice.verdicts:
        one = verdict.candidate
        colour = "tab:green" if one == choice.chosen else "tab:blue" if verdict.front else "lightgray"
        axes.scatter(one.memory_mib, one.latency_ms, s=30 + 2 * one.size_mib, color=colour)
        axes.annotate(one.name, (one.memory_mib, one.latency_ms), fontsize=7, xytext=(4, 4), textcoords="offset points")
    axes.set(xscale="log", yscale="log", xlabel="memory, MiB", ylabel="99th percentile, ms", title="Pareto front")
