"""The Helm chart: linted, rendered, and each of its objects validated."""

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from forecasting.settings import SETTINGS_FILE_VARIABLE, FleetSettings, Settings
from tests.infra.ray_cluster import make_validator
from workers.settings import WorkerSettings

FOLDER = Path(__file__).parents[2] / "infra" / "chart"
KUBERNETES = "1.31"
BROKEN_VALUES = """
workers:
  minReplicas: 0
  maxReplicas: 4
  resources: {requests: {cpu: "4"}, limits: {cpu: "4"}}
  tolerations: [{key: pool, opertor: Exists, effect: NoSchedule}]
"""
GIVEN: dict[str, Any] = {
    "settings": {
        "store": {"store": "s3://bucket/fleetcast", "storage_options": {"AWS_REGION": "eu-central-1"}},
        "workers": {"num_workers": 16, "cpus_per_worker": 2},
    },
    "gpuWorkers": {"maxReplicas": 2, "nodeSelector": {"pool": "gpu"}},
    "secrets": {"store": "store-keys", "connections": "connections"},
}


def render(**changes: Any) -> dict[str, dict[str, Any]]:
    """Render the chart; returns its objects by kind."""
    with helm_python.Chart.load(str(FOLDER)) as chart:
        texts = chart.render({**copy.deepcopy(GIVEN), **changes}, name="fc", namespace="forecasts")
    rendered = [each for text in texts.values() for each in yaml.safe_load_all(text) if each]
    return {each["kind"]: each for each in rendered}


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, Any]]:
    return render()


def pods(objects: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    cluster = objects["RayCluster"]["spec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]


def find_problems(cluster: Mapping[str, Any]) -> list[str]:
    """List what KubeRay's definition refuses, each with its place."""
    found = make_validator(KUBERNETES).iter_errors(cluster)
    return sorted(f"{problem.json_path}: {problem.message}" for problem in found)


def test_lint_finds_nothing_but_that_the_store_must_be_given():
    messages = helm_python.lint(str(FOLDER))["messages"]
    assert {
        line for each in messages if each["severity"] > 1 for line in each["error"].splitlines() if "- at" in line
    } == {"- at '/settings/store': missing property 'store'"}


@pytest.mark.parametrize("changes", [{}, {"gpuWorkers": {}, "secrets": {}}])
def test_ray_cluster_conforms_to_the_whole_definition_of_kuberay(changes):
    assert find_problems(render(**changes)["RayCluster"]) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda spec: spec.update(headGroup={}),
            "$.spec: Additional properties are not allowed ('headGroup' was unexpected)",
        ),
        (lambda spec: spec.pop("headGroupSpec"), "$.spec: 'headGroupSpec' is a required property"),
        (lambda spec: spec.update(rayVersion=2.6), "$.spec.rayVersion: 2.6 is not of type 'string'"),
        (
            lambda spec: spec["autoscalerOptions"].update(version="v3"),
            "$.spec.autoscalerOptions.version: 'v3' is not one of",
        ),
        (
            lambda spec: spec["autoscalerOptions"]["securityContext"].update(runasroot=True),
            "'runasroot' was unexpected",
        ),
        (
            lambda spec: spec["workerGroupSpecs"][0].pop("minReplicas"),
            r"workerGroupSpecs[0]: 'minReplicas' is a required",
        ),
        (lambda spec: spec["headGroupSpec"]["rayStartParams"].update(port=1), "rayStartParams.port: 1 is not of type"),
        (lambda spec: spec["headGroupSpec"]["template"]["spec"].update(containres=[]), "'containres' was unexpected"),
    ],
)
def test_ray_cluster_that_kuberay_would_refuse_is_found(change, problem):
    cluster = render()["RayCluster"]
    change(cluster["spec"])
    (found,) = find_problems(cluster)
    assert problem in found


def test_values_file_that_passes_the_schema_of_values_but_not_kuberay_is_refused():
    (found,) = find_problems(render(**yaml.safe_load(BROKEN_VALUES))["RayCluster"])
    assert found.startswith("$.spec.workerGroupSpecs[0].template.spec.tolerations[0]: Additional properties are not")
    assert "'opertor' was unexpected" in found


@pytest.mark.parametrize("kind", ["ConfigMap", "NetworkPolicy"])
def test_kubernetes_accepts_the_other_objects_and_refuses_a_misspelt_field(objects, kind):
    kubernetes_validate.validate(objects[kind], KUBERNETES, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError, match="speck"):
        kubernetes_validate.validate(objects[kind] | {"speck": {}}, KUBERNETES, strict=True)


def test_pods_are_not_root_and_mount_what_they_need_to_write(objects):
    found = list(pods(objects))
    assert len(found) == 3
    for template in found:
        spec, (container,) = template["spec"], template["spec"]["containers"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"startupProbe", "readinessProbe", "livenessProbe"} < set(container)
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounts) == {volume["name"] for volume in spec["volumes"]}
        variables = {each["name"]: each["value"] for each in container["env"]}
        assert variables == {
            SETTINGS_FILE_VARIABLE: f"{mounts['settings']}/settings.toml",
            "FLEETCAST_CONNECTIONS": mounts["connections"],
        }


def test_settings_are_what_the_code_reads(objects, tmp_path, monkeypatch):
    sections = (Settings, WorkerSettings, FleetSettings)
    for name in {name for section in sections for name in section.model_fields}:
        monkeypatch.delenv(f"FLEETCAST_{name.upper()}", raising=False)
    path = tmp_path / "settings.toml"
    path.write_text(objects["ConfigMap"]["data"]["settings.toml"])
    monkeypatch.setenv(SETTINGS_FILE_VARIABLE, str(path))
    written = tomllib.loads(path.read_text())
    for section in sections:
        loaded = section.load()
        assert {name: getattr(loaded, name) for name in written[section.section]} == written[section.section]
    assert WorkerSettings.load().num_workers == 16
    declared = json.loads((FOLDER / "values.schema.json").read_text())["properties"]["settings"]["properties"]
    known = {section.section: set(section.model_fields) for section in sections}
    # Pods read connections from a mounted secret, and only Airflow calls the Jobs API and keeps specs.
    assert {name: set(each["properties"]) for name, each in declared.items()} == {
        "store": known["store"] - {"connections"},
        "workers": known["workers"] - {"last_good", "ray_jobs_url"},
        "fleet": known["fleet"],
    }


def test_only_airflow_reaches_the_jobs_api_and_only_ray_reaches_the_rest(objects):
    policy = objects["NetworkPolicy"]["spec"]
    own = {"podSelector": {"matchLabels": {"ray.io/cluster": objects["RayCluster"]["metadata"]["name"]}}}
    among, airflow = policy["ingress"]
    assert policy["podSelector"] == own["podSelector"]
    assert policy["policyTypes"] == ["Ingress"]
    assert among == {"from": [own]}
    assert airflow["ports"] == [{"protocol": "TCP", "port": 8265}]
    assert all({"namespaceSelector", "podSelector"} == set(each) for each in airflow["from"])


def test_prometheus_operator_gets_the_pods_and_the_rules_where_it_is_there(objects):
    assert not {"PodMonitor", "PrometheusRule"} & set(objects)
    found = render(monitoring={"enabled": True, "labels": {"release": "prometheus"}, "namespace": "observed"})
    rules = yaml.safe_load((FOLDER.parent / "monitoring" / "rules.yml").read_text())
    assert found["PrometheusRule"]["spec"] == rules
    monitor = found["PodMonitor"]["spec"]
    assert monitor["selector"] == {"matchLabels": {"ray.io/cluster": "fc"}}
    (endpoint,) = monitor["podMetricsEndpoints"]
    for template in pods(found):
        ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
        assert ports[endpoint["port"]] == 8080
    opened = found["NetworkPolicy"]["spec"]["ingress"][-1]
    assert opened["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert opened["from"][0]["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "observed"}
    assert {each["metadata"]["labels"]["release"] for each in (found["PodMonitor"], found["PrometheusRule"])} == {
        "prometheus"
    }
    kubernetes_validate.validate(found["NetworkPolicy"], KUBERNETES, strict=True)


def test_gpu_group_is_left_out_until_it_may_have_a_worker():
    def groups(**given: Any) -> list[str]:
        return [group["groupName"] for group in render(**given)["RayCluster"]["spec"]["workerGroupSpecs"]]

    assert groups() == ["cpu", "gpu"]
    assert groups(gpuWorkers={}) == ["cpu"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": {}}, "missing property 'store'"),
        ({"settings": {"store": {"store": "/data"}}}, "does not match pattern"),
        ({"settings": GIVEN["settings"] | {"workers": {"shard_sise": 3}}}, "shard_sise"),
        ({"settings": {"store": {"store": "s3://b", "storage_options": {"AWS_SECRET_ACCESS_KEY": "x"}}}}, "SECRET"),
        ({"image": {"repository": "fleetcast-worker", "tag": "latest"}}, "tag"),
        ({"worker": {}}, "additional properties 'worker'"),
    ],
)
def test_values_that_the_schema_does_not_have_are_refused(changes, message):
    with pytest.raises(helm_python.HelmError, match=re.escape(message)):
        render(**changes)


def test_no_secret_is_in_the_chart(objects):
    assert "Secret" not in objects
    values = yaml.safe_load((FOLDER / "values.yaml").read_text())
    assert values["secrets"] == {"rayToken": "fleetcast-ray-token", "store": "", "connections": ""}


def test_version_of_ray_is_the_one_that_is_installed():
    from importlib.metadata import version

    assert yaml.safe_load((FOLDER / "values.yaml").read_text())["rayVersion"] == version("ray")
