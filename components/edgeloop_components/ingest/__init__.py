"""Rows from wherever they are into an immutable, digested snapshot."""
