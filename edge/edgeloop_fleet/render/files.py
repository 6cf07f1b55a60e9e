"""Objects as files: one object a file, named `<kind>-<namespace>-<name>.yaml`, written whole or not at all.

A file whose content would not change is left alone, so that whoever watches the folder sees changes only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from edgeloop_fleet.render import RenderError, identity

__all__ = ["dump", "file_name", "load_all", "write_atomic", "write_objects"]


def file_name(document: Mapping[str, Any]) -> str:
    """`<kind>-<namespace>-<name>.yaml` in lower case; without the namespace where the object has none."""
    return "-".join(part for part in identity(document) if part).lower() + ".yaml"


def dump(document: Mapping[str, Any]) -> str:
    """YAML with the fields in their order."""
    import yaml

    return yaml.dump(dict(document), Dumper=_dumper(), sort_keys=False, width=120, allow_unicode=True)


def load_all(text: str) -> list[Any]:
    """The documents of a YAML text. yaml.YAMLError when it is none."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [document for document in yaml.load_all(text, Loader=loader) if document is not None]


def _dumper() -> type[Any]:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes a value that occurs twice twice: anchors are hard to read."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    return Dumper


def write_atomic(path: Path, text: str) -> bool:
    """Writes the file whole or not at all, and not when it says the same already. Tells whether it wrote. OSError."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return False
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return True


def write_objects(folder: Path, objects: Iterable[Mapping[str, Any]]) -> list[Path]:
    """Writes each object into a file of its own, in the given order; gives the paths. RenderError when two share a file."""
    documents = list(objects)
    named: dict[str, Mapping[str, Any]] = {}
    for document in documents:
        name = file_name(document)
        if name in named and identity(named[name]) != identity(document):
            raise RenderError(
                f"{name}: expected one object a file, got {identity(named[name])} and {identity(document)}"
            )
        named[name] = document
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in named.items():
        write_atomic(folder / name, dump(document))
    return [folder / name for name in named]
