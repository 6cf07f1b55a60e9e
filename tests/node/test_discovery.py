"""What the agent makes of the run folder: odd files hurt nobody, and nothing is deleted before it is in the spool."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import to_json
from edgeloop_node.agent.discovery import Discovery
from edgeloop_node.agent.spool import Spool, open_spool


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = open_spool(tmp_path / "spool.db")
    yield spool
    spool.close()


def final(run_dir: Path, boot: str, *reports: Any) -> Path:
    path = run_dir / f"{boot}.final.json"
    path.write_text(json.dumps({"reports": [to_json(report) for report in reports]}))
    return path


def test_an_empty_or_missing_folder_is_fine(run_dir: Path, spool: Spool) -> None:
    """No servers is a state, not an error."""
    assert Discovery(run_dir, spool).read() == ((), [])
    assert Discovery(run_dir / "none", spool).read() == ((), [])


def test_final_files_are_taken_over_once(run_dir: Path, spool: Spool, make_report: Any) -> None:
    """A final file is stored and removed; one that comes twice (crash between the two) changes nothing."""
    reports = [make_report("b", 0, 1, rows=4), make_report("b", 3600, 2, rows=5)]
    discovery = Discovery(run_dir, spool)
    path = final(run_dir, "b", *reports)
    assert len(discovery.read()[1]) == 2
    assert not path.exists()
    final(run_dir, "b", *reports)
    assert discovery.read() == ((), [])
    assert not path.exists()
    assert spool.cursor("b") == 2


def test_a_final_file_stays_until_it_is_stored(run_dir: Path, spool: Spool, make_report: Any) -> None:
    """When the spool cannot take it the file is not touched."""
    path = final(run_dir, "b", *(make_report("b", 3600 * i, i + 1, image="x" * 900) for i in range(60)))
    spool._rows(f"PRAGMA max_page_count = {spool._rows('PRAGMA page_count')[0][0]}")
    with pytest.raises(sqlite3.OperationalError):
        Discovery(run_dir, spool).read()
    assert path.exists()


def test_broken_final_files_are_kept_and_named_once(
    run_dir: Path, spool: Spool, make_report: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that cannot be read is kept for a person to look at, logged once, and holds up no other."""
    (run_dir / "a.final.json").write_text("{")
    (run_dir / "b.final.json").write_text('{"reports": 3}')
    final(run_dir, "c", make_report("c", 0, 1))
    discovery = Discovery(run_dir, spool)
    assert len(discovery.read()[1]) == 1
    discovery.read()
    assert sorted(path.name for path in run_dir.iterdir()) == ["a.final.json", "b.final.json"]
    lines = capfd.readouterr().err.splitlines()
    assert sum("cannot be read and is kept" in line for line in lines) == 2


def test_a_report_without_a_key_does_not_spoil_the_others(run_dir: Path, spool: Spool, make_report: Any) -> None:
    """One unreadable report in a file is logged and left out."""
    path = run_dir / "b.final.json"
    path.write_text(json.dumps({"reports": [{"kind": "Report"}, 7, to_json(make_report("b", 0, 1))]}))
    assert len(Discovery(run_dir, spool).read()[1]) == 1


def test_entries_of_dead_servers_are_removed(run_dir: Path, spool: Spool) -> None:
    """An entry whose socket nobody answers goes; odd files stay where they are."""
    entry = {"boot": "b", "pid": 1, "socket": "b.sock", "loop": "pump", "version": 1, "started_s": 1.0}
    (run_dir / "b.json").write_text(json.dumps(entry))
    (run_dir / "notes.txt").write_text("hello")
    (run_dir / "odd.json").write_text("[]")
    assert Discovery(run_dir, spool).read() == ((), [])
    assert sorted(path.name for path in run_dir.iterdir()) == ["notes.txt", "odd.json"]
