"""The step that asks the fleet to move to a new version."""
