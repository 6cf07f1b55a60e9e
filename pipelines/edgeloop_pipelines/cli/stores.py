"""Where a command finds the object store: that of the environment, the one that runs in HOME, or one started for a moment.

It makes no new store: a HOME that holds none is an error, so that a mistyped folder is not answered with an empty catalog.
"""

from __future__ import annotations

import contextlib
import json
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
    running = running_store(folder)
    if running is not None:
        yield _quick(connect(environment=running))
        return
    with console.status(f"starting the object store of {folder}"):
        started = seaweed.start(folder)
    try:
        yield started.objects()
    finally:
        started.stop()


def running_store(folder: Path) -> dict[str, str] | None:
    """How to reach the server that runs on the folder now, from the files that it is started with; None: none runs."""
    import fcntl

    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return None
    ports = json.loads((folder / "ports.json").read_text())
    key = json.loads((folder / "s3.json").read_text())["identities"][0]["credentials"][0]
    return {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports['s3']}",
        "AWS_ACCESS_KEY_ID": key["accessKey"],
        "AWS_SECRET_ACCESS_KEY": key["secretKey"],
    }
