"""The step image: its lock is part of the repository's, and the compiled pipeline takes the image that a release names."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from edgeloop_components import built_image
from edgeloop_components.package import installed, layout, wheels
from edgeloop_components.package.layers import Layer, text_file

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
    """All stages stand on a base that the build must name, nothing is fetched while it is built, and it is not root's."""
    text = (FOLDER / "Containerfile").read_text().replace("\\\n", " ")
    below, stages = (
        re.findall(r"^FROM (\S+)", text, re.MULTILINE),
        re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE),
    )
    assert set(below) - set(stages) == {"${BASE}"}
    assert below[-1] == "${BASE}", "what was needed to build is not in the image"
    assert re.search(r"^ARG BASE$", text, re.MULTILINE)
    installs = re.findall(r"pip install ([^&\n]*)", text)
    assert len(installs) == 2
    assert all({"--no-index", "--no-deps"} <= set(words.split()) for words in installs)
    assert "--require-hashes" in installs[0]
    assert not re.search(r"apt-get|curl|wget", text)
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


def test_images_of_two_platforms_are_joined(tmp_path: Path) -> None:
    """The release's image is an index with each platform once; joining again gives the same digest."""
    spec = importlib.util.spec_from_file_location("join", FOLDER / "join.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("amd64", "arm64"):
        layer = Layer(f"of {name}", (text_file("etc/name", name),))
        digest = layout.write_image(tmp_path, [layer], platform=f"linux/{name}", config={})
        layout.name_image(tmp_path, digest, f"edgeloop/steps:{name}")
    joined = module.join(tmp_path)
    platforms = [entry["platform"]["architecture"] for entry in layout.document(tmp_path, joined)["manifests"]]
    assert platforms == ["amd64", "arm64"]
    assert module.join(tmp_path) == joined
    with pytest.raises(layout.LayoutError, match="found none"):
        module.join(tmp_path / "empty")
