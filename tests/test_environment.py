"""docs/environment.md names every environment variable that the code knows, and no other."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = ("components", "edge", "pipelines", "tests")
_NAME = re.compile(r"(?<![A-Z_])EDGELOOP_[A-Z0-9]+(?:_[A-Z0-9]+)*(?![A-Z0-9_])")


def _named(path: Path) -> set[str]:
    return {name for name in _NAME.findall(path.read_text()) if not name.endswith("_H")}  # guards of C headers


def test_every_variable_is_documented() -> None:
    """A variable that is read and not listed, or listed and read nowhere, is an error."""
    files = [path for folder in CODE for end in ("py", "c", "h") for path in (ROOT / folder).rglob(f"*.{end}")]
    known = {name: path for path in files if path != Path(__file__) for name in _named(path)}
    listed = _named(ROOT / "docs" / "environment.md")
    assert {name: str(path) for name, path in known.items() if name not in listed} == {}
    assert listed - set(known) == set()
