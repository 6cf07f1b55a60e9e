"""From a container of a manifest and the configuration of its image to a command line and an environment on this machine.

In a container `/models` is the image's folder and `/run/edgeloop` the node's. Here an absolute path in the arguments or in
the image's variables that lies in a mounted volume is that of the node's folder, and one that the image has is that of the
unpacked image. A program of the image is run as it is. For Python, and for scripts that begin `#!` with it, there are two
ways: an image that holds one is run with its own interpreter and its own libraries, through its own loader; for one without
a base it is the machine's interpreter without site-packages, which sees the standard library and the image's packages.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeloop_pipelines.local.standin.objects import ManifestError, NodeView, names

__all__ = [
    "Command",
    "ImageConfig",
    "Place",
    "Probe",
    "check",
    "command_of",
    "node_folder",
    "probe_command",
    "probes_of",
    "volumes_of",
]

Object = Mapping[str, Any]
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_PYTHON = re.compile(r"(/usr/(local/)?bin/)?python3(\.\d+)?")
_SCRIPT = re.compile(rb"#!(/usr/(?:local/)?bin/python3(?:\.\d+)?)(?: [^\n]*)?\n")
_OPTIONS = ("-S", "-s", "-P")  # no site-packages; none of the user's; nothing from the working folder
_LOADERS = ("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1")
_PACKAGES = "usr/lib/python3/dist-packages"
_KNOWN_FOLDERS = {"/run/edgeloop": "run", "/var/lib/edgeloop": "lib"}  # short: a socket's path has 107 bytes
_UNSUPPORTED = ("ports", "envFrom", "livenessProbe", "lifecycle")


@dataclass(frozen=True)
class ImageConfig:
    """What an image says about how it is run (OCI image configuration)."""

    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    env: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """Where a pod runs: its node, the node's folder, the unpacked image, and a folder for compiled Python."""

    pod: str
    namespace: str
    uid: str
    node: NodeView
    disk: Path
    rootfs: Path
    cache: Path


@dataclass(frozen=True)
class Command:
    """What is executed."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Probe:
    """An exec probe, in seconds and counts."""

    command: tuple[str, ...]
    delay_s: float
    period_s: float
    timeout_s: float
    failures: int


_FIELDS = {
    "spec.nodeName": lambda place: place.node.name,
    "status.hostIP": lambda place: place.node.address,
    "status.podIP": lambda place: place.node.address,
    "metadata.name": lambda place: place.pod,
    "metadata.namespace": lambda place: place.namespace,
    "metadata.uid": lambda place: place.uid,
}


def volumes_of(pod: Object) -> dict[str, str]:
    """volume: folder of the node. ManifestError for a volume that is none, or whose path leaves the node."""
    volumes = pod.get("volumes") or []
    others = [volume["name"] for volume in volumes if "hostPath" not in volume]
    if others:
        raise ManifestError(f"volumes: the stand-in has hostPath only, got something else for {others}")
    return {str(volume["name"]): _inside(volume["hostPath"]["path"], "hostPath.path") for volume in volumes}


def _inside(path: Any, where: str) -> str:
    """An absolute path that does not climb."""
    if not isinstance(path, str) or not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ManifestError(f"{where}: expected an absolute path without '..', got {path!r}")
    return path


def check(container: Object, volumes: Mapping[str, str]) -> None:
    """ManifestError for a container that the stand-in cannot run as it is meant."""
    used = [field for field in _UNSUPPORTED if container.get(field)]
    if used:
        raise ManifestError(f"container {container['name']}: {', '.join(used)}: not supported by the stand-in")
    names([container["name"], container["image"]], "container: name, image")
    for field in ("command", "args"):
        names(container.get(field) or [], f"container {container['name']}: {field}")
    for variable in container.get("env") or []:
        names([variable["name"]], "env")
        _source(variable)
    for mount in container.get("volumeMounts") or []:
        _inside(mount["mountPath"], "mountPath")
        if mount["name"] not in volumes:
            raise ManifestError(
                f"volumeMounts: expected one of {', '.join(volumes) or 'no volumes'}, got {mount['name']}"
            )
    probes_of(container)


def _source(variable: Object) -> str | None:
    """The field that a variable takes its value from; None when it has a value of its own."""
    if "valueFrom" not in variable:
        return None
    path = (variable["valueFrom"].get("fieldRef") or {}).get("fieldPath")
    if path not in _FIELDS:
        known = ", ".join(_FIELDS)
        raise ManifestError(f"env {variable['name']}: valueFrom: expected a fieldRef of {known}, got {path!r}")
    return str(path)


def _probe(container: Object, name: str) -> Probe | None:
    spec = container.get(name)
    if spec is None:
        return None
    if "exec" not in spec:
        raise ManifestError(f"{name}: expected exec (with a shared port, the old pod would answer anything else)")
    names(spec["exec"]["command"], f"{name}.exec.command")
    return Probe(
        tuple(spec["exec"]["command"]),
        float(spec.get("initialDelaySeconds", 0)),
        float(spec.get("periodSeconds", 10)),
        float(spec.get("timeoutSeconds", 1)),
        int(spec.get("failureThreshold", 3)),
    )


def probes_of(container: Object) -> tuple[Probe | None, Probe | None]:
    """The startup and the readiness probe."""
    return _probe(container, "startupProbe"), _probe(container, "readinessProbe")


def _expanded(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known, `$$` by `$`, as Kubernetes does."""

    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return env.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def _environment(container: Object, place: Place) -> dict[str, str]:
    """The manifest's variables; a value may refer to those before it."""
    env: dict[str, str] = {}
    for variable in container.get("env") or []:
        field = _source(variable)
        env[variable["name"]] = _FIELDS[field](place) if field else _expanded(str(variable.get("value", "")), env)
    return env


def node_folder(place: Place, path: str) -> Path:
    """The folder of this machine that stands for a folder of the node."""
    return place.disk / _KNOWN_FOLDERS.get(path, path.lstrip("/"))


def _mounts(container: Object, volumes: Mapping[str, str], place: Place) -> dict[str, Path]:
    return {
        mount["mountPath"]: node_folder(place, volumes[mount["name"]]) for mount in container.get("volumeMounts") or []
    }


def _mapped(word: str, mounts: Mapping[str, Path], rootfs: Path) -> str:
    """The word with a path of the container (all of it, or what follows `=`) as a path of this machine."""
    head, path = word.split("=", 1) if re.match(r"--?[\w-]+=/", word) else ("", word)
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        return word
    here = next((str(folder) + path[len(at) :] for at, folder in mounts.items() if f"{path}/".startswith(f"{at}/")), "")
    if not here and (rootfs / path.lstrip("/")).exists():
        here = str(rootfs / path.lstrip("/"))
    return f"{head}={here}" if head and here else here or word


def interpreter() -> Path:
    """The Python that stands for the image's: the one behind this process's virtual environment."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return Path(sys.base_prefix) / "bin" / version


def _python(place: Place) -> tuple[str, ...]:
    """The image's own Python where it holds one and its loader, else the one that stands for it."""
    found = [place.rootfs / "usr" / folder / "python3.11" for folder in ("bin", "local/bin")]
    own = next((path for path in found if path.exists()), None)
    loader = next((path for name in _LOADERS if (path := place.rootfs / name).exists()), None)
    if own is None or loader is None:
        return (str(interpreter()), *_OPTIONS)
    return (str(loader), "--library-path", _libraries(place.rootfs), str(own), *_OPTIONS)


def _libraries(rootfs: Path) -> str:
    """Where the image's loader looks: it would look under / otherwise, which is this machine's."""
    folders = [*sorted(rootfs.glob("usr/lib/*-linux-gnu")), rootfs / "usr/lib", rootfs / "usr/local/lib"]
    return ":".join(str(folder) for folder in folders if folder.is_dir())


def _program(word: str, place: Place) -> tuple[str, ...]:
    """What is executed for the first word of a command."""
    if _PYTHON.fullmatch(word):
        return _python(place)
    if not word.startswith("/"):
        raise ManifestError(f"command: expected python3 or an absolute path in the image, got {word!r}")
    path = place.rootfs / word.lstrip("/")
    return (*_python(place), str(path)) if _is_python_script(path) else (str(path),)


def _is_python_script(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return bool(_SCRIPT.match(stream.read(256)))
    except OSError:
        return False  # starting it says why


def _image_environment(config: ImageConfig, place: Place) -> dict[str, str]:
    """The image's variables; those that say where Python finds and keeps things are this machine's."""
    given = dict(item.split("=", 1) for item in config.env if "=" in item)
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    env = {name: _mapped(value, {}, place.rootfs) for name, value in given.items()}
    here = {"PYTHONPATH": str(place.rootfs / _PACKAGES), "PYTHONPYCACHEPREFIX": str(place.cache)}
    own = {"PYTHONHOME": str(place.rootfs / "usr")} if (place.rootfs / "usr/bin/python3.11").exists() else {}
    return {**env, "PATH": "/usr/bin:/bin", **here, **own, "PYTHONUNBUFFERED": "1", "HOME": str(place.disk)}


def with_main_process(words: Sequence[str], pid: int) -> tuple[str, ...]:
    """The words with `--pid 1` naming a process of this machine: in a container, process 1 is its main process."""
    before = ("", *words)
    return tuple(
        str(pid) if (left, word) == ("--pid", "1") else word for left, word in zip(before, words, strict=False)
    )


def _resolved(
    words: Sequence[str], container: Object, volumes: Mapping[str, str], config: ImageConfig, place: Place
) -> Command:
    own, mounts = _environment(container, place), _mounts(container, volumes, place)
    env = {
        **_image_environment(config, place),
        **{key: _mapped(value, mounts, place.rootfs) for key, value in own.items()},
    }
    program, *arguments = [_expanded(word, own) for word in words]
    mapped = tuple(_mapped(word, mounts, place.rootfs) for word in arguments)
    return Command((*_program(program, place), *mapped), env)


def command_of(container: Object, volumes: Mapping[str, str], config: ImageConfig, place: Place) -> Command:
    """The container's main process. `command` replaces the image's entry point and its arguments, `args` the arguments."""
    command, args = container.get("command") or [], container.get("args") or []
    words = [*(command or config.entrypoint), *(args or (() if command else config.cmd))]
    if not words:
        raise ManifestError(f"container {container['name']}: neither the manifest nor the image says what to run")
    return _resolved(words, container, volumes, config, place)


def probe_command(
    words: Sequence[str], container: Object, volumes: Mapping[str, str], config: ImageConfig, place: Place
) -> Command:
    """A probe's process: in the container's environment."""
    return _resolved(words, container, volumes, config, place)
