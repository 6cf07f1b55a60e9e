"""The schemas that are checked in are the published ones, and nothing gets past them."""

from __future__ import annotations

import json
from pathlib import Path

from manifest_schemas import KINDS, SCHEMAS, crd_schemas, documents_in, problems_in, text_of


def test_the_crds_schemas_are_those_of_the_crds(crd_folder: Path) -> None:
    """Where the CRDs themselves are at hand, the file is what is made of them."""
    assert (SCHEMAS / "crds.json").read_text() == text_of(crd_schemas(documents_in(crd_folder)))


def test_every_type_is_closed() -> None:
    """Of Kubernetes every definition with fields forbids others; so do the CRDs, but where they say that anything may stand."""
    kubernetes = json.loads((SCHEMAS / "kubernetes.json").read_text())
    definitions = kubernetes["definitions"]
    assert set(kubernetes["kinds"]) == {f"{version}/{kind}" for version, kinds in KINDS.items() for kind in kinds}
    assert [
        n for n, s in definitions.items() if s.get("properties") and s.get("additionalProperties") is not False
    ] == []
    assert len(definitions) > 200
    crds = json.loads((SCHEMAS / "crds.json").read_text())
    assert [key for key, crd in crds.items() if crd["schema"]["additionalProperties"] is not False] == []


def test_fields_of_1_32_are_known_and_those_of_later_ones_are_not() -> None:
    """`spec.resources` of a pod came with 1.32; `hostnameOverride` with 1.34."""
    pod = {"containers": [{"name": "c"}], "resources": {"limits": {"cpu": "1"}}}

    def problems(**more: object) -> list[str]:
        template = {"metadata": {"labels": {"a": "b"}}, "spec": {**pod, **more}}
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        return problems_in({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "d"}, "spec": spec})

    assert problems() == []
    (found,) = problems(hostnameOverride="x")
    assert "hostnameOverride" in found


def test_an_unknown_kind_is_a_problem() -> None:
    """So that nothing is taken for sound only because nobody knows it."""
    assert problems_in({"apiVersion": "apps/v1", "kind": "Deploymint", "metadata": {"name": "x"}})
