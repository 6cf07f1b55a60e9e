"""Moves a fleet to a version, wave by wave, or back: `step` decides, `reconcile` acts."""
