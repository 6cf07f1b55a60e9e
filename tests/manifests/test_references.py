"""Every name in what is built resolves: selectors, ports, probes, variables, Secrets, ConfigMaps, accounts, arguments."""

from __future__ import annotations

import argparse
import re
from typing import Any

import pytest
from manifest_tree import (
    CASES,
    CLOUD,
    EDGE,
    REPOSITORY,
    TREE,
    Object,
    Pod,
    environment,
    name_of,
    namespace_of,
    objects,
    pods,
    selected,
)

from edgeloop_fleet import app
from edgeloop_fleet.render import Settings

README = (TREE / "README.md").read_text()
BROUGHT = {  # Secrets and ConfigMaps that a person makes: keys that are read; the README has the command for each
    (CLOUD, "edgeloop-s3"): {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    (CLOUD, "edgeloop-keys"): {"EDGELOOP_PUBLIC_KEY"},
    (CLOUD, "edgeloop-registry"): {".dockerconfigjson"},
    (EDGE, "edgeloop-registry"): {".dockerconfigjson"},
    (CLOUD, "edgeloop-postgres"): {"password"},
    (CLOUD, "edgeloop-minio"): {"user", "password"},
    (CLOUD, "edgeloop-seaweedfs"): {"s3.json"},
    (CLOUD, "edgeloop-tls"): {"tls.crt", "tls.key"},
}
CLOUDCORE = {"k8s-app": "kubeedge", "kubeedge": "cloudcore"}  # labels of its pods, by KubeEdge's chart
NAMESPACES = {EDGE, CLOUD, "kubeflow", "kubeedge", "kube-system", "ingress-nginx"}  # that policies may speak of
THEIRS = {  # what programs that are not edgeloop's answer on and read, by container
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "PGDATA"},
    "minio": {"MINIO_BROWSER", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "/minio/health/ready", "/minio/health/live"},
    "seaweedfs": {"POD_IP", "/healthz"},  # the one stands in its arguments
    "prometheus": {"/-/ready", "/-/healthy"},
}
LIBRARIES = {"PGPASSWORD": "libpq, below psycopg"}  # variables that libraries of ours read without the code naming them
DOCUMENTED = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (REPOSITORY / "docs" / "environment.md").read_text()))
Case = pytest.mark.parametrize("case", CASES)


@pytest.fixture(scope="session")
def code() -> str:
    """All of edgeloop's Python and C."""
    places = [REPOSITORY / folder for folder in ("edge", "components", "pipelines")]
    return "\n".join(p.read_text() for place in places for end in ("py", "c", "h") for p in place.rglob(f"*.{end}"))


def _of_kind(items: list[Object], kind: str) -> dict[tuple[str, str], Object]:
    return {(namespace_of(item), item["metadata"]["name"]): item for item in items if item["kind"] == kind}


@Case
def test_services_have_pods_and_ports(case: str) -> None:
    """Each Service selects the pods of one workload, and its target ports are theirs."""
    items = objects(case)
    services = _of_kind(items, "Service")
    router = services.pop(("kubeedge", "edgeloop-router"))
    assert router["spec"]["selector"] == CLOUDCORE
    for service in services.values():
        found = selected(service, pods(items), {"matchLabels": service["spec"]["selector"]})
        assert len(found) == 1, name_of(service)
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(found[0].ports), name_of(service)
    for item in items:
        if item["kind"] == "StatefulSet":
            assert (namespace_of(item), item["spec"]["serviceName"]) in _of_kind(items, "Service")
        if item["kind"] == "Ingress":
            backends = [p["backend"]["service"] for r in item["spec"]["rules"] for p in r["http"]["paths"]]
            for backend in backends:
                service = _of_kind(items, "Service")[namespace_of(item), backend["name"]]
                assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}


@Case
def test_urls_name_services_that_are_there(case: str) -> None:
    """Whatever in edgeloop's or KubeEdge's namespace is spoken of as host:port is a Service with that port."""
    items = objects(case)
    ports = {
        f"{name}.{namespace}.svc:{port['port']}"
        for (namespace, name), item in _of_kind(items, "Service").items()
        for port in item["spec"]["ports"]
    }
    told = set(re.findall(rf"[a-z-]+\.(?:{CLOUD}|kubeedge)\.svc:\d+", str(items)))
    assert told <= ports
    assert told >= {Settings().fleet_url.removeprefix("http://")}, "where rendered Rules send reports"


@Case
def test_policies_select_something(case: str) -> None:
    """Subjects and peers of NetworkPolicies are pods that are there, and ports are ports of theirs."""
    items = objects(case)
    everything = pods(items)
    for policy in _of_kind(items, "NetworkPolicy").values():
        spec = policy["spec"]
        mine = selected(policy, everything, spec["podSelector"])
        assert mine, name_of(policy)
        ingress = [(rule, mine) for rule in spec.get("ingress", [])]
        egress = [(rule, _peers(policy, rule, everything)) for rule in spec.get("egress", [])]
        for rule, listeners in [*ingress, *egress]:
            assert rule.get("from") or rule.get("to"), f"{name_of(policy)}: open to all"
            assert rule["ports"], name_of(policy)
            _peers(policy, rule, everything)
            numbers = {number for pod in listeners for number in pod.ports.values()}
            assert not listeners or {port["port"] for port in rule["ports"]} <= numbers, name_of(policy)


def _peers(policy: Object, rule: Object, everything: list[Pod]) -> list[Pod]:
    """The pods of a rule's other side that the tree has; a peer that can be nobody is an error."""
    found = []
    for peer in [*rule.get("from", []), *rule.get("to", [])]:
        assert len(peer) == 1, f"{name_of(policy)}: {peer}"
        if "podSelector" in peer:
            here = selected(policy, everything, peer["podSelector"])
            assert here, f"{name_of(policy)}: {peer}"
            found += here
        elif "namespaceSelector" in peer:
            assert peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] in NAMESPACES
    return found


@Case
def test_every_pod_of_the_cloud_is_behind_policies(case: str) -> None:
    """All is denied at first; what listens has a policy that lets somebody in, or is for port-forward (Prometheus)."""
    items = objects(case)
    policies = _of_kind(items, "NetworkPolicy")
    assert policies[CLOUD, "default-deny"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for pod in pods(items):
        if pod.namespace == CLOUD and pod.ports and pod.name != "prometheus":
            let_in = [
                p
                for p in policies.values()
                if p["spec"].get("ingress") and pod in selected(p, [pod], p["spec"]["podSelector"])
            ]
            assert let_in, pod.name


@Case
def test_probes_ask_what_answers(case: str) -> None:
    """A probe's port is declared, and its path is a route of the program."""
    for pod in pods(objects(case)):
        for container in pod.spec["containers"]:
            for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
                get = container.get(kind, {}).get("httpGet")
                if get:
                    routes = set(app._GET) if container["name"] == "fleet" else THEIRS[container["name"]]
                    assert get["port"] in pod.ports, pod.name
                    assert get["path"] in routes, pod.name


@Case
def test_every_variable_is_read(case: str, code: str) -> None:
    """What a container is given, its program reads: by the code and docs/environment.md, in its arguments, or by a table."""
    items = objects(case)
    for pod in pods(items):
        for container in pod.containers:
            names = set(environment(container, items, pod.namespace))
            if container["name"] in THEIRS:
                assert names <= THEIRS[container["name"]], pod.name
                continue
            for name in names - set(LIBRARIES) - set(re.findall(r"\$\((\w+)\)", str(container.get("args")))):
                assert f'"{name}"' in code, f"{pod.name}: {name} is read nowhere"
                assert name in DOCUMENTED or not name.startswith("EDGELOOP_"), name


@Case
def test_settings_of_pipelines_are_what_their_steps_read(case: str) -> None:
    """The ConfigMap has every key that a step must have, and none that no step asks for."""
    from edgeloop_pipelines import training

    settings = _of_kind(objects(case), "ConfigMap")["kubeflow", training.SETTINGS]["data"]
    must, may = training._SETTING_KEYS[False], training._SETTING_KEYS[True]
    assert set(must) <= set(settings) <= {*must, *may}
    assert settings["EDGELOOP_IMAGES"] == training.IMAGES_PATH
    assert settings["EDGELOOP_FLEET_URL"] == Settings().fleet_url
    assert ("kubeflow", training.IMAGES_CLAIM) in _of_kind(objects(case), "PersistentVolumeClaim")
    assert training.SECRET in README
    assert training.SIGNING in README


def _named(source: Object, fields: dict[str, str], name: str = "name") -> list[tuple[str, str, str, bool]]:
    """(kind, name, key or '', optional) of the field among `fields` (field: kind) that a source has, if any."""
    found = [(kind, source[field]) for field, kind in fields.items() if field in source]
    return [(kind, ref.get(name) or ref["name"], ref.get("key", ""), ref.get("optional", False)) for kind, ref in found]


def _references(pod: Pod) -> list[tuple[str, str, str, bool]]:
    """(Secret | ConfigMap, name, key or '', optional) of everything that a pod refers to."""
    found = []
    for container in pod.containers:
        for source in container.get("envFrom", []):
            found += _named(source, {"secretRef": "Secret", "configMapRef": "ConfigMap"})
        for variable in container.get("env", []):
            found += _named(variable.get("valueFrom", {}), {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"})
    for volume in pod.spec.get("volumes", []):
        parts = {field: volume[field] for field in ("secret", "configMap") if field in volume}
        found += _named(parts, {"secret": "Secret", "configMap": "ConfigMap"}, "secretName")
    return found + [("Secret", one["name"], ".dockerconfigjson", False) for one in pod.spec.get("imagePullSecrets", [])]


@Case
def test_secrets_and_config_maps_are_there_or_brought(case: str) -> None:
    """Each is built, or is one that the README says how to make; the optional ones are those that may be missing."""
    items = objects(case)
    maps = _of_kind(items, "ConfigMap")
    for pod in pods(items):
        for kind, name, key, optional in _references(pod):
            place = (pod.namespace, name)
            if kind == "ConfigMap" and place in maps:
                assert not key or key in maps[place]["data"]
                continue
            assert place in BROUGHT, f"{pod.name}: {kind} {place}"
            assert not key or key in BROUGHT[place], f"{pod.name}: {key} of {place}"
            assert optional is (name == "edgeloop-keys"), name
    for item in items:
        for secret in [s["secretName"] for s in item["spec"].get("tls", [])] if item["kind"] == "Ingress" else []:
            assert (namespace_of(item), secret) in BROUGHT


@pytest.mark.parametrize("place", BROUGHT)
def test_the_readme_says_how_to_make_what_is_brought(place: tuple[str, str]) -> None:
    """A command with the namespace, the name and every key."""
    namespace, name = place
    commands = [
        line for line in README.replace("\\\n", " ").splitlines() if f" {name} " in f"{line} " and "create" in line
    ]
    mine = [line for line in commands if f"-n {namespace} " in line or "-n $namespace " in line]
    assert mine, commands
    words = {"tls.crt": "--cert", "tls.key": "--key", ".dockerconfigjson": "docker-registry"}
    assert [key for key in BROUGHT[place] if not any(words.get(key, key) in line for line in mine)] == []


@Case
def test_volumes_accounts_and_bindings_resolve(case: str) -> None:
    """Mounts have volumes, claims and accounts are there, bindings bind a role that is there to an account that is there."""
    items = objects(case)
    accounts, claims = _of_kind(items, "ServiceAccount"), _of_kind(items, "PersistentVolumeClaim")
    for pod in pods(items):
        volumes = {volume["name"] for volume in pod.spec.get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in pod.owner["spec"].get("volumeClaimTemplates", [])}
        assert {mount["name"] for c in pod.containers for mount in c.get("volumeMounts", [])} == volumes, pod.name
        named = [v["persistentVolumeClaim"]["claimName"] for v in pod.spec["volumes"] if "persistentVolumeClaim" in v]
        assert {(pod.namespace, name) for name in named} <= set(claims)
        if "serviceAccountName" in pod.spec:
            assert (pod.namespace, pod.spec["serviceAccountName"]) in accounts
    for kind in ("Role", "ClusterRole"):
        for binding in _of_kind(items, f"{kind}Binding").values():
            assert binding["roleRef"]["kind"] == kind
            assert (namespace_of(binding), binding["roleRef"]["name"]) in _of_kind(items, kind)
            assert {(s["namespace"], s["name"]) for s in binding["subjects"]} <= set(accounts)


@Case
def test_arguments_are_understood(case: str) -> None:
    """The command lines of edgeloop's own containers are read by edgeloop's own parsers."""
    from typer.main import get_command

    from edgeloop_node.__main__ import parser
    from edgeloop_pipelines.cli.fleet import app as fleet_command

    by_name = {pod.name: pod for pod in pods(objects(case))}
    fleet = by_name["fleet"].spec["containers"][0]
    words = fleet["args"]
    command: Any = get_command(fleet_command).commands["serve"]  # type: ignore[attr-defined]
    given = command.make_context("serve", words[2:]).params
    assert words[:2] == ["fleet", "serve"]
    assert given["port"] == by_name["fleet"].ports["http"]
    assert str(given["home"]) in {mount["mountPath"] for mount in fleet["volumeMounts"]}
    words = [re.sub(r"\$\(\w+\)", "filled-in", word) for word in by_name["agent"].spec["containers"][0]["args"]]
    agent: argparse.Namespace = parser().parse_args(["agent", *words])
    assert agent.namespace == EDGE
    assert bool(agent.mqtt) != bool(agent.https)
