"""`edgeloop-node server`: loads and proves the model, then binds, then says that it is ready."""

from __future__ import annotations

import argparse
import os
import secrets
import time
from importlib import metadata
from pathlib import Path

from edgeloop_node.log import log
from edgeloop_node.monitor import Identity, Monitor
from edgeloop_node.runtimes import ModelError
from edgeloop_node.server.announce import Entry
from edgeloop_node.server.app import Service
from edgeloop_node.server.model import Model, load_model, self_test
from edgeloop_node.server.neighbour import stranger
from edgeloop_node.server.serve import listen, run, software

__all__ = ["EXIT_BAD_MODEL", "EXIT_CANNOT_BIND", "command"]

EXIT_CANNOT_BIND, EXIT_BAD_MODEL = 1, 3


def _signed(folder: Path, keys: str) -> None:
    """ModelError when a key is given and the model folder is not as it was signed with it."""
    if not keys:
        return
    from edgeloop_node.verify import SignatureError, verify_folder

    try:
        found = verify_folder(folder, keys)
    except (SignatureError, OSError) as error:
        raise ModelError(f"not verified: {error}") from error
    log("info", "signature verified", key=found.key_id)


def _proved(folder: Path, runtime: str, keys: str, threads: int) -> Model:
    _signed(folder, keys)
    began_s = time.monotonic()
    model = load_model(folder, runtime, threads)
    loaded_s = time.monotonic()
    worst = self_test(model)
    log(
        "info",
        "self-test passed",
        model=model.version.name,
        golden_rows=len(model.golden.rows),
        threads=threads,
        max_difference=worst,
        load_ms=round((loaded_s - began_s) * 1e3),
        test_ms=round((time.monotonic() - loaded_s) * 1e3),
    )
    return model


def _entry(model: Model, who: Identity, run_dir: Path, port: int) -> Entry:
    reference = model.reference
    document = {
        "pid": os.getpid(),
        "port": port,
        "loop": who.loop,
        "version": who.version,
        "image": who.image,
        "node": who.node,
        "group": who.group,
        "runtime": model.scorer.runtime,
        "schema_hash": reference.schema_hash,
        "window_s": reference.window_s,
        "classes": list(reference.classes),
        "features": [{"name": f.name, "kind": f.kind} for f in reference.features],
        "started_s": time.time(),
    }
    return Entry(run_dir, who.boot, document)


def _own_version() -> str:
    try:
        return metadata.version("edgeloop")
    except metadata.PackageNotFoundError:  # run from plain files, as an image's layer may hold them
        return "unpackaged"


def command(options: argparse.Namespace) -> int:
    """Serves until it is told to stop. 0: ended well, 1: cannot bind or announce, 3: the model is bad."""
    try:
        model = _proved(Path(options.model), options.runtime, options.key, options.threads)
        who = Identity(
            loop=model.version.loop,
            node=options.node,
            group=options.group,
            boot=secrets.token_hex(6),
            version=model.version.number,
            image=options.image,
        )
        monitor = Monitor(who, model.reference)
    except (ModelError, ValueError) as error:
        log("error", "the model is not served", folder=str(options.model), error=str(error))
        return EXIT_BAD_MODEL
    if problem := stranger(options.host, options.port, who.loop):
        log("error", "cannot serve", model=who.loop, error=problem)
        return EXIT_CANNOT_BIND
    on = software()
    scorer = model.scorer
    served = {**on, "edgeloop": _own_version(), scorer.runtime: scorer.version, **scorer.facts}
    service = Service(model, monitor, served)
    try:
        listener = listen(options.host, options.port)
        run(service, listener, _entry(model, who, Path(options.run_dir), listener.getsockname()[1]), on)
    except OSError as error:
        log("error", "cannot serve", host=options.host, port=options.port, run_dir=options.run_dir, error=str(error))
        return EXIT_CANNOT_BIND
    return 0
