"""The steps of the loop: ingest, train, validate, compile, profile, package, catalog, rollout.

Each is a folder with plain functions (`core.py`, no KFP in it) and a thin wrapper for Kubeflow Pipelines (`component.py`).
The wrappers' source travels in the compiled pipeline, the functions come from the image: so the image is named by digest.
"""

from collections.abc import Mapping

__all__ = ["IMAGES"]

IMAGES: Mapping[str, str] = {
    "steps": "edgeloop-steps"
}  # the images that steps run in; a compiled pipeline adds the digest
