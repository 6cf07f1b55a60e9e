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
    from edgeloop_components.steps import running

    with running("ingest", loop, run_key) as step:
        from edgeloop_components.wrapping import take_in

        made = take_in(step, snapshot.path, now_s=now_s)
        snapshot.metadata.update(digest=made.digest, rows=made.rows, source=made.source, duplicates=made.duplicates)
