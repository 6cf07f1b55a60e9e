"""A node verifies before it loads: signed model folders and files, with the standard library alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts.ecdsa import SignatureError
from edgeloop_node.verify import verify_file, verify_folder, verify_image

pytest.importorskip("cryptography", reason="signs with a new key: needs the extra `cloud`")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key pairs `one` and `two`."""
    from edgeloop_components.signing import new_key

    folder = tmp_path_factory.mktemp("keys")
    for name in ("one", "two"):
        new_key(folder / f"{name}.key")
    return folder


@pytest.fixture
def signed(keys: Path, tmp_path: Path) -> Path:
    """A model folder that the key `one` signed."""
    from edgeloop_components.signing import read_signer, sign_folder

    folder = tmp_path / "model"
    (folder / "more").mkdir(parents=True)
    for name in ("model.onnx", "golden.json", "reference.json", "version.json", "more/x"):
        (folder / name).write_text(f"content of {name}")
    sign_folder(folder, read_signer(keys / "one.key"))
    return folder


def change(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"!")


CHANGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a changed byte": (lambda f: change(f / "model.onnx"), "model.onnx: expected sha256:"),
    "a changed document": (lambda f: change(f / "golden.json"), "golden.json: expected sha256:"),
    "another file": (lambda f: (f / "more.json").write_text("{}"), "more.json: expected no such file"),
    "a missing file": (lambda f: (f / "more" / "x").unlink(), "more/x: expected sha256:.* found no such file"),
    "no signature": (lambda f: (f / "signature.json").unlink(), "found no signature.json in it"),
    "a link": (lambda f: (f / "link").symlink_to("model.onnx"), "link: expected at most .* plain files"),
    "a cut signature": (lambda f: (f / "signature.json").write_text("{"), "signature.json: expected JSON text"),
    "no envelope": (lambda f: (f / "signature.json").write_text("[]"), "envelope: expected a JSON object"),
    "a long signature": (lambda f: (f / "signature.json").write_bytes(b" " * (9 << 20)), "expected at most 8388608"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_changed_folder(signed: Path, keys: Path, what: str) -> None:
    """A folder is verified as it was signed, and refused with the name of what was changed, added or taken away."""
    verify_folder(signed, keys / "one.pub")
    alter, why = CHANGES[what]
    alter(signed)
    with pytest.raises(SignatureError, match=why):
        verify_folder(signed, keys / "one.pub")


def test_trusted_keys(signed: Path, keys: Path, tmp_path: Path) -> None:
    """Any key of a folder will do; another key, and a folder without keys, will not."""
    assert verify_folder(signed, keys) == verify_folder(signed, keys / "one.pub")
    with pytest.raises(SignatureError, match="was not made over these bytes by the key sha256:"):
        verify_folder(signed, keys / "two.pub")
    (tmp_path / "none").mkdir()
    with pytest.raises(SignatureError, match="found none in this folder"):
        verify_folder(signed, tmp_path / "none")
    with pytest.raises(SignatureError, match="found PRIVATE KEY"):
        verify_folder(signed, keys / "one.key")


def test_command(signed: Path, keys: Path, tmp_path: Path) -> None:
    """`edgeloop-node verify` answers with its exit code, for a folder and for a binary with a detached signature."""
    from edgeloop_components.signing import read_signer, sign_file

    binary = tmp_path / "server"
    shutil.copy2(sys.executable, binary)
    sign_file(binary, read_signer(keys / "one.key"))

    def run(*words: str | Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "edgeloop_node", "verify", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.returncode, done.stdout + done.stderr

    assert run("--key", keys / "one.pub", "--model", signed)[0] == 0
    code, said = run("--key", keys / "one.pub", "--file", binary)
    assert (code, f"{binary}: signed by sha256:" in said) == (0, True)
    assert run("--key", keys / "two.pub", "--file", binary)[0] == 1
    assert run("--key", keys / "one.pub", "--file", binary, "--signature", signed / "golden.json")[0] == 1
    change(binary)
    code, said = run("--key", keys / "one.pub", "--file", binary)
    assert (code, f"not verified: {binary}: signature: it was not made over these bytes" in said) == (1, True)
    assert run("--key", tmp_path / "gone", "--file", binary)[0] == 1
    assert run("--key", keys / "one.pub")[0] == 2


def image_of(root: Path, keys: Path, program: bytes, *models: str) -> Path:
    """An unpacked image: a server and models, each in a signed folder."""
    from edgeloop_components.signing import read_signer, sign_folder

    server = root / "edgeloop" / "server"
    server.parent.mkdir(parents=True)
    server.write_bytes(program)
    for name in models:
        (root / "models" / name).mkdir(parents=True)
        (root / "models" / name / "model.onnx").write_text(name)
    for folder in [server.parent, *(root / "models" / name for name in models)]:
        sign_folder(folder, read_signer(keys / "one.key"))
    return root


IMAGES: dict[str, tuple[tuple[Any, ...], Callable[[Path], Any], str]] = {
    "a native server": ((b"\x7fELF",), lambda root: change(root / "edgeloop/server"), "server: expected sha256:"),
    "a native server's neighbour": (
        (b"\x7fELF",),
        lambda root: (root / "edgeloop/more").write_text(""),
        "more: expected no such file",
    ),
    "a native server that became a script": (
        (b"\x7fELF",),
        lambda root: (root / "edgeloop/server").write_bytes(b"#!/bin/sh"),
        "server: expected sha256:",
    ),
    "a native server that became a script, beside a signed model": (
        (b"\x7fELF", "a/1"),
        lambda root: (root / "edgeloop/server").write_bytes(b"#!/bin/sh"),
        "server: expected sha256:",
    ),
    "a native server whose signature went": (
        (b"\x7fELF", "a/1"),
        lambda root: (root / "edgeloop/signature.json").unlink(),
        "expected a server that is signed, found no signature.json",
    ),
    "another script": (
        (b"#!python", "a/1"),
        lambda root: (root / "edgeloop/server").write_bytes(b"#!/bin/sh"),
        "server: expected sha256:",
    ),
    "a module beside a script": (
        (b"#!python", "a/1"),
        lambda root: (root / "edgeloop/evil.py").write_text(""),
        "evil.py: expected no such file",
    ),
    "a script whose signature went": (
        (b"#!python", "a/1"),
        lambda root: (root / "edgeloop/signature.json").unlink(),
        "expected a server that is signed, found no signature.json",
    ),
    "a script without models": (
        (b"#!python", "a/1"),
        lambda root: shutil.rmtree(root / "models"),
        "expected a model in /models",
    ),
    "a link for the program's folder": (
        (b"\x7fELF",),
        lambda root: ((root / "edgeloop").rename(root / "away"), (root / "edgeloop").symlink_to("away")),
        "expected an unpacked image",
    ),
    "a script's model": (
        (b"#!python", "a/1"),
        lambda root: change(root / "models/a/1/model.onnx"),
        "model.onnx: expected",
    ),
    "the second of two models": (
        (b"#!python", "a/1", "b/1"),
        lambda root: change(root / "models/a/1/model.onnx"),
        "model.onnx: expected",
    ),
    "a script that became a program": (
        (b"#!python", "a/1"),
        lambda root: (root / "edgeloop/server").write_bytes(b"\x7fELF"),
        "server: expected sha256:",
    ),
    "no server": ((b"\x7fELF",), lambda root: (root / "edgeloop/server").unlink(), "expected an unpacked image"),
    "a link for a server": (
        (b"\x7fELF",),
        lambda root: ((root / "edgeloop/server").unlink(), (root / "edgeloop/server").symlink_to("/bin/true")),
        "expected an unpacked image",
    ),
}


@pytest.mark.parametrize("what", IMAGES)
def test_images_are_verified_before_their_server_starts(keys: Path, tmp_path: Path, what: str) -> None:
    """The program by the signature beside it, and every model by its own; whatever changes on the disk is refused by name."""
    (program, *models), alter, why = IMAGES[what]
    root = image_of(tmp_path / "root", keys, program, *models)
    one = (keys / "one.pub").read_text()
    assert verify_image(root, keys / "one.pub") == verify_image(root, one)
    with pytest.raises(SignatureError, match="was not made over these bytes"):
        verify_image(root, keys / "two.pub")
    alter(root)
    with pytest.raises(SignatureError, match=why):
        verify_image(root, one)


def test_a_native_image_holds_no_script(keys: Path, tmp_path: Path) -> None:
    """Where the package's runtime is known, the signed script and model of another image do not stand in for the program."""
    root = image_of(tmp_path / "root", keys, b"#!python", "a/1")
    for runtime in ("", "onnxruntime"):
        verify_image(root, keys / "one.pub", runtime=runtime)
    with pytest.raises(SignatureError, match="expected the program of a native image, found a script"):
        verify_image(root, keys / "one.pub", runtime="native")


def test_a_program_is_installed_once_it_is_verified(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verified bytes take the old program's place, executable; one that is not signed leaves it as it was."""
    from edgeloop_components.signing import read_signer, sign_file
    from edgeloop_node.__main__ import main

    new, place = tmp_path / "server.new", tmp_path / "opt" / "server"
    new.write_bytes(b"new")
    sign_file(new, read_signer(keys / "one.key"))
    place.parent.mkdir()
    place.write_bytes(b"old")
    words = ["verify", "--file", str(new), "--install", str(place), "--key"]
    assert main([*words, str(keys / "two.pub")]) == 1
    assert place.read_bytes() == b"old"
    assert main([*words, (keys / "one.pub").read_text()]) == 0
    assert (place.read_bytes(), place.stat().st_mode & 0o777) == (b"new", 0o755)
    assert [path.name for path in place.parent.iterdir()] == ["server"]
    assert main(["verify", "--image", str(tmp_path), "--install", str(place), "--key", str(keys)]) == 2
    assert "--install needs --file" in capsys.readouterr().err


def test_server_verifies_before_it_loads(node: Any, model: Path, keys: Path, tmp_path: Path) -> None:
    """With a key the server serves a signed model and no other; without one it asks for no signature."""
    from edgeloop_components.signing import read_signer, sign_folder

    folder = tmp_path / "signed"
    shutil.copytree(model, folder)
    sign_folder(folder, read_signer(keys / "one.key"))
    server = node.serve(folder, "--key", str(keys / "one.pub"))
    assert server.said("signature verified")[0]["key"].startswith("sha256:")
    assert server.stop() == 0
    assert node.serve(folder, "--key", (keys / "one.pub").read_text()).stop() == 0
    assert node.serve(folder).stop() == 0
    golden = json.loads((folder / "golden.json").read_bytes())
    (folder / "golden.json").write_text(json.dumps({**golden, "rows": golden["rows"][:1], "labels": golden["labels"][:1],
                                                    "probabilities": golden["probabilities"][:1]}))  # fmt: skip
    for path in (folder, model):
        refused = node.start("server", "--model", path, "--port", "0", EDGELOOP_PUBLIC_KEY=str(keys / "one.pub"))
        assert refused.child.wait(30) == 3
        text = (keys / "one.pub").read_text()  # as a manifest gives it
        assert node.start("server", "--model", path, "--port", "0", EDGELOOP_PUBLIC_KEY=text).child.wait(30) == 3
        assert "not verified: " in refused.said("the model is not served")[0]["error"]


@given(st.binary(max_size=120), st.sampled_from(["", "-----BEGIN PUBLIC KEY-----"]))
def test_only_named_errors_come_out(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: str) -> None:
    """Whatever is in the signature and the key: SignatureError."""
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    for name in ("signature.json", "file", "file.sig", "key.pem"):
        (folder / name).write_bytes(start.encode() + data)
    for one in (
        lambda: verify_folder(folder, folder / "key.pem"),
        lambda: verify_file(folder / "file", folder / "file.sig", folder),
    ):
        with pytest.raises(SignatureError):
            one()
