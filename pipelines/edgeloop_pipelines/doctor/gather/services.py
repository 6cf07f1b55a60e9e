"""Asks the services around the cluster with the very clients that edgeloop uses: kfp, minio, the registry's own, HTTP."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterable, Mapping
from typing import Any

from edgeloop_pipelines.doctor.facts import Clock, Image, Service

__all__ = ["ask_fleet", "ask_kfp", "ask_objects", "ask_registry", "late"]

PROBE = "edgeloop-doctor"


def late(name: Any, where: str, error: Exception) -> Service:
    """What a probe that ended otherwise says: it is given up after its time, or fell over something unforeseen."""
    return Service(name, where, "away", " ".join(f"{error or type(error).__name__}".split())[:300])


def ask_kfp(settings: Any) -> Service:
    """Looks for a run that cannot be there: that takes the network, the right API and enough rights."""
    from edgeloop_pipelines.submit import RefusedError, UnreachableError, find_run

    try:
        find_run(settings, PROBE)
    except UnreachableError as error:
        return Service("kfp", settings.host, "away", str(error))
    except RefusedError as error:
        status = getattr(error.__cause__, "status", 0)
        return Service("kfp", settings.host, "refused" if status in (401, 403) else "broken", str(error))
    return Service("kfp", settings.host, "well")


def ask_objects(environment: Mapping[str, str], *, write: bool) -> Service:
    """Lists a prefix without objects; with `write` it puts, puts again and removes one object, too."""
    from edgeloop_components.stores.objects import StoreError, StoreUnavailable, connect

    where = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL") or ""
    try:
        objects = connect(environment=environment)
        objects.patience_s = 0
        list(objects.list(f"{PROBE}/"))
        if write:
            key = f"{PROBE}/{time.time_ns()}"
            first, second = objects.put_new(key, b"1"), objects.put_new(key, b"2")
            objects.delete(key)
            if not first or second:
                said = "a second put with If-None-Match: * was taken, so two runs could get one version number"
                return Service("objects", where, "broken", said)
    except StoreUnavailable as error:
        return Service("objects", where, "away", str(error))
    except StoreError as error:
        return Service("objects", where, "refused", str(error))
    return Service("objects", where, "well")


def ask_registry(registry: str, images: Iterable[str], timeout_s: float) -> tuple[Service, list[Image]]:
    """Asks the registry for the manifest of each image; without images, whether it is one."""
    from edgeloop_components.registry import RegistryError, Settings, TransientError
    from edgeloop_components.registry.errors import DeniedError
    from edgeloop_components.registry.reference import parse_remote
    from edgeloop_components.registry.repository import Repository

    settings = Settings(tries=1, timeout_s=timeout_s)
    found: list[Image] = []
    try:
        for name in images:
            remote = parse_remote(name)
            with Repository(remote, settings) as repository:
                there = repository.find(remote.digest or remote.tag or "latest")
            found.append(Image(name, "" if there else f"{registry} does not have it"))
        if not found:
            with Repository(parse_remote(f"{registry}/{PROBE}"), settings) as repository:
                repository.find("latest")
    except DeniedError as error:
        return Service("registry", registry, "refused", str(error)), found
    except TransientError as error:
        return Service("registry", registry, "away", str(error)), found
    except RegistryError as error:
        return Service("registry", registry, "broken", str(error)), found
    return Service("registry", registry, "well"), found


def ask_fleet(url: str, timeout_s: float) -> tuple[Service, list[Clock], dict[str, bool] | None]:
    """The service's health, its machine's clock by the Date header, and which nodes it hears of."""
    import httpx

    try:
        with httpx.Client(base_url=url, timeout=timeout_s) as client:
            sent_s = time.time()
            answer = client.get("/v1/health")
            got_s = time.time()
            nodes = client.get("/v1/nodes") if answer.status_code == 200 else answer
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Service("fleet", url, "away", str(error) or type(error).__name__), [], None
    clocks = []
    if answer.headers.get("Date"):
        theirs_s = email.utils.parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5
        clocks = [Clock("Fleet service", theirs_s, (sent_s + got_s) / 2, 1.0 + got_s - sent_s)]
    if nodes.status_code in (401, 403):
        return Service("fleet", url, "refused", f"it answered {nodes.status_code}"), clocks, None
    try:
        heard = {str(each["node"]): bool(each["reachable"]) for each in nodes.json()["nodes"]}
    except (ValueError, KeyError, TypeError):
        said = f"{nodes.request.url.path} answered {nodes.status_code}, and no list of nodes"
        return Service("fleet", url, "broken", said), clocks, None
    return Service("fleet", url, "well"), clocks, heard
