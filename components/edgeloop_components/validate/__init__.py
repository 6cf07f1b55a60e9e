"""Judges a trained model on rows that it never saw, and against the model that serves."""
