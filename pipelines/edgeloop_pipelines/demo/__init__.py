"""The demo: the whole loop on one machine, on real data, with nobody in between."""
