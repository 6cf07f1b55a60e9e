"""The steps of the loop: ingest, train, validate, compile, profile, package, catalog, rollout.

Each is a folder with plain functions (`core.py`, no KFP in it) and a thin wrapper for Kubeflow Pipelines (`component.py`).
The wrappers' source travels in the compiled pipeline, the functions come from the image: so the image is named by digest.
"""

from collections.abc import Mapping
from pathlib import Path

__all__ = ["IMAGES", "built_image"]

IMAGES: Mapping[str, str] = {
    "steps": "edgeloop-steps"
}  # the images that steps run in; a compiled pipeline adds the digest


def built_image(name: str, lock: Path = Path(__file__).with_name("images.lock")) -> str:
    """The image by digest that this release was built with (images.lock); empty in a checkout, which has none."""
    rows = [line.split() for line in lock.read_text().splitlines() if not line.startswith("#")]
    return next((row[1] for row in rows if len(row) == 2 and row[0] == name), "")
