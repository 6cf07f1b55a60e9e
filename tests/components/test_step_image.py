"""The step image: its lock is part of the repository's, and the compiled pipeline takes the image that a release names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeloop_components import built_image
from edgeloop_components.package import installed, wheels

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "components" / "images" / "steps"


def words_after(option: str) -> list[str]:
    text = (FOLDER / "lock.sh").read_text().replace("\\\n", " ")
    match = re.search(rf"{option} ((?:[a-z0-9-]+\s+)+?)\s*(?:--|\n|$)", text)
    assert match is not None
    return match[1].split()


def test_the_lock_is_part_of_the_repositorys() -> None:
    """What lock.sh would write from today's requirements.lock is what is there; kfp is in it without its client's needs."""
    text = (REPOSITORY / "requirements.lock").read_text()
    names = [distribution.metadata["Name"] for distribution in installed.closure(words_after("--roots"))]
    expected = wheels.subset(text, {*names, *words_after("--alone")})
    assert (FOLDER / "requirements.lock").read_text() == expected
    locked = wheels.entries_of(expected)
    assert {"kfp", "onnxruntime", "scikit-learn", "ziglang"} <= set(locked)
    assert not {"kubernetes", "kfp-server-api", "google-auth"} & set(locked)


def test_no_image_without_a_digest() -> None:
    """Both stages stand on a base that the build must name, nothing is resolved while it is built, and it is not root's."""
    text = (FOLDER / "Containerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    assert re.search(r"^ARG BASE$", text, re.MULTILINE)
    assert "--no-deps --require-hashes" in text
    assert text.rstrip().endswith("USER 65532:65532")


def test_a_release_names_its_image(tmp_path: Path) -> None:
    """A checkout has none; the line that the build appends is what is taken."""
    assert built_image("steps") == ""
    named = f"registry.example/edgeloop-steps@sha256:{'a' * 64}"
    (tmp_path / "images.lock").write_text(f"# comment\nother x@sha256:1\nsteps {named}\n")
    assert built_image("steps", tmp_path / "images.lock") == named
    assert built_image("none", tmp_path / "images.lock") == ""


def test_a_release_compiles_without_being_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled pipeline has the release's image in every step; a checkout is told to say which."""
    import edgeloop_components
    from edgeloop_pipelines.compile import NotForClustersError, compile_pipeline

    with pytest.raises(NotForClustersError, match="expected name@sha256:<64 hex digits>, got nothing"):
        compile_pipeline("")
    named = f"registry.example/edgeloop-steps@sha256:{'b' * 64}"
    monkeypatch.setattr(edgeloop_components, "built_image", lambda name: named)
    compiled = compile_pipeline("")
    assert compiled.image == named
    assert set(re.findall(r"image: (\S+)", compiled.ir)) == {named}
