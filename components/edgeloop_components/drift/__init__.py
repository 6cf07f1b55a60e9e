"""Explains how two data sets differ, for people: Evidently's report. Nothing in the loop decides by it."""
