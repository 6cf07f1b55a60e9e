"""loop.yaml as a person writes it: read with the place of every mistake, mended in thought to find the next one, guessed."""

from edgeloop_pipelines.loopfile.load import LoopFileError, Mistake, load, loads

__all__ = ["LoopFileError", "Mistake", "load", "loads"]
