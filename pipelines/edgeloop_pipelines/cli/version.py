"""`edgeloop version`."""

from __future__ import annotations

from edgeloop_pipelines.cli.console import JsonOption, emit, say

PARTS = ("edgeloop", "kfp", "onnxruntime", "scikit-learn", "onnx", "skl2onnx", "pandas", "minio")


def command(as_json: JsonOption = False) -> None:
    """Print the version of edgeloop and of the packages that its results depend on.

    Examples:

      edgeloop version
      edgeloop version --json
    """
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for part in PARTS:
        try:
            found[part] = version(part)
        except PackageNotFoundError:
            found[part] = "not installed"
    emit(found, lambda: say("\n".join(f"{name} {number}" for name, number in found.items())), as_json)
