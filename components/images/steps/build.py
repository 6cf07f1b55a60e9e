"""Builds the step image on this machine's platform: `python components/images/steps/build.py` (what `make step-image` calls).

Everything is fetched first, each file under a hash of a lock: Debian packages (the base), wheels, and what the package step
puts into server images. The Containerfile is then built by podman without a network, into the image layout OUT/image.
`--again` builds it a second time from nothing and says which layers differ.

Needs Linux, root, podman, runc, and apt with Debian's sources, or a base by digest (`--base`). Says what is missing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from edgeloop_components.package import layout, wheels
from edgeloop_components.package.base import debian_image
from edgeloop_components.package.debian import ARCHITECTURES, lock
from edgeloop_components.package.layers import PackageError, host_platform

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
BASE, IMAGE = "localhost/edgeloop/base-steps", "localhost/edgeloop/steps"
CONTAINERS = """\
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
NOTES_OF_INODES = (
    "/opt/edgeloop/cache/zig"  # the compiler notes inode numbers beside hashes: this layer is never the same
)


class Podman:
    """podman with runc, with images and settings of its own below `out`; what it says goes to stderr."""

    def __init__(self, out: Path) -> None:
        (out / "containers.conf").write_text(CONTAINERS)
        # It takes no path longer than 50 characters for this one, and always the same for one store.
        run = Path("/run", f"edgeloop-{hashlib.sha256(str(out).encode()).hexdigest()[:12]}")
        self._head = ["podman", "--root", str(out / "storage"), "--runroot", str(run)]
        self._head += ["--runtime", str(shutil.which("runc") or shutil.which("runc", path="/usr/sbin"))]
        self._environment = {**os.environ, "CONTAINERS_CONF": str(out / "containers.conf")}

    def __call__(self, *words: str, cwd: Path | None = None, show: bool = False) -> str:
        """Its standard output, or with `show` nothing, since that is shown. SystemExit when it fails, after it said why."""
        out = sys.stderr if show else subprocess.PIPE
        done = subprocess.run([*self._head, *words], cwd=cwd, env=self._environment, stdout=out, text=True)
        if done.returncode:
            raise SystemExit(f"step image: podman {words[0]} failed (exit code {done.returncode})")
        return (done.stdout or "").strip()


def prepare(context: Path) -> None:
    """Fills the build's context; what is in it is named by a lock, or built from this checkout."""
    shutil.rmtree(context, ignore_errors=True)
    for name in ("wheels", "dist", "cache/debs", "cache/wheels"):
        (context / name).mkdir(parents=True)
    shutil.copy(HERE / "requirements.lock", context)
    download = ["pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:"]
    download += ["--require-hashes", "--python-version", "3.11", "-r", str(HERE / "requirements.lock")]
    _python(*download, "-d", str(context / "wheels"))
    _python("build", "--wheel", "--installer", "uv", "--outdir", str(context / "dist"), str(REPOSITORY))
    for platform in ARCHITECTURES:
        _copy(list(lock.fetch(lock.locked(platform)).values()), context / "cache" / "debs")
        _copy([*wheels.fetch(platform), wheels.note_of(platform)], context / "cache" / "wheels")


def _python(module: str, *words: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"step image: {module} {words[0]} failed: {(done.stderr or done.stdout).strip()[-1000:]}")


def _copy(files: Sequence[Path], folder: Path) -> None:
    for file in files:
        (folder / file.name).write_bytes(file.read_bytes())


def base_of(podman: Podman, named: str, out: Path) -> str:
    """The base by digest, in podman's store: `named`, else the one of locked Debian packages."""
    if named:
        podman("pull", "-q", named)
        return named
    shutil.rmtree(out / "base", ignore_errors=True)
    digest = debian_image(host_platform(), out / "base", "steps")
    # The path in the layout's name must be one that an image may have, so it is a short relative one.
    podman("tag", podman("pull", "-q", "oci:base", cwd=out), BASE)
    return f"{BASE}@{digest}"


def build(podman: Podman, base: str, context: Path, name: str, *flags: str) -> list[str]:
    """Builds the image; the digests of its plain layers, lowest first."""
    words = ["--isolation", "oci", "--network", "none", "--timestamp", "0", "--build-arg", f"BASE={base}", "-t", name]
    podman("build", *words, *flags, "-f", str(HERE / "Containerfile"), str(context), show=True)
    found: list[str] = json.loads(podman("inspect", name, "--format", "{{json .RootFS.Layers}}"))
    return found


def differing(podman: Podman, first: Sequence[str], second: Sequence[str]) -> list[str]:
    """What made the layers that differ (the step's words, lowest first)."""
    made = json.loads(podman("history", "--format", "json", IMAGE))
    steps = [entry["CreatedBy"] for entry in reversed(made) if entry["size"]]
    return [step for step, one, other in zip(steps, first, second, strict=True) if one != other]


def write(podman: Podman, image: Path) -> str:
    """The image into a layout of its own; its digest."""
    shutil.rmtree(image, ignore_errors=True)
    name = f"edgeloop/steps:{host_platform().removeprefix('linux/').replace('/', '-')}"
    podman("push", "-q", IMAGE, f"oci:{image}:{name}")
    (digest,) = layout.images(image).values()
    return str(digest)


def main() -> int:
    """Builds, writes and, if asked, builds again; prints one JSON object."""
    top = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    top.add_argument("--out", type=Path, default=REPOSITORY / ".edgeloop" / "step-image", help="[.edgeloop/step-image]")
    top.add_argument("--base", default="", help="NAME@sha256:<digest> [locked Debian packages]")
    top.add_argument("--again", action="store_true", help="build a second time and compare")
    options = top.parse_args()
    _check(options.base)
    out, started_s = options.out.resolve(), time.monotonic()
    prepare(out / "context")
    podman = Podman(out)
    base = base_of(podman, options.base, out)
    first = build(podman, base, out / "context", IMAGE)
    digest = write(podman, out / "image")
    facts: dict[str, object] = {"digest": digest, "image": str(out / "image"), "base": base}
    if options.again:
        second = build(podman, base, out / "context", f"{IMAGE}-again", "--no-cache")
        facts["differing"] = found = differing(podman, first, second)
        unmeant = [step for step in found if NOTES_OF_INODES not in step]
        if unmeant:
            raise SystemExit(f"step image: two builds differ in what these made: {'; '.join(unmeant)}")
    size_bytes = layout.image_size_bytes(out / "image", digest)
    print(json.dumps({**facts, "size_bytes": size_bytes, "seconds": round(time.monotonic() - started_s, 1)}))
    return 0


def _check(base: str) -> None:
    missing = [
        tool for tool in ("podman", "runc") if not shutil.which(tool) and not shutil.which(tool, path="/usr/sbin")
    ]
    if missing or os.geteuid() != 0:
        raise SystemExit(f"step image: expected podman, runc and root, found no {', '.join(missing) or 'root'}")
    if base and "@sha256:" not in base:
        raise SystemExit(f"--base: expected NAME@sha256:<digest>, got {base}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PackageError as error:
        sys.exit(f"step image: {error}")
