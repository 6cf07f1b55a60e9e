"""`edgeloop plan` as a person calls it: images in a layout, packages in files or in the catalog."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeloop_contracts import ModelVersion, Needs, OfflinePlan, Package, from_json, to_json
from edgeloop_fleet.offline import serving
from edgeloop_pipelines.cli import main, plan_inputs

GROUPS = """\
large: {link: [{from: 1h, to: 2h, mbit_s: 0.002}], shares: {power: 1}}
small: {storage_mib: 1}
"""


@pytest.fixture
def folder(site: Any, tmp_path: Path) -> Path:
    """A loop, its champion of 1.5 MiB and its last good version of a few kB, for two groups."""
    (tmp_path / "loop.yaml").write_text(yaml.safe_dump(to_json(site.loop)))
    (tmp_path / "groups.yaml").write_text(GROUPS)
    for name, number, padding in (("champion", 2, 3 << 19), ("last-good", 1, 4000)):
        digest = site.image(name, padding)
        packages = [to_json(site.package(number, f"{group}-t", digest)) for group in ("large", "small")]
        (tmp_path / f"{name}.json").write_text(json.dumps(packages))
    return tmp_path


def plan(folder: Path, *more: str) -> int:
    given = [f"--packages={folder / name}.json" for name in ("champion", "last-good")]
    return main(["plan", str(folder / "loop.yaml"), "--images", str(folder / "images"), *given, *more])


def test_a_plan_as_json_and_its_jobs_as_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The large group's link brings the small image only in its hour; the small group's disk holds it only. One job each."""
    argv = ("--groups", str(folder / "groups.yaml"), "--nodes", str(folder / "cluster" / "nodes.yaml"))
    assert plan(folder, *argv, "-o", str(folder / "out"), "--json") == 0
    document = json.loads(capsys.readouterr().out)
    found = from_json(OfflinePlan, document["plan"])
    assert {group: serving(items)["power"].version for group, items in found.groups.items()} == {"large": 1, "small": 1}
    large, small = found.groups["large"], found.groups["small"]
    assert found.outlook["large"].link_bytes == 900_000  # 250 bytes a second for an hour
    assert "fetched, the link brings 0.9 MiB in time" in large[0].why
    assert 3600 < (large[1].ready_s or 0) < 7200
    assert "the group has 1.0 MiB" in small[0].why
    jobs = [yaml.safe_load(Path(name).read_text()) for name in document["written"]]
    assert [job["spec"]["imagePrePullTemplate"]["nodeNames"] for job in jobs] == [["n1", "n2"], ["n3"]]
    assert {tuple(job["spec"]["imagePrePullTemplate"]["images"]) for job in jobs} == {
        (f"edgeloop.local/edgeloop/power@{small[1].digest}",)
    }


def test_without_limits_all_is_kept_and_a_person_reads_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has every image with its sentence; a job of an earlier plan in the folder is pointed at."""
    (folder / "out").mkdir()
    (folder / "out" / "imageprepulljob-old.yaml").write_text("{}")
    assert plan(folder, "-o", str(folder / "out")) == 0
    captured = capsys.readouterr()
    assert (
        "large: serves 100.0 % of requests without a link (100.0 % by priority), the most that is possible"
        in captured.out
    )
    assert "as choice 1 of 2" in captured.out
    assert captured.out.count("in reserve for power, behind number 1") == 2  # in both groups
    assert captured.out.count("imageprepulljob-") == 4
    assert "do not apply: imageprepulljob-old.yaml" in captured.err


def test_disk_counts_layers_packed_and_unpacked(site: Any, tmp_path: Path) -> None:
    """What a node keeps of an image: the blob of each layer and its tar, and the two documents."""
    from edgeloop_components.package import layout
    from edgeloop_components.package.layers import files_layer

    source = tmp_path / "zeros"
    source.mkdir()
    (source / "bytes").write_bytes(bytes(1 << 20))
    blob = layout.write_layer(site.images, files_layer(source, "zeros", compressed=True))
    digest = layout.write_image(
        site.images, [files_layer(source, "zeros", compressed=True)], platform="linux/amd64", config={}
    )
    packed, documents = plan_inputs.layers_in(site.images, digest)
    assert packed.size_bytes == blob.size_bytes < 1 << 16
    assert packed.disk_bytes == blob.size_bytes + blob.plain_bytes
    assert documents.digest == digest
    assert packed.size_bytes + documents.size_bytes == layout.image_size_bytes(site.images, digest)


def test_a_groups_mirror_is_in_the_names_of_its_images(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `edgeloop render` names them; a group that no loop has is refused."""
    assert plan(folder, "-o", str(folder / "out"), "--mirror", "small=cache.site-a:5000", "--json") == 0
    jobs = [yaml.safe_load(Path(name).read_text()) for name in json.loads(capsys.readouterr().out)["written"]]
    hosts = [(job["metadata"]["labels"]["edgeloop.dev/group"], image_host(job)) for job in jobs]
    assert sorted(set(hosts)) == [("large", "edgeloop.local"), ("small", "cache.site-a:5000")]
    assert plan(folder, "-o", str(folder / "out"), "--mirror", "tiny=cache.site-a:5000", "--json") == 1
    assert "with a group of large, small, got 'tiny=" in json.loads(capsys.readouterr().out)["error"]["message"]


def image_host(job: dict[str, Any]) -> str:
    (image,) = job["spec"]["imagePrePullTemplate"]["images"]
    return str(image).partition("/")[0]


MISTAKES = {
    "large: {storage: 5}": "groups.large.storage: expected a known field",
    "large: {link: [{to: soon, mbit_s: 1}]}": "groups.large.link[0].to: expected a duration",
    "large: {shares: {pumps: 1}}": "shares: expected one for each loop there (power), found pumps",
    "lagre: {}": "expected those of the loops (large, small), found lagre",
    "large: {link: [{from: 2h, to: 1h, mbit_s: 1}]}": "link: expected 0 <= start < end",
    "large: {present: [sha256:" + "0" * 64 + "]}": "0000",
    "large: {": "groups.yaml",
}


def test_mistakes_in_the_groups_file_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its place, and none is a fault of edgeloop."""
    for text, message in MISTAKES.items():
        (folder / "groups.yaml").write_text(text)
        assert plan(folder, "--groups", str(folder / "groups.yaml"), "--json") == 1
        error = json.loads(capsys.readouterr().out)["error"]
        assert message in error["message"]
        assert "unexpected" not in error


def test_a_package_of_no_target_and_one_that_does_not_fit_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], site: Any
) -> None:
    """Both name the loop; a misfit names what is missing, as rendering does."""
    champion = from_json(Package, json.loads((folder / "champion.json").read_text())[0])
    needs = replace(champion, needs=Needs(runtime="python3.11"))
    for package, message in (
        (replace(champion, target="nowhere"), "expected targets of power: large-t, small-t; found nowhere of power"),
        (needs, "power@2 for target large-t: runtime: needs python3.11 beside the image, has none"),
    ):
        (folder / "champion.json").write_text(json.dumps([to_json(package)]))
        assert plan(folder, "--json") == 1
        assert message in json.loads(capsys.readouterr().out)["error"]["message"]
    assert plan(folder, "--lend", "python3.11", "--json") == 0


def test_the_catalog_gives_champion_last_good_and_what_else_fits(
    folder: Path, site: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chain is the target's own champion and last good image, then the champion's smaller image for the other target."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.stores.objects import MemoryObjects

    store = MemoryObjects()
    model = folder / "model.onnx"
    model.write_text("a model")
    digest = "sha256:" + hashlib.sha256(model.read_bytes()).hexdigest()

    def build(number: int) -> ModelVersion:
        return ModelVersion(
            loop="power", number=number, state="accepted", run_key=f"r{number}", snapshot=digest, onnx=digest,
            reference=digest, golden=digest, cause="manual",
        )  # fmt: skip

    @contextlib.contextmanager
    def opened(_home: Path) -> Iterator[Any]:
        yield store

    monkeypatch.setattr(plan_inputs, "open_objects", opened)
    argv = ["plan", str(folder / "loop.yaml"), "--images", str(folder / "images"), "--json"]
    assert main(argv) == 1
    assert "with the alias champion or last-good" in json.loads(capsys.readouterr().out)["error"]["message"]

    small = site.image("small", 100)
    images = {1: site.image("one", 9000), 2: site.image("two", 9000)}
    for number, image in images.items():
        catalog.register(store, "power", build, f"r{number}", {"model": model})
        for target in ("large-t", "small-t"):
            package = site.package(number, target, small if target == "small-t" else image)
            catalog.put_package(store, replace(package, size_bytes=100 if target == "small-t" else 9000))
    catalog.set_alias(store, "power", "champion", 2)
    catalog.set_alias(store, "power", "last-good", 1)
    assert main(argv) == 0
    found = from_json(OfflinePlan, json.loads(capsys.readouterr().out)["plan"])
    chain = [(item.version, item.target, item.digest) for item in found.groups["large"]]
    assert chain == [(2, "large-t", images[2]), (1, "large-t", images[1]), (2, "small-t", small)]
    assert {item.target for item in found.groups["small"]} == {"small-t"}  # what is larger is no way out
