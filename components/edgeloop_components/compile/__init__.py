"""The compile step: a version becomes what a target's runtime loads, and is proven equal to the reference."""
