"""The profile step: what a compiled model costs, measured before it is packed."""
