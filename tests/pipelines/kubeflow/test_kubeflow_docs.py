"""docs/kubeflow.md: its commands run, in their order, and its table is that of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from edgeloop_pipelines.cli import main
from edgeloop_pipelines.limits import LIMITS

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "kubeflow.md").read_text()
LINES = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL) for line in block.splitlines()]
COMMANDS = [shlex.split(line, comments=True)[1:] for line in LINES if line.startswith("edgeloop ")]


def test_the_commands_run(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """On the README's own loop with a schedule, with the variables that the page sets; every run ends well."""
    document = re.search(r"```yaml\n(apiVersion.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert document
    text = document[1].replace("retrain: {", 'retrain: {schedule: "0 3 * * 0", ')
    assert text != document[1]
    (tmp_path / "loop.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    for name, value in re.findall(r"^export (\w+)=(\S+)", "\n".join(LINES), re.MULTILINE):
        monkeypatch.setenv(name, server.url if name == "KF_PIPELINES_ENDPOINT" else value)
    server.ends_as = "SUCCEEDED"
    assert len(COMMANDS) >= 9
    for words in COMMANDS:
        assert main(words) == 0, f"{words}\n{capsys.readouterr()}"
    assert server.problems == []
    assert {run["display_name"] for run in server.runs} == {"first", "second"}
    assert [each["display_name"] for each in server.recurring] == ["edgeloop-turbine-power"]


def test_the_table_is_that_of_the_code() -> None:
    """Steps, processor, memory, time and retries."""
    for name, each in LIMITS.items():
        row = f"| {name} | {each.cpu} | {each.memory}, {each.most_memory} | {each.minutes} min | {each.retries} |"
        assert row in TEXT, f"docs/kubeflow.md lacks: {row}"
