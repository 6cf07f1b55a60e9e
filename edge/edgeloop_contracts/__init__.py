"""The contracts: what passes between the parts of edgeloop, and nothing else.

Standard library only, no I/O. Every side imports this package, it imports none of them.
"""

from edgeloop_contracts.artifacts import (
    Column,
    GateResult,
    Metric,
    ModelVersion,
    Package,
    ParityResult,
    ResourceProfile,
    Snapshot,
    SnapshotPart,
)
from edgeloop_contracts.codec import (
    API_VERSION,
    Contract,
    ContractError,
    Problem,
    canonical,
    digest_of,
    dumps,
    from_json,
    loads,
    problems_in,
    to_json,
)
from edgeloop_contracts.decisions import (
    KeptItem,
    OfflinePlan,
    Rollout,
    RolloutEvent,
    RunRequest,
    Verdict,
    Wave,
    run_key,
)
from edgeloop_contracts.loop import Loop, Target, groups_of, inconsistencies
from edgeloop_contracts.reference import CalibrationMap, FeatureReference, Reference, schema_hash_of
from edgeloop_contracts.report import (
    Acknowledged,
    Acknowledgement,
    Counts,
    Delivery,
    FeatureCounts,
    Loaded,
    Report,
    newer,
    total,
)

__all__ = [
    "API_VERSION",
    "DOCUMENTS",
    "Acknowledged",
    "Acknowledgement",
    "CalibrationMap",
    "Column",
    "Contract",
    "ContractError",
    "Counts",
    "Delivery",
    "FeatureCounts",
    "FeatureReference",
    "GateResult",
    "KeptItem",
    "Loaded",
    "Loop",
    "Metric",
    "ModelVersion",
    "OfflinePlan",
    "Package",
    "ParityResult",
    "Problem",
    "Reference",
    "Report",
    "ResourceProfile",
    "Rollout",
    "RolloutEvent",
    "RunRequest",
    "Snapshot",
    "SnapshotPart",
    "Target",
    "Verdict",
    "Wave",
    "canonical",
    "digest_of",
    "dumps",
    "from_json",
    "groups_of",
    "inconsistencies",
    "loads",
    "newer",
    "problems_in",
    "run_key",
    "schema_hash_of",
    "to_json",
    "total",
]

DOCUMENTS: dict[str, type[Contract]] = {
    cls.KIND: cls
    for cls in (
        Loop,
        Snapshot,
        ModelVersion,
        Reference,
        ParityResult,
        ResourceProfile,
        Package,
        Report,
        Delivery,
        Acknowledgement,
        Verdict,
        RunRequest,
        Rollout,
        OfflinePlan,
    )
}
