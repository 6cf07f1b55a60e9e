"""Reads what other systems call a model's life, and says it as a loop.yaml, with a list of what has no counterpart."""
