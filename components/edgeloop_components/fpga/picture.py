"""Two pictures of a placed design for a page: how much of each kind of cell is taken, and where on the chip. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["bars", "floor_plan"]

NAMES = {"luts": "logic (LUT with carry)", "ffs": "flip-flops", "brams": "block RAM", "dsps": "multipliers (DSP)"}
WIDTH = 640


def bars(used: Mapping[str, int], available: Mapping[str, int]) -> str:
    """A bar for each kind of cell that the part has, as HTML."""
    lines = (_bar(NAMES[kind], used[kind], available[kind]) for kind in NAMES if available[kind])
    return f"<div class='bars'>{''.join(lines)}</div>"


def _bar(name: str, used: int, available: int) -> str:
    share = used / available
    return (
        f"<div class='row'><span>{name}</span><div class='bar'><i style='width:{min(100.0, 100 * share):.1f}%'></i></div>"
        f"<span>{used:,} of {available:,} ({share:.1%})</span></div>"
    )


def floor_plan(tiles: Sequence[tuple[int, int, int]], size: tuple[int, int], *, top_down: bool = True) -> str:
    """SVG: a square for each tile that holds cells (x, y, cells), the stronger the more.

    `size`: the chip's columns and rows, which a frame goes around; it is as large as the tiles ask for at least. `top_down`:
    row 0 is at the top, else at the bottom.
    """
    if not tiles:
        return ""
    columns = max(size[0], *(x + 1 for x, _, _ in tiles))
    rows = max(size[1], *(y + 1 for _, y, _ in tiles))
    side, most = WIDTH / max(columns, rows), max(cells for _, _, cells in tiles)
    squares = (
        f"<rect class='tile' x='{x * side:.2f}' y='{(y if top_down else rows - 1 - y) * side:.2f}' width='{side * 0.9:.2f}' "
        f"height='{side * 0.9:.2f}' opacity='{0.25 + 0.75 * cells / most:.2f}'><title>X{x} Y{y}: {cells} cells</title></rect>"
        for x, y, cells in tiles
    )
    width, height = columns * side, rows * side
    return (
        f"<svg viewBox='-1 -1 {width + 2:.1f} {height + 2:.1f}' width='{width + 2:.0f}' role='img' aria-label='floor plan'>"
        f"<rect class='chip' width='{width:.1f}' height='{height:.1f}'/>{''.join(squares)}</svg>"
    )
