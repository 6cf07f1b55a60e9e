"""Layers of what is installed in this environment: Python distributions with all that they need, and edgeloop's own code.

Such wheels fit this machine's platform only, and are what was installed, not what a lock names: good for a demonstration
that must need no network. Images that stand on a base take the locked wheels of their platform (package/wheels.py).

Refuses a distribution or package that is not installed.
"""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from edgeloop_components.package.layers import SITE, File, Layer, PackageError, Part, file_of, host_platform

__all__ = ["closure", "code_layer", "needed", "wheels_layer"]

_NOT_NEEDED_NAMES = {"tests", "__pycache__"}
_NOT_NEEDED_SUFFIXES = {".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".hpp", ".a", ".lib"}
_NOT_NEEDED_FOLDERS = (
    "numpy/distutils/",
    "numpy/f2py/",
    "onnxruntime/transformers/",
    "onnxruntime/tools/",
    "onnxruntime/quantization/",
    "onnxruntime/datasets/",
    "onnxruntime/backend/",
    "edgeloop_node/native/",
)


def code_layer(packages: Sequence[str], *, further: Sequence[File] = ()) -> Layer:
    """The installed source of pure Python packages, without bytecode, and `further` files."""
    files = [file for name in packages for file in _package_files(name)]
    part = Part("edgeloop", _version(), "pypi", license="Apache-2.0")
    return Layer("code: " + " ".join(packages), (*files, *further), parts=(part,))


def wheels_layer(names: Sequence[str]) -> Layer:
    """The installed distributions `names` and what they need, from their RECORDs; no tests, bytecode, stubs, headers.

    Bound to this machine's platform when one of them holds machine code.
    """
    distributions = closure(names)
    files = [file for distribution in distributions for file in _recorded_files(distribution)]
    native = any(".so" in PurePosixPath(file.path).name for file in files)
    parts = tuple(Part(d.metadata["Name"], d.version, "pypi", license=license_of(d)) for d in distributions)
    listed = " ".join(f"{part.name}=={part.version}" for part in parts)
    return Layer(f"wheels: {listed}", tuple(files), platform=host_platform() if native else "", parts=parts)


def license_of(distribution: importlib.metadata.Distribution) -> str:
    """The SPDX expression that a distribution states; empty when it states none."""
    return str((distribution.metadata.get_all("License-Expression") or [""])[0])


def closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The distributions and all that they require here (no extras), sorted by name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found[name] = _distribution(name)
        wanted = map(Requirement, found[name].requires or [])
        waiting += [r.name for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [found[name] for name in sorted(found)]


def needed(path: str) -> bool:
    """Whether a file of a package belongs in an image. Of the metadata, what is the same on every machine, and licences."""
    parts = PurePosixPath(path).parts
    if ".." in parts or path.startswith("/"):  # console scripts beside site-packages
        return False
    if parts[0].endswith(".dist-info"):
        return parts[1:] == ("METADATA",) or "licen" in path.lower()
    if _NOT_NEEDED_NAMES.intersection(parts) or path.startswith(_NOT_NEEDED_FOLDERS):
        return False
    return PurePosixPath(path).suffix not in _NOT_NEEDED_SUFFIXES


def _version() -> str:
    try:
        return importlib.metadata.version("edgeloop")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def _package_files(name: str) -> Iterator[File]:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise PackageError(f"package {name}: not installed in this environment")
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(root.rglob("*")):
        relative = f"{name}/{path.relative_to(root).as_posix()}"
        if path.is_file() and needed(relative):
            yield file_of(path, f"{SITE}/{relative}", 0o644)


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise PackageError(f"distribution {name}: not installed in this environment; pip install {name}") from None


def _recorded_files(distribution: importlib.metadata.Distribution) -> Iterator[File]:
    for entry in distribution.files or ():
        path = entry.as_posix()
        if entry.hash is None or not needed(path):
            continue
        source = Path(str(entry.locate()))
        mode = 0o755 if ".so" in entry.name else 0o644
        yield File(f"{SITE}/{path}", source, _record_hash(entry), source.stat().st_size, mode)


def _record_hash(entry: importlib.metadata.PackagePath) -> str:
    """RECORD writes sha256 as URL-safe base64 without padding."""
    assert entry.hash is not None
    if entry.hash.mode != "sha256":
        raise PackageError(f"{entry}: expected a sha256 in RECORD, found {entry.hash.mode}")
    return base64.urlsafe_b64decode(entry.hash.value + "=" * (-len(entry.hash.value) % 4)).hex()
