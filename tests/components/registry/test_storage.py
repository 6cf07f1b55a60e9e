"""Disks that do not take what is written, and layouts that cannot be written: named errors, and nothing half-written."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import StorageError
from edgeloop_components.package.whole import whole_or_nothing
from edgeloop_components.registry import Settings, pull, push
from edgeloop_components.registry.testing import TestRegistry
from edgeloop_components.signing import new_key, read_signer, sign

Made = tuple[Path, str]
Disk = Callable[[Path, int, str], AbstractContextManager[None]]
WHY = {"disk": "No space left on device", "limit": "File too large"}
HINT = {"disk": "make room there", "limit": "ulimit -f"}


@pytest.mark.parametrize("kind", WHY)
@pytest.mark.parametrize("way", ["push", "pull", "pull from a registry"])
def test_a_full_disk_is_named_and_nothing_is_left(
    way: str,
    kind: str,
    made: Made,
    small_disk: Disk,
    registry: TestRegistry,
    host: str,
    settings: Settings,
    tmp_path: Path,
) -> None:
    """The error says which image and file, why, and the way out; the folder is as empty as it was. With room it goes through."""
    layout, full = made[0], tmp_path / "full"
    push(f"oci:{layout}", f"{host}/edge/pump:1", settings=settings)
    ways: dict[str, tuple[str, Callable[[Path], object]]] = {
        "push": (f"push oci:{layout} to oci:{full}:p:1: ", lambda to: push(f"oci:{layout}", f"oci:{to}:p:1")),
        "pull": (f"pull oci:{layout}: ", lambda to: pull(f"oci:{layout}", to)),
        "pull from a registry": (
            f"pull {host}/edge/pump:1: ",
            lambda to: pull(f"{host}/edge/pump:1", to, settings=settings),
        ),
    }
    said, call = ways[way]
    with small_disk(full, 40 << 10, kind):
        with pytest.raises(StorageError) as caught:
            call(full)
        assert list(full.iterdir()) == []
    assert str(caught.value).startswith(f"{said}{full}/blobs/sha256/")
    assert str(caught.value).endswith(f": cannot be written: {WHY[kind]}")
    assert HINT[kind] in caught.value.hint
    call(tmp_path / "large")
    assert set(oci.images(tmp_path / "large").values()) == {made[1]}


def test_wherever_the_disk_ends_it_is_whole_or_nothing(made: Made, small_disk: Disk, tmp_path: Path) -> None:
    """From a disk that takes nothing to one that takes all, signatures included: the index is listed last, or all is gone."""
    layout, digest = made
    sign(layout, digest, "edge/pump", read_signer(new_key(tmp_path / "k.key")[0]))
    found = []
    for size_kib in range(8, 240, 8):
        at = tmp_path / str(size_kib)
        with small_disk(at, size_kib << 10, "disk"):
            try:
                push(f"oci:{layout}", f"oci:{at}:p:1")
            except StorageError:
                found.append(bool(list(at.iterdir())))
            else:
                oci.verify(at, oci.images(at)["p:1"])
                found.append(True)
    assert found == sorted(found)
    assert {False, True} == set(found)


def test_what_another_writes_is_not_emptied(made: Made, tmp_path: Path) -> None:
    """While a second call writes into the folder that a first one began, the first leaves all as it is when it fails."""
    at = tmp_path / "at"
    first, second = whole_or_nothing(at), whole_or_nothing(at)
    first.__enter__()
    second.__enter__()
    push(f"oci:{made[0]}", f"oci:{at}:p:1")
    error = StorageError("full", "")
    assert not first.__exit__(StorageError, error, None)
    assert oci.images(at) == {"p:1": made[1]}
    second.__exit__(None, None, None)
    oci.verify(at, made[1])


def test_a_full_disk_leaves_what_a_layout_had(
    made: Made, make_index: Callable[..., str], small_disk: Disk, tmp_path: Path
) -> None:
    """An image that was there is there, whole and by its name; of the new one there is no part and no name."""
    full = tmp_path / "full"
    small = tmp_path / "small"
    make_index(small, "edge/small:1", b"few")
    with small_disk(full, 60 << 10, "limit"):
        push(f"oci:{small}", f"oci:{full}:small:1")
    with small_disk(tmp_path / "unused", 40 << 10, "limit"), pytest.raises(StorageError):
        push(f"oci:{made[0]}", f"oci:{full}:p:1")
    (name,) = oci.images(full)
    assert name == "small:1"
    oci.verify(full, oci.images(full)[name])
    assert list((full / ".parts").iterdir()) == []
    assert not list(full.rglob(".new-*"))


def test_a_note_that_cannot_be_kept_is_said_once(
    made: Made, registry: TestRegistry, host: str, settings: Settings
) -> None:
    """It is a hint: the push goes through, with all that refers to the image."""
    layout, digest = made
    oci.write_artifact(layout, "application/x", [("text/plain", b"note")], subject=digest)
    (layout / ".pushed").write_text("in the way of the folder")
    said: list[str] = []
    done = push(f"oci:{layout}", f"{host}/edge/pump:1", settings=settings, say=said.append)
    assert (done.digest, done.referrers) == (digest, 1)
    assert [line.partition(":")[0] for line in said if ".pushed" in line] == ["warning"]


def test_a_read_only_layout_is_pushed(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """From a file system that really takes no writes."""
    layout, at = made[0], tmp_path / "read-only"
    at.mkdir()
    for words in (["--bind", str(layout), str(at)], ["-o", "remount,ro,bind", str(at)]):
        if subprocess.run(["mount", *words], capture_output=True).returncode != 0:
            pytest.skip("nothing can be mounted here")
    said: list[str] = []
    try:
        done = push(f"oci:{at}", f"{host}/edge/pump:1", settings=settings, say=said.append)
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)
    assert done.digest == made[1]
    assert [line for line in said if line.startswith("warning") and "Read-only file system" in line] == said[:1]
