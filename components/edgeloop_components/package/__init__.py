"""Packs a version for a target as an OCI image: deterministic layers, an image layout, the image of the agent."""
