"""Where a command finds the object store: that of the environment, the one that runs in HOME, or one started for a moment.

It makes no new store: a HOME that holds none is an error, so that a mistyped folder is not answered with an empty catalog.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeloop_pipelines.cli.console import Unavailable, UserError, console

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects

__all__ = ["HomeOption", "open_objects", "running_store"]

HomeOption = Annotated[Path, typer.Option(envvar="EDGELOOP_HOME", help="Folder of this machine's state.")]


@contextlib.contextmanager
def open_objects(home: Path) -> Iterator[Objects]:
    """The object store for the length of the block. `Unavailable` when there is none or it does not answer; what the store
    refuses inside the block is a `UserError`."""
    import os

    from edgeloop_components.stores.objects import StoreError, StoreUnavailable, connect

    try:
        if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
            yield _quick(connect())
            return
        with _local(home.absolute() / "objects") as objects:
            yield objects
    except StoreUnavailable as error:
        raise Unavailable(f"the object store does not answer: {error}") from error
    except StoreError as error:
        raise UserError(str(error)) from error


def _quick(objects: Objects) -> Objects:
    """A store that is asked once: a person waits for the answer."""
    if hasattr(objects, "patience_s"):
        objects.patience_s = 0
    return objects


@contextlib.contextmanager
def _local(folder: Path) -> Iterator[Objects]:
    from edgeloop_components.stores import seaweed
    from edgeloop_components.stores.objects import connect

    if not (folder / "data").is_dir():
        hint = "run `edgeloop run` first, name its folder with --home, or set AWS_ENDPOINT_URL_S3"
        raise Unavailable(f"no object store: AWS_ENDPOINT_URL_S3 is not set and {folder} holds none", hint)
    quick = running_store(folder) is not None
    shown = contextlib.nullcontext() if quick else console.status(f"starting the object store of {folder}")
    with contextlib.ExitStack() as stack:
        with shown:
            environment = stack.enter_context(seaweed.shared(folder, waits=console.print))
        objects = connect(environment=environment)
        yield _quick(objects) if quick else objects


def running_store(folder: Path) -> dict[str, str] | None:
    """How to reach the server that runs on the folder now; one that is being started is waited for. None: none runs."""
    from edgeloop_components.stores import seaweed

    return seaweed.running_env(folder)
