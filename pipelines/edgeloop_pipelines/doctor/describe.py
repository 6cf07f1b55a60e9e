"""Tables of every check, for docs/doctor.md, made from the checks themselves.

`python -m edgeloop_pipelines.doctor.describe docs/doctor.md` puts them between the file's markers; with `--check` it writes
nothing and fails when they are out of date.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from edgeloop_pipelines.doctor.checks import TOPICS

__all__ = ["main", "tables"]

BEGIN = "<!-- checks: made by python -m edgeloop_pipelines.doctor.describe; do not edit -->"
END = "<!-- end of checks -->"


def tables() -> str:
    """One Markdown table for each topic."""
    return "\n\n".join(
        f"### {topic}\n\n| code | | what | why it matters | source |\n|---|---|---|---|---|\n"
        + "\n".join(
            f"| `{check.code}` | {check.severity} | {check.title} | {check.why} | {check.source} |" for check in checks
        )
        for topic, checks in TOPICS.items()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 1 when the file is out of date and `--check` forbids to write it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    checking = "--check" in words
    path = Path(next(word for word in words if word != "--check"))
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    fresh = f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"
    if fresh != text and not checking:
        path.write_text(fresh, encoding="utf-8")
    return int(checking and fresh != text)


if __name__ == "__main__":
    sys.exit(main())
