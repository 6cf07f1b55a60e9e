"""Benchmarks of the edge side, each beside its peer in one interleaved run: `make bench-edge`."""
