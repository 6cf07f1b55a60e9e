"""The workflows: they parse, what they call is there, and nothing in them can change under its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

REPOSITORY = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
SETUP = "make setup"  # what gives a job its .venv


def jobs(path: Path) -> dict[str, Any]:
    document = yaml.safe_load(path.read_text())
    found: dict[str, Any] = document["jobs"]
    return found


def steps() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every step, with where it is."""
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            yield from ((f"{path.name}: {name}", step) for step in job["steps"])


def commands() -> Iterator[tuple[str, str]]:
    yield from ((where, step["run"]) for where, step in steps() if "run" in step)


def targets() -> set[str]:
    text = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))


def test_there_is_something_to_look_at() -> None:
    """Both workflows are found, and their commands."""
    assert {path.name for path in WORKFLOWS} == {"ci.yml", "images.yml"}
    assert len(list(commands())) > 8


def waited_for(job: dict[str, Any]) -> set[str]:
    """The jobs that a job needs: GitHub takes one name or a list."""
    waits = job.get("needs", [])
    return {waits} if isinstance(waits, str) else set(waits)


def test_a_job_that_is_not_there_is_seen() -> None:
    """In either form of `needs`."""
    known = {"build", "check"}
    assert all(waited_for(job) <= known for job in ({}, {"needs": "build"}, {"needs": ["build", "check"]}))
    assert not any(waited_for(job) <= known for job in ({"needs": "no-such-job"}, {"needs": ["build", "no-such-job"]}))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_have_what_a_job_needs(path: Path) -> None:
    """A runner, an end in time, no more rights than it names; each job that it waits for is there."""
    document = yaml.safe_load(path.read_text())
    assert document["permissions"] == {}, "rights are given to the jobs that need them"
    for name, job in document["jobs"].items():
        assert {"runs-on", "steps", "permissions"} <= set(job), name
        assert waited_for(job) <= set(document["jobs"]), name
        if name != "required":
            assert 0 < job["timeout-minutes"] <= 60, name
        assert all(("run" in step) != ("uses" in step) for step in job["steps"]), f"{name}: run or uses"


def test_actions_are_pinned_by_hash() -> None:
    """A tag may move: every action is named by a commit, and the same action by the same one."""
    used = [step["uses"] for _, step in steps() if "uses" in step]
    assert used
    assert not [action for action in used if not re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", action)]
    assert len(set(used)) == len({action.partition("@")[0] for action in used})


def test_every_make_target_is_there() -> None:
    """`make X` of a workflow and of .ci/run is a target of the Makefile."""
    texts = [*commands(), (".ci/run", (REPOSITORY / ".ci" / "run").read_text())]
    lines = [(where, line) for where, text in texts for line in re.split(r"\n|&&|\|\|", text)]
    found = [(where, match[1]) for where, line in lines if (match := re.match(r"\s*make ((?:[a-z-]+ ?)+)", line))]
    called = {(where, target) for where, words in found for target in words.split()}
    assert {"step-image", "check", "bare"} <= {target for _, target in called}
    assert not {(where, target) for where, target in called if target not in targets()}


def test_every_script_is_there_and_can_be_started() -> None:
    """A path of the repository in a command is a file; one that begins a command is executable."""
    places = [
        (where, path)
        for where, text in commands()
        for path in re.findall(r"(?<![\w./$])((?:components|tests|\.ci|docs)/[\w./-]+)", text)
    ]
    assert ("images.yml: release", "components/images/steps/release.sh") in places
    for where, path in places:
        assert (REPOSITORY / path).exists(), f"{where}: {path}"
    script = REPOSITORY / "components/images/steps/release.sh"
    assert script.stat().st_mode & 0o111
    inside = re.findall(r"(?:components|tests)/[\w./-]+\.(?:py|sh|lock)", script.read_text())
    assert inside
    assert all((REPOSITORY / path).is_file() for path in inside)


def test_a_job_that_uses_the_environment_makes_it_first() -> None:
    """`.venv/bin/...` is only called after a `make` target that sets up, in the same job."""
    ready = {
        name
        for name in targets()
        if re.search(rf"^{name}:.*\b(setup|wheel)\b", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    }
    for path in WORKFLOWS:
        for name, job in jobs(path).items():
            text = "\n".join(step.get("run", "") for step in job["steps"])
            before = text.partition(".venv/bin/")[0] if ".venv/bin/" in text else SETUP
            called = set(re.findall(r"make ([a-z-]+)", before))
            assert called & {"setup", *ready}, f"{path.name}: {name}"
