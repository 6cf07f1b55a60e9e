"""The Debian base, locked wheels of two platforms, and images that run on their own Python: real packages, real engines."""

from __future__ import annotations

import io
import json
import lzma
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.package import base, cache, core, elf, installed, layers, layout, wheels
from edgeloop_components.package.debian import PACKAGES, deb, lock
from edgeloop_components.package.debian.assemble import base_layer
from edgeloop_components.package.layers import Build, PackageError, files_layer
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_contracts import (
    CalibrationMap,
    FeatureReference,
    Loop,
    ModelVersion,
    Package,
    Reference,
    dumps,
    from_json,
    loads,
    schema_hash_of,
)

REPOSITORY = Path(__file__).parents[2]
PLATFORMS = ("linux/amd64", "linux/arm64")


@pytest.fixture(scope="module")
def debs() -> None:
    """The locked packages in the cache, or a skip with the reason."""
    try:
        for platform in PLATFORMS:
            lock.fetch(lock.locked(platform))
    except PackageError as error:
        pytest.skip(f"the locked Debian packages are not to be had here: {error}")


@pytest.fixture(scope="module")
def all_wheels() -> None:
    """The locked wheels in the cache, or a skip with the reason."""
    try:
        for platform in PLATFORMS:
            wheels.fetch(platform)
    except PackageError as error:
        pytest.skip(f"the locked wheels are not to be had here: {error}")


def loop_of(platform: str) -> Loop:
    return from_json(
        Loop,
        {
            "apiVersion": "edgeloop.dev/v1alpha1",
            "kind": "Loop",
            "metadata": {"name": "pump"},
            "data": {"source": "rows.csv", "label": "y", "features": ["flow"]},
            "train": {"onnx": "model.onnx"},
            "targets": [{"name": "cabinet", "platform": platform, "nodes": {"group": "cabinets"}}],
        },
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model of one feature with golden rows that onnxruntime itself gave."""
    import numpy as np
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    folder = tmp_path_factory.mktemp("compiled")
    rows = np.linspace(-2, 2, 40, dtype=np.float32).reshape(-1, 1)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0.3).astype(int))
    graph = to_onnx(
        fitted, rows[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3}
    ).SerializeToString()
    labels, probabilities = onnxruntime.InferenceSession(graph).run(None, {"X": rows})
    feature = FeatureReference(name="flow", kind="number", edges=(-1.0, 0.0, 1.0), counts=(10,) * 4, quantum=2.0**-20)
    reference = Reference(
        loop="pump", schema_hash=schema_hash_of([feature], ("low", "high")), rows=40, features=(feature,),
        classes=("low", "high"), calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
    )  # fmt: skip
    (folder / "model.onnx").write_bytes(graph)
    (folder / "reference.json").write_text(dumps(reference))
    golden = {"rows": rows.tolist(), "labels": labels.tolist(), "probabilities": probabilities.tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


def packed(platform: str, compiled: Path, images: Path, **how: Any) -> Package:
    zero = "sha256:" + "0" * 64
    schema = loads(Reference, (compiled / "reference.json").read_text()).schema_hash
    version = ModelVersion(
        loop="pump", number=1, state="accepted", run_key="r1", snapshot=zero, onnx=zero, reference=zero, golden=zero,
        schema_hash=schema, code="sha256:" + "1" * 64,
    )  # fmt: skip
    loop = loop_of(platform)
    return core.package(loop, version, loop.targets[0], compiled, images, base="debian", **how)


@pytest.fixture(scope="module")
def package_of(debs: None, all_wheels: None, compiled: Path, images: Path) -> Callable[[str], Package]:
    """platform -> its package on the Debian base, made once."""
    made: dict[str, Package] = {}

    def give(platform: str) -> Package:
        if platform not in made:
            made[platform] = packed(platform, compiled, images)
        return made[platform]

    return give


def ar(**parts: bytes) -> bytes:
    found = b"!<arch>\n"
    for name, data in parts.items():
        found += f"{name.replace('__', '.'):<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        found += b"\n" * (len(data) % 2)
    return found


def tar_of(*members: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = text
            info.size = len(text) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def test_a_deb_is_read_without_dpkg(tmp_path: Path) -> None:
    """Files, links and folders come out of an ar archive of odd sizes with xz or plain tars; hard links become files."""
    data = tar_of(
        ("./", tarfile.DIRTYPE, ""),
        ("./usr/a", tarfile.REGTYPE, "odd"),
        ("./usr/b", tarfile.LNKTYPE, "./usr/a"),
        ("./usr/c", tarfile.SYMTYPE, "a"),
    )
    control = tar_of(("./control", tarfile.REGTYPE, "Package: x\n"))
    path = tmp_path / "x.deb"
    path.write_bytes(ar(**{"debian-binary": b"2.0\n", "control__tar": control, "data__tar__xz": lzma.compress(data)}))
    found = {member.path: (member.kind, member.target, content) for member, content in deb.members(path)}
    assert found == {
        ".": ("folder", "", b""),
        "usr/a": ("file", "", b"odd"),
        "usr/b": ("file", "", b"odd"),
        "usr/c": ("link", "a", b""),
    }
    assert deb.control(path) == "Package: x\n"


@pytest.mark.parametrize(
    ("name", "kind", "problem"),
    [
        ("../evil", tarfile.REGTYPE, "leads out"),
        ("/etc/evil", tarfile.REGTYPE, "leads out"),
        ("./dev/x", tarfile.CHRTYPE, "special file"),
    ],
)
def test_hostile_debs_are_refused(tmp_path: Path, name: str, kind: bytes, problem: str) -> None:
    """A member that would be made outside, or is a device, is an error that names it."""
    path = tmp_path / "x.deb"
    path.write_bytes(ar(data__tar=tar_of((name, kind, "x"))))
    with pytest.raises(PackageError, match=problem):
        list(deb.members(path))
    path.write_bytes(b"PK\x03\x04 no deb")
    with pytest.raises(PackageError, match=r"expected a \.deb file"):
        list(deb.members(path))


def test_the_lock_names_every_package_of_both_platforms(tmp_path: Path) -> None:
    """Each has a version, a hash and a size; a broken line and a missing package are errors that name it."""
    for platform in PLATFORMS:
        entries = lock.locked(platform)
        assert {entry.package for entry in entries} == set(PACKAGES)
    lock.write(lock.read(), tmp_path / "again.lock")
    assert (tmp_path / "again.lock").read_text() == lock.LOCK.read_text()
    (tmp_path / "bad.lock").write_text("libc6 2.36 amd64 nohash 12 glibc\n")
    with pytest.raises(PackageError, match=r"bad\.lock:1: expected package version"):
        lock.read(tmp_path / "bad.lock")
    entries = [entry for entry in lock.read() if entry.package != "libc6"]
    lock.write(entries, tmp_path / "less.lock")
    with pytest.raises(PackageError, match="expected libc6 for amd64, found none: python -m"):
        lock.locked("linux/amd64", tmp_path / "less.lock")
    with pytest.raises(PackageError, match="expected one of linux/amd64, linux/arm64, got linux/riscv64"):
        lock.locked("linux/riscv64")


def test_superseded_packages_are_named_with_the_way_out(debs: None) -> None:
    """A version that the archive has no more, and the cache has not, is an error that says how to lock anew."""
    (entry,) = [e for e in lock.locked("linux/amd64") if e.package == "zlib1g"]
    gone = lock.Locked(entry.package, "0:0.0-never", entry.architecture, "0" * 64, 1, entry.source)
    with pytest.raises(
        PackageError, match=r"zlib1g 0:0\.0-never \(amd64\): expected in the Debian archive.*debian lock"
    ):
        lock.fetch([gone])


def test_bytes_that_the_lock_does_not_name_are_not_kept(tmp_path: Path) -> None:
    """What was fetched is compared with the lock before it gets a name in the cache."""
    (tmp_path / "x.deb").write_bytes(b"other bytes")
    with pytest.raises(PackageError, match=r"x\.deb: expected sha256 0{64} of the lock, found"):
        cache.put(tmp_path / "x.deb", tmp_path / "cache" / "x", "0" * 64)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_base_is_the_same_twice_and_whole(debs: None, platform: str, tmp_path: Path) -> None:
    """Two layouts, one digest; all machine code is the platform's and finds its libraries; scanners see the packages."""
    first, second = (base.debian_image(platform, tmp_path / name) for name in ("1", "2"))
    assert first == second
    assert layout.image_size_bytes(tmp_path / "1", first) < 14 << 20
    root = tmp_path / "root"
    layout.unpack(tmp_path / "1", first, root)
    assert elf.problems(root, platform) == []
    assert elf.problems(root, "linux/riscv64")[0].startswith("usr/bin/python3.11: expected code for linux/riscv64")
    assert (root / "lib").readlink() == Path("usr/lib")
    assert "nonroot:x:65532:65532" in (root / "etc/passwd").read_text()
    assert (root / "etc/ssl/certs/ca-certificates.crt").read_text().count("BEGIN CERTIFICATE") > 100
    assert {path.name for path in (root / "var/lib/dpkg/status.d").iterdir()} == set(PACKAGES)
    assert (root / "usr/share/doc/libc6/copyright").is_file()
    broken = [p for p in root.rglob("*") if p.is_symlink() and not p.exists()]
    assert broken == []


def test_locked_wheels_and_installed_ones_make_the_same_layer(all_wheels: None) -> None:
    """On this machine both ways give the same files; for the other platform the closure is the same, with its machine code."""
    here = layers.host_platform()
    names = ["uvicorn", "httptools", "paho-mqtt"]
    locked, local = wheels.locked_layer(names, here), installed.wheels_layer(names)
    assert {(f.path, f.sha256, f.mode) for f in locked.files} == {(f.path, f.sha256, f.mode) for f in local.files}
    assert locked.key == local.key
    other = wheels.locked_layer(names, next(p for p in PLATFORMS if p != here))
    assert [(part.name, part.version) for part in other.parts] == [(part.name, part.version) for part in local.parts]
    assert other.key != local.key


def test_the_image_lock_is_part_of_the_repositorys() -> None:
    """Versions and hashes are those of requirements.lock, for all that images need."""
    text = (REPOSITORY / "requirements.lock").read_text()
    names = [distribution.metadata["Name"] for distribution in installed.closure(wheels.ROOTS)]
    assert wheels.LOCK.read_text() == wheels.subset(text, names)
    with pytest.raises(PackageError, match="expected no-such-wheel in it"):
        wheels.subset(text, ["no-such-wheel"])


@pytest.mark.slow
@pytest.mark.parametrize("platform", PLATFORMS)
def test_an_image_of_each_platform_is_whole(
    package_of: Callable[[str], Package], images: Path, platform: str, tmp_path: Path
) -> None:
    """Its machine code is the platform's, every needed library is in it, and it needs nothing of the node but an engine."""
    made = package_of(platform)
    root = tmp_path / "root"
    layout.unpack(images, made.digest, root)
    assert elf.problems(root, platform) == []
    assert list(root.glob(f"{layers.SITE}/onnxruntime/capi/onnxruntime_pybind11_state*.so"))
    assert (made.needs.platform, made.needs.runtime) == (platform, "")
    assert 100 < made.needs.disk_mib < 200
    settings = layout.image_config(images, made.digest)["config"]
    assert settings["Entrypoint"] == ["/edgeloop/server"]
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in settings["Env"]
    assert settings["Labels"]["org.opencontainers.image.base.digest"] == base.debian_image(platform, images)
    assert settings["Labels"]["org.opencontainers.image.revision"] == "sha256:" + "1" * 64


@pytest.mark.slow
def test_an_image_on_the_base_is_the_same_twice(
    package_of: Callable[[str], Package], compiled: Path, tmp_path: Path
) -> None:
    """All layers made anew in another layout give the same image digest, for the foreign platform too."""
    for platform in PLATFORMS:
        assert packed(platform, compiled, tmp_path / "other").digest == package_of(platform).digest


class Answer:
    """What a running container says over HTTP."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def score(self) -> Any:
        body = json.dumps({"features": {"flow": 1.5}}).encode()
        request = urllib.request.Request(f"{self.url}/score", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.loads(response.read())

    def until_ready(self, alive: Callable[[], str], timeout_s: float = 60) -> None:
        end = time.monotonic() + timeout_s
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                assert not (why := alive()), why
                assert time.monotonic() < end, "not ready in time"
                time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def amd64_here() -> None:
    if layers.host_platform() != "linux/amd64":
        pytest.skip("this machine is not linux/amd64")


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_image_answers_with_its_own_python_in_a_chroot(
    package_of: Callable[[str], Package], images: Path, tmp_path: Path
) -> None:
    """As user 65532, with nothing but the image's files: the server starts, its own `check` says ready, and it scores."""
    amd64_here()
    made, root, port = package_of("linux/amd64"), tmp_path / "root", free_port()
    layout.unpack(images, made.digest, root)
    run = root / "run" / "edgeloop"
    run.mkdir()
    os.chown(run, 65532, 65532)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/") and str(folder).startswith("/tmp/"):
            folder.chmod(folder.stat().st_mode | 0o711)
    settings = layout.image_config(images, made.digest)["config"]
    environment = dict(item.split("=", 1) for item in settings["Env"])
    inside = [str(shutil.which("chroot")), "--userspec=65532:65532", str(root), *settings["Entrypoint"]]
    words = ["--port", str(port), "--run-dir", "/run/edgeloop"]
    server = subprocess.Popen([*inside, *words], env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    try:
        answer = Answer(port)
        answer.until_ready(lambda: f"ended: {server.stderr.read()}" if server.poll() is not None else "")  # type: ignore[union-attr]
        assert answer.score()["label"] == "high"
        check = subprocess.run([*inside, "check", "--run-dir", "/run/edgeloop"], env={}, capture_output=True, text=True)
        assert check.returncode == 0, check.stderr
        mapped = Path(f"/proc/{server.pid}/maps").read_text()
        assert str(root / "usr/bin/python3.11") in mapped
        assert "site-packages" not in mapped
    finally:
        server.terminate()
        assert server.wait(30) == 0
        assert server.stderr is not None
        server.stderr.close()


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """The real podman with runc, on folders of its own; skips with the reason where it is not."""
    missing = [tool for tool in ("podman", "runc") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and podman with runc: {', '.join(missing) or 'not root'}")
    (tmp_path / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    short = Path(tempfile.mkdtemp())  # podman takes no longer path than 50 characters
    head = ["podman", "--root", str(short / "root"), "--runroot", str(short / "run")]
    head += ["--storage-driver", "overlay", "--runtime", str(shutil.which("runc"))]
    environment = {**os.environ, "CONTAINERS_CONF": str(tmp_path / "containers.conf")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*head, *words], env=environment, capture_output=True, text=True, timeout=120)

    yield run
    run("rm", "-f", "-a", "-t", "1")
    run("rmi", "-f", "-a")
    shutil.rmtree(short, ignore_errors=True)


@pytest.mark.slow
def test_a_real_engine_runs_the_image(
    package_of: Callable[[str], Package],
    images: Path,
    podman: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
) -> None:
    """podman pulls it from the layout and runs it read-only, as its user, within its memory; the exec probe says ready."""
    amd64_here()
    made, port = package_of("linux/amd64"), free_port()
    name = "edgeloop/engine:1"  # its own: images of several platforms take each other's name
    layout.name_image(images, made.digest, name)
    pulled = podman("pull", "-q", f"oci:{images}:{name}")
    if pulled.returncode:
        pytest.skip(f"podman cannot work here: {pulled.stderr[-300:]}")
    image = pulled.stdout.split()[-1]
    words = [
        "--network=host",
        "--read-only",
        "--memory",
        "256m",
        "--memory-swap",
        "256m",
        "--tmpfs",
        "/run/edgeloop:mode=1777",
    ]
    arguments = ["--port", str(port), "--run-dir", "/run/edgeloop"]
    started = podman("run", "-d", "--name", "pump", *words, image, *arguments)
    if started.returncode and "OCI runtime" not in started.stderr:
        pytest.skip(f"podman cannot work here: {started.stderr[-300:]}")
    assert started.returncode == 0, started.stderr
    answer = Answer(port)

    def ended() -> str:
        state = podman("inspect", "-f", "{{.State.Status}}", "pump").stdout.strip()
        return "" if state == "running" else f"{state}: {podman('logs', 'pump').stderr}"

    answer.until_ready(ended)
    assert answer.score()["label"] == "high"
    probe = podman("exec", "pump", "/edgeloop/server", "check", "--run-dir", "/run/edgeloop", "--pid", "1")
    assert probe.returncode == 0, probe.stderr
    who = podman("exec", "pump", "/usr/bin/python3", "-c", "import os; print(os.getuid(), os.path.exists('/bin/sh'))")
    assert who.stdout.split() == ["65532", "False"]


def small_image(at: Path, files: dict[str, str], platform: str = "linux/amd64", **config: Any) -> str:
    source = at.parent / "source"
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    layer = files_layer(source, "usr", compressed=True)
    digest = layout.write_image(at, [layer], platform=platform, config=config)
    layout.name_image(at, digest, "base:1")
    return digest


def test_any_base_by_digest(tmp_path: Path) -> None:
    """Its layers are reused, its variables kept, its Python found; an index gives the platform's child."""
    at, here = tmp_path / "base", tmp_path / "here"
    amd64 = small_image(at, {"local/bin/python3.11": "elf", "lib/x": "1"}, Env=["LANG=C.UTF-8"])
    arm64 = layout.write_image(at, [files_layer(tmp_path / "source", "usr")], platform="linux/arm64", config={})
    index = layout.write_index(at, [amd64, arm64])
    layout.name_image(at, index, "base:2")
    found = base.base_for(f"oci:{at}@{index}", "linux/amd64", here)
    assert found is not None
    assert (found.digest, found.python, dict(found.environment)) == (
        amd64,
        "/usr/local/bin/python3.11",
        {"LANG": "C.UTF-8"},
    )
    assert found.under.diff_ids == tuple(layout.image_config(at, amd64)["rootfs"]["diff_ids"])
    other = base.base_for(f"oci:{at}@{index}", "linux/arm64", here)
    assert other is not None
    assert other.digest == arm64
    assert base.base_for("", "linux/amd64", here) is None
    for text, problem in (
        ("registry.example/base:latest", "expected debian, oci:FOLDER@sha256"),
        (f"oci:{at}@{arm64}", "expected an image for linux/amd64, found linux/arm64"),
    ):
        with pytest.raises(PackageError, match=problem):
            base.base_for(text, "linux/amd64", here)
    without = small_image(tmp_path / "b" / "base", {"lib/x": "1"})
    with pytest.raises(PackageError, match=r"expected Python 3\.11"):
        base.base_for(f"oci:{tmp_path / 'b' / 'base'}@{without}", "linux/amd64", here)


def test_the_script_names_the_bases_python(tmp_path: Path) -> None:
    """/edgeloop/server begins with the interpreter that the base has, and hands over to the node's code."""
    (tmp_path / "model.onnx").write_bytes(b"weights")
    made = RUNTIMES["onnxruntime"].layers(
        tmp_path, Build(layers.host_platform(), "models/x/1", python="/usr/local/bin/python3.11")
    )
    (script,) = [file for layer in made for file in layer.files if file.path == "edgeloop/server"]
    assert isinstance(script.source, bytes)
    assert script.source.startswith(b"#!/usr/local/bin/python3.11 ")
    assert script.mode == 0o755


def test_the_base_layer_lists_its_packages_for_the_bill_of_materials(debs: None) -> None:
    """Name, version, hash and source of each Debian package."""
    parts = {part.name: part for part in base_layer("linux/arm64").parts}
    assert set(parts) == set(PACKAGES)
    assert parts["libc6"].source == "glibc"
    assert len(parts["libc6"].sha256) == 64


@pytest.mark.slow
def test_native_images_hold_the_server_and_nothing_else(
    compiled: Path, podman: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """FROM scratch, under 300 KB, one file, the same digest from a second compilation; the model is beside it; podman runs it."""
    amd64_here()
    zero = "sha256:" + "0" * 64
    schema = loads(Reference, (compiled / "reference.json").read_text()).schema_hash
    version = ModelVersion(
        loop="pump", number=1, state="accepted", run_key="r1", snapshot=zero, onnx=zero, reference=zero, golden=zero,
        schema_hash=schema,
    )  # fmt: skip
    source = shutil.copytree(compiled, tmp_path / "version")
    (source / "version.json").write_text(dumps(version))
    images, made = tmp_path / "images", {}
    for name, platform in (("1", "linux/amd64"), ("2", "linux/amd64"), ("3", "linux/arm/v7")):
        loop, out = loop_of("linux/amd64"), tmp_path / name
        out.mkdir()
        called = "cabinet" if platform == "linux/amd64" else "gateway"
        target = replace(loop.targets[0], name=called, platform=platform, runtime="native")
        RUNTIMES["native"].compile(source, out, target)
        for document in ("reference.json", "golden.json"):
            shutil.copy(source / document, out)
        made[name] = core.package(loop, version, target, out, images, model_dir=source)
    assert made["1"] == made["2"]
    assert made["1"].size_bytes < 300_000
    assert made["1"].model_artifact == made["3"].model_artifact != ""
    layout.unpack(images, made["1"].digest, tmp_path / "root")
    assert [path.name for path in (tmp_path / "root").rglob("*") if path.is_file()] == [".edgeloop-image", "server"]
    (first, _) = core.index_packages(images, [made["1"], made["3"]], "edgeloop/pump")
    assert len(layout.document(images, first.index)["manifests"]) == 2
    pulled = podman("pull", "-q", f"oci:{images}:edgeloop/pump/cabinet:1")
    started = podman("run", "--rm", "--network=none", "--read-only", pulled.stdout.strip(), "selftest")
    if "runtime" in started.stderr.lower() and started.returncode > 120:
        pytest.skip(f"podman cannot work here: {started.stderr[-300:]}")
    assert started.returncode == 0, started.stderr
