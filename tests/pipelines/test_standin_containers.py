"""From a manifest's container to a command line on this machine; and any admitted object can be done."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgeloop_pipelines.local.standin import containers
from edgeloop_pipelines.local.standin.containers import ImageConfig, Place
from edgeloop_pipelines.local.standin.objects import ManifestError, NodeView


def place_in(tmp_path: Path) -> Place:
    (tmp_path / "rootfs" / "model").mkdir(parents=True)
    node = NodeView("n1", {}, "127.0.1.1")
    return Place("p", "ns", "u", node, tmp_path / "disk", tmp_path / "rootfs", tmp_path / "cache")


def test_a_containers_paths_and_variables_become_this_machines(tmp_path: Path) -> None:
    """Mounted folders, the image's own folders, $(VAR), field references and image variables; Python without site-packages."""
    place = place_in(tmp_path)
    container = {
        "name": "server",
        "args": [
            "--run-dir",
            "/run/edgeloop",
            "--host=$(HOST)",
            "--spool=/var/lib/edgeloop/s.db",
            "$$(HOST)",
            "/etc",
            "/model/..",
        ],
        "env": [
            {"name": "HOST", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.hostIP"}}},
            {"name": "URL", "value": "http://$(HOST)/$(UNKNOWN)"},
        ],
        "volumeMounts": [{"name": "r", "mountPath": "/run/edgeloop"}, {"name": "l", "mountPath": "/var/lib/edgeloop"}],
    }
    config = ImageConfig(
        ("/usr/bin/python3", "-m", "x", "--model", "/model"), ("unused",), ("A=1", "PYTHONPATH=/other")
    )
    volumes = {"r": "/run/edgeloop", "l": "/var/lib/edgeloop"}
    command = containers.command_of(container, volumes, config, place)
    disk = tmp_path / "disk"
    assert command.argv == (
        *(f"{sys.base_prefix}/bin/python{sys.version_info[0]}.{sys.version_info[1]}", "-S", "-s", "-P"),
        *("-m", "x", "--model", f"{tmp_path}/rootfs/model", "--run-dir", f"{disk}/run", "--host=127.0.1.1"),
        *(f"--spool={disk}/lib/s.db", "$(HOST)", "/etc", "/model/.."),
    )
    assert command.env["URL"] == "http://127.0.1.1/$(UNKNOWN)"
    assert command.env["A"] == "1"
    assert command.env["PYTHONPATH"] == f"{tmp_path}/rootfs/usr/lib/python3/dist-packages"
    native = containers.command_of({"name": "s"}, {}, ImageConfig(("/server",), ("--x",), ()), place)
    assert native.argv == (f"{tmp_path}/rootfs/server", "--x")
    with pytest.raises(ManifestError, match="expected python3 or an absolute path"):
        containers.command_of({"name": "s", "command": ["sh"]}, {}, config, place)


def test_process_one_of_a_probe_is_the_pods_process() -> None:
    """In a container the server is process 1; here it is the one that was started."""
    words = ("python3", "-m", "x", "check", "--pid", "1", "--level", "1")
    assert containers.with_main_process(words, 4711) == ("python3", "-m", "x", "check", "--pid", "4711", "--level", "1")


def test_programs_and_scripts_of_an_image(tmp_path: Path) -> None:
    """A native program is run as it is; a script for python3 with the interpreter that stands for the image's."""
    place = place_in(tmp_path)
    server = place.rootfs / "edgeloop" / "server"
    server.parent.mkdir()
    config = ImageConfig(("/edgeloop/server",), (), ("EDGELOOP_MODEL=/model", "OTHER=/nothing"))
    server.write_bytes(b"\x7fELF")
    assert containers.command_of({"name": "s"}, {}, config, place).argv == (str(server),)
    server.write_text("#!/usr/bin/python3 -sP\nprint()\n")
    command = containers.command_of({"name": "s"}, {}, config, place)
    assert command.argv == (str(containers.interpreter()), "-S", "-s", "-P", str(server))
    assert command.env["EDGELOOP_MODEL"] == f"{tmp_path}/rootfs/model"
    assert command.env["OTHER"] == "/nothing"
    assert "PYTHONHOME" not in command.env
    server.write_text("#!/bin/sh\n")
    assert containers.command_of({"name": "s"}, {}, config, place).argv == (str(server),)


def test_an_image_with_its_own_python_is_run_by_that(tmp_path: Path) -> None:
    """On the Debian base, interpreter, standard library and machine code are the image's, without root and without chroot."""
    from edgeloop_components.package import layout
    from edgeloop_components.package.base import debian_image
    from edgeloop_components.package.layers import PackageError, host_platform

    try:
        digest = debian_image(host_platform(), tmp_path / "images")
    except PackageError as error:
        pytest.skip(f"the Debian base is not to be had here: {error}")
    place = Place(
        "p", "ns", "u", NodeView("n1", {}, "127.0.1.1"), tmp_path / "disk", tmp_path / "root", tmp_path / "cache"
    )
    layout.unpack(tmp_path / "images", digest, place.rootfs)
    text = "import os, ssl, sqlite3, sys; print(sys.version_info[:2], ssl.__file__, sqlite3.sqlite_version); "
    text += "print(open('/proc/self/maps').read())"
    container = {"name": "s", "command": ["python3", "-c", text]}
    command = containers.command_of(container, {}, ImageConfig((), (), ()), place)
    done = subprocess.run(command.argv, env=dict(command.env), capture_output=True, text=True, cwd=place.rootfs)
    assert done.returncode == 0, done.stderr
    first, *maps = done.stdout.splitlines()
    assert first.startswith(f"(3, 11) {place.rootfs}/usr/lib/python3.11/ssl.py")
    files = {line.split()[-1] for line in maps if ".so" in line}
    assert len(files) > 5
    assert all(file.startswith(str(tmp_path)) for file in files), files
