"""Two pictures of a placed design as SVG text: how much of each kind of cell is taken, and where on the chip. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["bars", "floor_plan"]

NAMES = {"luts": "logic (LUT with carry)", "ffs": "flip-flops", "brams": "block RAM", "dsps": "multipliers (DSP)"}
WIDTH, ROW, LEFT = 560, 30, 170


def bars(used: Mapping[str, int], available: Mapping[str, int]) -> str:
    """A bar for each kind of cell that the part has."""
    kinds = [kind for kind in NAMES if available[kind]]
    lines = [_bar(place, kind, used[kind], available[kind]) for place, kind in enumerate(kinds)]
    return _svg(WIDTH, ROW * len(kinds), "utilisation", lines)


def _bar(place: int, kind: str, used: int, available: int) -> str:
    y, room = place * ROW, WIDTH - LEFT - 130
    share = min(1.0, used / available)
    return (
        f"<text x='0' y='{y + 19}'>{NAMES[kind]}</text><rect class='all' x='{LEFT}' y='{y + 6}' width='{room}' height='18'/>"
        f"<rect class='used' x='{LEFT}' y='{y + 6}' width='{room * share:.1f}' height='18'/>"
        f"<text x='{LEFT + room + 8}' y='{y + 19}'>{used:,} / {available:,} ({used / available:.1%})</text>"
    )


def floor_plan(tiles: Sequence[tuple[int, int, int]]) -> str:
    """A square for each tile that holds cells (x, y, cells), the darker the more; row 0 below."""
    if not tiles:
        return ""
    side = 480 / max(40, 1 + max(x for x, _, _ in tiles), 1 + max(y for _, y, _ in tiles))
    rows, most = 1 + max(y for _, y, _ in tiles), max(cells for _, _, cells in tiles)
    squares = [
        f"<rect class='tile' x='{x * side:.2f}' y='{(rows - 1 - y) * side:.2f}' width='{side * 0.9:.2f}' "
        f"height='{side * 0.9:.2f}' opacity='{0.2 + 0.8 * cells / most:.2f}'><title>X{x} Y{y}: {cells} cells</title></rect>"
        for x, y, cells in tiles
    ]
    return _svg(480, round(rows * side), "floor plan", squares)


def _svg(width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' aria-label='{label}'>"
        + "".join(parts)
        + "</svg>"
    )
