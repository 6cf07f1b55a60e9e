"""What is compiled for a cluster: IR that KFP's protobufs read, objects that the CRDs accept, and golden files."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeloop_contracts import Loop, from_json, loads
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.compile import Compiled, NotForClustersError, compile_pipeline, manifests
from edgeloop_pipelines.limits import LIMITS

IMAGE = "registry.example/edgeloop-steps@sha256:" + "0" * 64
HERE = Path(__file__).resolve()
GOLDEN = HERE.parents[1] / "golden" / "pipelines"
CRDS = Path(os.environ.get("EDGELOOP_CRDS") or HERE.parents[3] / "shared" / "crds") / "kubeflow"
STEPS = {"ingest", "train", "validate", "register", "compile", "profile", "package", "rollout", "outcome"}
LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "s3://telemetry/turbines/", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
    },
)


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return compile_pipeline(IMAGE)


@pytest.fixture(scope="module")
def spec(compiled: Compiled) -> dict[str, Any]:
    return next(yaml.safe_load_all(compiled.ir))


@pytest.fixture(scope="module")
def platform(compiled: Compiled) -> dict[str, Any]:
    """Kubernetes options by step."""
    executors = list(yaml.safe_load_all(compiled.ir))[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name.removeprefix("exec-"): options for name, options in executors.items()}


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every task of every (nested) DAG, by the step's name."""
    dags = [spec["root"], *(c for c in spec["components"].values() if "dag" in c)]
    found = [(name, task) for dag in dags for name, task in dag["dag"]["tasks"].items()]
    return {name: task for name, task in found if name in STEPS}


def test_kfp_reads_the_ir(spec: dict[str, Any]) -> None:
    """The IR is a PipelineSpec with every step in it and no field that KFP does not know."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    message = json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    executors = {name.removeprefix("exec-") for name in message.deployment_spec["executors"]}
    assert executors == STEPS == set(tasks(spec))


def test_kfp_reads_what_the_ir_leaves_open(spec: dict[str, Any], compiled: Compiled) -> None:
    """The IR's free-form parts fit their own messages, no field left over: deployment, platform, and each step's options."""
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
    from kfp.pipeline_spec import pipeline_spec_pb2

    deployment = json_format.ParseDict(spec["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig())
    assert {name.removeprefix("exec-") for name in deployment.executors} == STEPS
    document = list(yaml.safe_load_all(compiled.ir))[1]
    message = json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
    assert set(message.platforms) == {"kubernetes"}
    for options in document["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(options, kubernetes_pb2.KubernetesExecutorConfig())
    with pytest.raises(json_format.ParseError):  # the reading is strict
        json_format.ParseDict({"nodeAfinity": []}, kubernetes_pb2.KubernetesExecutorConfig())


def test_every_step_has_limits(spec: dict[str, Any], platform: dict[str, Any]) -> None:
    """Each step asks for processor and memory, ends at some memory and after some time, and is tried again."""
    assert set(LIMITS) == STEPS
    for name, task in tasks(spec).items():
        limits = LIMITS[name]
        resources = spec["deploymentSpec"]["executors"][f"exec-{name}"]["container"]["resources"]
        assert resources["resourceCpuRequest"] == limits.cpu
        assert resources["resourceMemoryRequest"] == limits.memory
        assert resources["resourceMemoryLimit"] == limits.most_memory
        assert int(platform[name]["activeDeadlineSeconds"]) == 60 * limits.minutes
        retry = task["retryPolicy"]
        assert (retry["maxRetryCount"], retry["backoffDuration"]) == (limits.retries, "30s")


def test_one_machine_tries_once() -> None:
    """The pipeline of kfp.local has no retries: there a failed step is the person's to look at."""
    from edgeloop_pipelines.training import training

    assert "retry_policy" not in str(training.pipeline_spec)


def test_threads_may_compile_at_once() -> None:
    """A fleet service starts runs from several threads; kfp alone refuses that."""
    from concurrent.futures import ThreadPoolExecutor

    images = [IMAGE.replace("0" * 64, f"{number:064}") for number in (3, 4, 5)]
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(compile_pipeline, images))
    assert len({each.version for each in made}) == 3


def test_every_step_runs_in_the_image_by_digest_and_installs_nothing(spec: dict[str, Any]) -> None:
    """One image, named by digest; no pip in any command."""
    containers = {n: e["container"] for n, e in spec["deploymentSpec"]["executors"].items()}
    assert {container["image"] for container in containers.values()} == {IMAGE}
    assert not [name for name, container in containers.items() if "pip install" in json.dumps(container)]


def test_no_step_is_cached(spec: dict[str, Any]) -> None:
    """Snapshots depend on data that KFP does not see, and the later steps have effects outside."""
    assert not [name for name, task in tasks(spec).items() if task["cachingOptions"].get("enableCache")]


def test_every_step_stays_off_the_edge_and_gets_the_stores_secret(platform: dict[str, Any]) -> None:
    """Node affinity, required, and the credentials as a reference: for each step, the exit handler's too."""
    assert set(platform) == STEPS
    for name, options in platform.items():
        (affinity,) = options["nodeAffinity"]
        assert affinity == {
            "matchExpressions": [{"key": "node-role.kubernetes.io/edge", "operator": "DoesNotExist"}]
        }, f"{name}: no weight, so the rule is required"
        keys = {key["envVar"]: s["optional"] for s in options["secretAsEnv"] for key in s["keyToEnv"]}
        signing = {"EDGELOOP_SIGNING_KEY": True, "EDGELOOP_KEY_PASSWORD": True} if name == "package" else {}
        store = {"AWS_ACCESS_KEY_ID": False, "AWS_SECRET_ACCESS_KEY": False, "AWS_SESSION_TOKEN": True}
        assert keys == {**store, **signing}, "the private key is the packing step's alone"
        assert {c["configMapName"] for c in options["configMapAsEnv"]} == {"edgeloop-settings"}


def test_only_the_package_step_writes_images(platform: dict[str, Any]) -> None:
    """The volume with the images is mounted where images are written, and nowhere else."""
    assert {name for name, options in platform.items() if "pvcMount" in options} == {"package"}


def test_what_conditions_and_loops_ask_is_named_output(spec: dict[str, Any]) -> None:
    """kfp.local finds only outputs of this name; any other name makes a condition silently false."""
    text = json.dumps(spec)
    assert "inputs.parameter_values['pipelinechannel--validate-Output'] == 'accepted'" in text
    assert '"inputParameter": "pipelinechannel--register-Output"' in text


def test_compiling_again_gives_the_same_bytes(compiled: Compiled) -> None:
    """The version's name is that of the content, so it stays; another image has another name."""
    again, other = compile_pipeline(IMAGE), compile_pipeline(IMAGE.replace("0", "1"))
    assert (again.ir, again.version) == (compiled.ir, compiled.version)
    assert other.version != compiled.version


def test_a_loop_becomes_the_default(spec: dict[str, Any]) -> None:
    """Compiled with a loop, the pipeline has its name, and its document as the default of `loop`."""
    compiled = compile_pipeline(IMAGE, LOOP)
    inputs = next(yaml.safe_load_all(compiled.ir))["root"]["inputDefinitions"]["parameters"]
    assert compiled.name == "edgeloop-turbine"
    assert loads(Loop, inputs["loop"]["defaultValue"]) == LOOP
    assert "defaultValue" not in spec["root"]["inputDefinitions"]["parameters"]["loop"]


@pytest.mark.parametrize("image", ["", "edgeloop-steps", "edgeloop-steps:1.0", "edgeloop-steps@sha256:abc"])
def test_an_image_without_a_digest_is_refused(image: str) -> None:
    """A tag may move; the message says what was expected and what was given."""
    with pytest.raises(NotForClustersError, match="expected name@sha256"):
        compile_pipeline(image)


def test_the_crds_accept_the_objects(compiled: Compiled) -> None:
    """Pipeline and PipelineVersion fit the schemas of Kubeflow's own CRDs, unknown fields forbidden."""
    if not CRDS.is_dir():
        pytest.skip(f"no CRDs in {CRDS}; name their folder in EDGELOOP_CRDS")
    import jsonschema

    kinds = {}
    for path in CRDS.glob("*.yaml"):
        crd = yaml.safe_load(path.read_text())
        kinds[crd["spec"]["names"]["kind"]] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    objects = manifests(compiled, "kubeflow")
    assert [item["kind"] for item in objects] == ["Pipeline", "PipelineVersion"]
    for item in objects:
        jsonschema.validate(item, strict(kinds[item["kind"]]))
        assert item["metadata"]["namespace"] == "kubeflow"
    assert objects[1]["metadata"]["name"] == compiled.version


def strict(schema: Any) -> Any:
    """The schema with unknown fields forbidden, but for places that the CRD leaves open."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    return closed


def test_the_golden_files_are_up_to_date(compiled: Compiled, request: pytest.FixtureRequest) -> None:
    """The compiled files as they are checked in; `make golden` writes them anew."""
    texts = {"training.yaml": compiled.ir}
    for item in manifests(compiled, "kubeflow"):
        texts[f"{item['kind'].lower()}.yaml"] = yaml.safe_dump(item, sort_keys=False)
    if request.config.getoption("--regenerate", default=False):
        GOLDEN.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (GOLDEN / name).write_text(text)
    for name, text in texts.items():
        assert (GOLDEN / name).exists(), f"{name} is not checked in; run make golden"
        assert (GOLDEN / name).read_text() == text, f"{name} is out of date; run make golden"


def test_the_command_writes_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edgeloop compile --json` names what it wrote; without a digest it writes nothing and exits 1."""
    assert main(["compile", "--image", IMAGE, "--out", str(tmp_path / "out"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert sorted(document["files"]) == sorted(map(str, (tmp_path / "out").iterdir()))
    assert len(document["files"]) == 3
    assert main(["compile", "--image", "edgeloop-steps:latest", "--out", str(tmp_path / "none")]) == 1
    assert not (tmp_path / "none").exists()
    assert "--image" in capsys.readouterr().err
