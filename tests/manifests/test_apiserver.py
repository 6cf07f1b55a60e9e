"""ModelRollout before the code of Kubernetes 1.32's API server: the CRD, and objects that its rules take or refuse.

Needs Go, and fetches modules of Kubernetes; the first build takes minutes.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from manifest_rollout import crd, example, object_of
from manifest_tree import TREE

PROGRAM = Path(__file__).resolve().parent / "apiserver"
CRD = TREE / "base" / "crds" / "modelrollouts.yaml"
Object = dict[str, Any]
pytestmark = pytest.mark.long


def changed(part: str, **fields: Any) -> Object:
    """The example with other fields in spec or status; None takes one away."""
    document = copy.deepcopy(object_of(example()))
    document[part] = {name: value for name, value in {**document[part], **fields}.items() if value is not None}
    return document


def packages(**fields: Any) -> Object:
    """The example's packages, the first one with other fields."""
    found = copy.deepcopy(object_of(example())["spec"]["packages"])
    found["t0"].update(fields)
    return dict(found)


GOOD = object_of(example())
ENDED = changed("status", state="done")
VERSION, IMAGES, PREVIOUS, NUMBER, LOOP, TARGET, WAVES, STATE = (
    "loop and version stay", "images stay", "previous: expected another", "previous_packages: expected the number",
    "packages: expected images of this loop", "packages: expected each under", "waves: expected each group", "state: a rollout",
)  # fmt: skip
CASES: Mapping[str, tuple[Object, Object | None, list[str]]] = {  # new, old, starts of the messages
    "created": (GOOD, None, []),
    "as it was": (GOOD, GOOD, []),
    "ends": (ENDED, GOOD, []),
    "first of its loop": (changed("spec", previous=None, previous_packages=None), None, []),
    "other version": (changed("spec", version=3), GOOD, [VERSION, LOOP]),
    "other image": (changed("spec", packages=packages(digest="sha256:" + "f" * 64)), GOOD, [IMAGES]),
    "image dropped": (changed("spec", packages={"t0": packages()["t0"]}), GOOD, [IMAGES]),
    "back to itself": (changed("spec", previous=1), GOOD, [PREVIOUS]),
    "back to no number": (changed("spec", previous=None), GOOD, [NUMBER]),
    "image of another loop": (changed("spec", packages=packages(loop="x")), GOOD, [LOOP]),
    "image of another target": (changed("spec", packages=packages(target="x")), GOOD, [TARGET]),
    "group twice": (changed("spec", waves=[{"groups": ["a"]}, {"groups": ["b", "a"]}]), GOOD, [WAVES]),
    "begins again": (changed("status", state="running"), ENDED, [STATE]),
    "ends otherwise": (changed("status", state="aborted"), ENDED, [STATE]),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the modules that go.sum holds fast."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed here, so the API server's code cannot be asked")
    fetched = subprocess.run([go, "mod", "download"], cwd=PROGRAM, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"modules of Kubernetes cannot be had here: {fetched.stderr[-300:]}")
    path = tmp_path_factory.mktemp("apiserver") / "program"
    made = subprocess.run(
        [go, "build", "-mod=readonly", "-o", str(path), "."], cwd=PROGRAM, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr[-2000:]
    return path


def ask(
    program: Path, definition: Path, folder: Path, cases: Mapping[str, tuple[Object, Object | None, Any]]
) -> Object:
    """What the program says of a CRD and of cases."""
    given = [{"name": name, "new": new, "old": old} for name, (new, old, _) in cases.items()]
    (folder / "cases.json").write_text(json.dumps(given))
    done = subprocess.run([program, definition, folder / "cases.json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    found: Object = json.loads(done.stdout)
    return found


def test_the_api_server_takes_the_crd_and_its_rules_hold(program: Path, tmp_path: Path) -> None:
    """Structural, its rules compile and cost little enough; each refuses what it shall, and takes what is sound."""
    found = ask(program, CRD, tmp_path, CASES)
    assert found["problems"] == []
    assert set(found["cases"]) == set(CASES)
    for name, (_, _, expected) in CASES.items():
        said = found["cases"][name]
        assert (said["unknown"], said["schema"]) == ([], []), name
        assert len(said["rules"]) == len(expected), (name, said["rules"])
        assert all(text.startswith(start) for text, start in zip(said["rules"], expected, strict=True)), name
    messages = [rule["message"] for part in ("spec", "status") for rule in _rules(part)]
    tried = {start for _, _, expected in CASES.values() for start in expected}
    assert [message for message in messages if not any(message.startswith(start) for start in tried)] == []


def _rules(part: str) -> list[Object]:
    schema = crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rules: list[Object] = schema["properties"][part]["x-kubernetes-validations"]
    return rules


def test_the_schema_refuses_and_prunes(program: Path, tmp_path: Path) -> None:
    """What is out of bounds is refused, and what is unknown is named."""
    cases: dict[str, tuple[Object, Object | None, Any]] = {
        "digest": (changed("spec", packages=packages(digest="latest")), None, []),
        "no waves": (changed("spec", waves=[]), None, []),
        "unknown": (changed("spec", wave=[]), None, []),
    }
    found = ask(program, CRD, tmp_path, cases)["cases"]
    assert "spec.packages.t0.digest" in found["digest"]["schema"][0]
    assert "spec.waves" in found["no waves"]["schema"][0]
    assert found["unknown"]["unknown"] == ["spec.wave"]


def test_a_crd_whose_rules_cost_too_much_is_refused(program: Path, tmp_path: Path) -> None:
    """So that the bounds are there for a reason."""
    text = CRD.read_text()
    assert "maxItems: 20\n" in text
    (tmp_path / "crd.yaml").write_text(text.replace("maxItems: 20\n", "maxItems: 2000\n"))
    assert "exceeds budget" in str(ask(program, tmp_path / "crd.yaml", tmp_path, {})["problems"])
