"""KFP wrapper of `ingest`: rows in, an immutable snapshot out."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def ingest(loop: str, run_key: str, now_s: float, snapshot: dsl.Output[dsl.Dataset]) -> None:
    """Reads the loop's data and writes a snapshot: rows.parquet, snapshot.json, quarantine.csv.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        now_s: Rows after this time are not looked at, Unix seconds; 0: the time on the wall.

    Returns:
        snapshot: Folder of the snapshot.
    """
    from pathlib import Path

    from edgeloop_components.ingest.core import ingest as run

    from edgeloop_components.steps import running
    from edgeloop_components.stores.objects import connect

    with running("ingest", loop, run_key) as step:
        made = run(step.loop, Path(snapshot.path), objects=connect(), now_s=now_s or None)
        snapshot.metadata.update(digest=made.digest, rows=made.rows, source=made.source, duplicates=made.duplicates)
        step.note(rows=made.rows, quarantined=sum(made.quarantined.values()))
