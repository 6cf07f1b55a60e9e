"""Where a pod leaves the restricted level of the Pod Security Standards (Kubernetes 1.32): a table of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Object = dict[str, Any]
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {"kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start"}


def _containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"], *pod.get("ephemeralContainers", [])]


def _context(part: Object) -> Object:
    found: Object = part.get("securityContext") or {}
    return found


def _host(pod: Object) -> Iterator[str]:
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for container in _containers(pod):
        yield from (f"{container['name']}: hostPort" for port in container.get("ports", []) if port.get("hostPort"))


def _volumes(pod: Object) -> Iterator[str]:
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"} or {"emptyDir"}
        yield from (kind for kind in sorted(kinds - VOLUMES))


def _sysctls(pod: Object) -> Iterator[str]:
    yield from (f"sysctl {one['name']}" for one in _context(pod).get("sysctls", []) if one["name"] not in SYSCTLS)


def _privileges(container: Object, _pod: Object) -> Iterator[str]:
    context = _context(container)
    if context.get("privileged"):
        yield "privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if context.get("procMount", "Default") != "Default":
        yield "procMount"


def _capabilities(container: Object, _pod: Object) -> Iterator[str]:
    given = _context(container).get("capabilities") or {}
    if "ALL" not in given.get("drop", []):
        yield "capabilities are not dropped"
    yield from (f"capability {name}" for name in given.get("add", []) if name != "NET_BIND_SERVICE")


def _user(container: Object, pod: Object) -> Iterator[str]:
    context = {**_context(pod), **_context(container)}
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if context.get("runAsUser") == 0:
        yield "root"


def _seccomp(container: Object, pod: Object) -> Iterator[str]:
    profile = {**_context(pod), **_context(container)}.get("seccompProfile") or {}
    if profile.get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccomp"


_OF_PODS: tuple[Callable[[Object], Iterator[str]], ...] = (_host, _volumes, _sysctls)
_OF_CONTAINERS: tuple[Callable[[Object, Object], Iterator[str]], ...] = (_privileges, _capabilities, _user, _seccomp)


def violations(pod: Object) -> set[str]:
    """What the restricted level forbids in a pod spec; of a container with its name before."""
    found = {text for check in _OF_PODS for text in check(pod)}
    for container in _containers(pod):
        found |= {f"{container['name']}: {text}" for check in _OF_CONTAINERS for text in check(container, pod)}
    return found
