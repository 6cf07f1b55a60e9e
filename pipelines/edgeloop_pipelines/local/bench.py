"""Measures what one step of a pipeline costs beside its own work, under the local runner: `make bench`.

Twelve steps in a row that do nothing but begin and end as every step does. The figure is the time from the first step's
call to the last one's return, less what the steps say that they worked, divided by twelve. (KFP reads annotations as
objects, so this module has none of the future.)
"""

import itertools
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from edgeloop_pipelines.local.run import read_events, run_locally

__all__ = ["LIMIT_S", "main", "overhead_s"]

STEPS, TRIES, LIMIT_S = 12, 5, 0.3
_LOOP = json.dumps(
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "bench"},
        "data": {"source": "none", "label": "y", "features": ["x"]},
        "train": {"onnx": "none"},
        "targets": [{"name": "none", "nodes": {"group": "none"}}],
    }
)


def overhead_s(steps: int = STEPS) -> float:
    """Seconds that the runner adds to a step, once; the mean over `steps` steps."""
    with tempfile.TemporaryDirectory() as folder:
        events, log = Path(folder, "events"), Path(folder, "log")
        with log.open("w") as stream:
            start_s = time.monotonic()
            run_locally(_row_of(steps), {}, Path(folder, "root"), log=stream, events=events)
            total_s = time.monotonic() - start_s
        own_s: float = sum(event["seconds"] for event in read_events(events) if event["event"] == "finished")
    return (total_s - own_s) / steps


def _row_of(steps: int) -> Any:
    from kfp import dsl

    step = dsl.component(nothing, base_image="edgeloop-steps", install_kfp_package=False)

    def row() -> None:
        tasks = [step(name=f"step-{number}", loop=_LOOP) for number in range(steps)]
        for before, after in itertools.pairwise(tasks):
            after.after(before)

    return dsl.pipeline(name="row-of-nothing")(row)


def nothing(name: str, loop: str) -> None:
    """A step without work: it only begins and ends."""
    from edgeloop_components.steps import running

    with running(name, loop, "bench"):
        pass


def main() -> int:
    overhead_s(1)  # imports of kfp are paid once a run, not once a step
    figures = [overhead_s() for _ in range(TRIES)]
    found = {
        "seconds_per_step": round(statistics.median(figures), 3),
        "worst": round(max(figures), 3),
        "limit": LIMIT_S,
    }
    print(json.dumps(found))
    return 0 if found["seconds_per_step"] <= LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
