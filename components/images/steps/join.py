"""Joins the step images of several platforms, in one layout, under an index: `join.py LAYOUT`; prints the index's digest."""

from __future__ import annotations

import sys
from pathlib import Path

from edgeloop_components.package import layout

NAME = "edgeloop/steps:all"


def join(folder: Path) -> str:
    """The digest of the index, which has the name NAME. LayoutError for two images of one platform, or none at all."""
    digests = {digest for name, digest in layout.images(folder).items() if name != NAME}
    joined = layout.write_index(folder, sorted(digests))
    layout.name_image(folder, joined, NAME)
    return joined


if __name__ == "__main__":
    print(join(Path(sys.argv[1])))
