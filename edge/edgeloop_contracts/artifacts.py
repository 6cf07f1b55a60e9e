"""What a pipeline run makes: the snapshot, the version, and for each target parity, profile and package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgeloop_contracts.codec import Contract, option

__all__ = [
    "Column",
    "GateResult",
    "Metric",
    "ModelVersion",
    "Needs",
    "Package",
    "ParityResult",
    "ProfilePoint",
    "ResourceProfile",
    "Signature",
    "Snapshot",
    "SnapshotPart",
]

DIGEST = r"sha256:[0-9a-f]{64}"


def _digest(default: str | None = None) -> object:
    form = "a digest sha256:<64 hex digits>"
    if default is None:
        return option(pattern=DIGEST, form=form)
    return option(default, pattern=f"|{DIGEST}", form=form)


@dataclass(frozen=True, kw_only=True)
class Column(Contract):
    """One column of a snapshot. `categories` of a category column are sorted; a code is the place in that list."""

    name: str
    kind: Literal["number", "category"]
    missing: int = option(0, minimum=0)
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SnapshotPart(Contract):
    """One file of a snapshot."""

    name: str
    digest: str = _digest()  # type: ignore[assignment]
    rows: int = option(minimum=0)
    size_bytes: int = option(minimum=0)


@dataclass(frozen=True, kw_only=True)
class Snapshot(Contract):
    """An immutable, digested data set. `digest` is that of the canonical rows, so equal rows give an equal digest."""

    KIND: ClassVar[str] = "Snapshot"

    digest: str = _digest()  # type: ignore[assignment]
    loop: str
    source: str
    rows: int = option(minimum=0)
    columns: tuple[Column, ...] = ()
    label: str = ""
    time: str = ""
    node: str = ""
    start_s: float | None = option(None, doc="time of the oldest row, Unix seconds")
    end_s: float | None = option(None, doc="time of the newest row, Unix seconds")
    parts: tuple[SnapshotPart, ...] = ()
    parents: tuple[str, ...] = option((), doc="digests of the snapshots it grew from")
    duplicates: int = option(0, doc="rows left out because they stood there already", minimum=0)
    quarantined: Mapping[str, int] = option({}, doc="reason: rows left out for it")


@dataclass(frozen=True, kw_only=True)
class Metric(Contract):
    """A measured number with a 95 % interval (bootstrap percentiles over `rows` rows)."""

    name: str
    value: float
    low: float
    high: float
    rows: int = option(minimum=0)
    slice: str = option("", doc="column=value; empty: all rows")


@dataclass(frozen=True, kw_only=True)
class GateResult(Contract):
    """One question a version had to answer, with the numbers."""

    gate: str = option(doc="require/accuracy, champion, schema, ...")
    passed: bool
    expected: str
    got: str


@dataclass(frozen=True, kw_only=True)
class ModelVersion(Contract):
    """An immutable trained model, `loop@number`. A rejected one is kept, with its reasons in `gates`."""

    KIND: ClassVar[str] = "ModelVersion"

    loop: str
    number: int = option(minimum=1)
    state: Literal["accepted", "rejected"]
    run_key: str
    snapshot: str = _digest()  # type: ignore[assignment]
    code: str = option("", doc="digest of the training code")
    parameters: str = option("", doc="digest of the training parameters")
    onnx: str = _digest()  # type: ignore[assignment]
    onnx_size_bytes: int = option(0, minimum=0)
    reference: str = _digest()  # type: ignore[assignment]
    golden: str = _digest()  # type: ignore[assignment]
    schema_hash: str = ""
    metrics: tuple[Metric, ...] = ()
    gates: tuple[GateResult, ...] = ()
    champion: int | None = option(None, doc="number of the version it was compared with")
    cause: str = option("manual", doc="why the run was started")
    started_by: str = ""
    created_s: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.loop}@{self.number}"


@dataclass(frozen=True, kw_only=True)
class ParityResult(Contract):
    """The compiled model against the reference (onnxruntime, one thread) on the golden rows.

    A quantised model's probabilities differ by design. What is asked of it stands in `agreement` and `exact_rows`; its
    `max_abs_difference` and `label_differences` are there to be seen, and `limit` is 1.
    """

    KIND: ClassVar[str] = "ParityResult"

    loop: str
    target: str
    runtime: str
    rows: int = option(minimum=0)
    max_abs_difference: float = option(minimum=0)
    limit: float = option(minimum=0)
    label_differences: int = option(0, minimum=0)
    passed: bool
    worst_row: int | None = None
    output_digest: str = option("", doc="sha256 of all outputs of all rows, little-endian, one output after the other")
    platforms: Mapping[str, str] = option({}, doc="platform: digest of the outputs that its own binary gave")
    estimator_difference: float | None = option(None, doc="from the estimator that the graph was made of", minimum=0)
    estimator_limit: float | None = option(None, minimum=0)
    agreement: float | None = option(
        None, doc="of a quantised model: share of `agreement_rows` with the reference's label", minimum=0, maximum=1
    )
    agreement_floor: float | None = option(None, doc="least share", minimum=0, maximum=1)
    agreement_rows: int = option(0, doc="drawn from the reference's bins", minimum=0)
    exact_rows: int = option(
        0, doc="golden rows with the same scores in the simulated circuit and the model", minimum=0
    )


@dataclass(frozen=True, kw_only=True)
class ProfilePoint(Contract):
    """One trial of a profile: the limits it ran under, the load, and what came of it."""

    quota_m: int = option(0, doc="CPU quota, thousandths of a core; 0: none", minimum=0)
    memory_mib: float = option(0.0, doc="memory limit; 0: none", minimum=0)
    threads: int = option(1, minimum=1)
    cores: int = option(0, doc="that the server was pinned to; 0: to none", minimum=0)
    rate_per_s: float = option(0.0, doc="requests offered a second", minimum=0)
    latency_p99_ms: float | None = option(None, minimum=0)
    ok: bool
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class ResourceProfile(Contract):
    """Measured cost on a target, and the resources derived from it. `method` says how it was measured."""

    KIND: ClassVar[str] = "ResourceProfile"

    loop: str
    target: str
    method: str
    latency_p50_ms: float = option(minimum=0)
    latency_p99_ms: float = option(minimum=0)
    memory_peak_mib: float = option(minimum=0)
    load_ms: float = option(0.0, minimum=0)
    threads: int = option(1, doc="that score a request together; the server is started with so many", minimum=1)
    cores: int = option(0, doc="that the server was pinned to when it kept the rate; 0: to none", minimum=0)
    cpu_request_m: int = option(minimum=1)
    cpu_limit_m: int = option(minimum=1)
    memory_request_mib: int = option(minimum=1)
    memory_limit_mib: int = option(minimum=1)
    limited: bool = option(False, doc="whether it was measured under cgroup limits")
    confirmed: bool = option(False, doc="whether a last run with a fresh seed bore the result out")
    latency_limit_ms: float | None = option(
        None, doc="that the sustainable rate keeps to, at the 99th percentile", minimum=0
    )
    latency_p99_low_ms: float | None = option(None, doc="95 % interval", minimum=0)
    latency_p99_high_ms: float | None = option(None, minimum=0)
    rate_per_s: float | None = option(None, doc="sustainable requests a second under the limits", minimum=0)
    rate_low_per_s: float | None = option(None, doc="95 % interval", minimum=0)
    rate_high_per_s: float | None = option(None, minimum=0)
    cpu_us_per_request: float | None = option(None, minimum=0)
    cpu_us_low_per_request: float | None = option(None, doc="95 % interval of the trials' median", minimum=0)
    cpu_us_high_per_request: float | None = option(None, minimum=0)
    memory_floor_mib: float | None = option(None, doc="least limit under which it serves", minimum=0)
    points: tuple[ProfilePoint, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Needs(Contract):
    """What a package needs of a node. Empty and 0: nothing in particular. Its counterpart is `Capabilities` (loop.yaml)."""

    platform: str = ""
    runtime: str = option("", doc="what must be on the node besides a container engine; empty: nothing")
    instruction_set: str = option("", doc="such as x86-64-v3; empty: the platform's baseline")
    accelerator: str = ""
    driver: str = ""
    memory_mib: float = option(0.0, minimum=0)
    disk_mib: float = option(0.0, doc="unpacked", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Signature(Contract):
    """A signature that travels with what it signs, so that it can be verified without a registry."""

    key_id: str = option(doc="sha256:<hex> of the public key's DER form")
    payload: str = option(doc="the signed bytes, base64")
    signature: str = option(doc="ECDSA P-256 over SHA-256, DER, base64")


@dataclass(frozen=True, kw_only=True)
class Package(Contract):
    """The OCI image of one version for one target. Deployed by `digest` only."""

    KIND: ClassVar[str] = "Package"

    loop: str
    version: int = option(minimum=1)
    target: str
    platform: str
    runtime: str
    repository: str = option(doc="the image's name without tag or digest")
    digest: str = _digest()  # type: ignore[assignment]
    model_layer: str = _digest("")  # type: ignore[assignment]
    size_bytes: int = option(minimum=0, doc="all blobs of the image")
    model_layer_bytes: int = option(0, minimum=0)
    parity: ParityResult | None = None
    profile: ResourceProfile | None = None
    needs: Needs = option(Needs())
    index: str = _digest("")  # type: ignore[assignment]
    model_artifact: str = _digest("")  # type: ignore[assignment]
    modelcar: str = _digest("")  # type: ignore[assignment]
    signatures: tuple[Signature, ...] = ()
