"""deploy/chart: what it makes of values is what Kubernetes takes, guarded, and what cannot be is refused."""

import copy
import shutil
import subprocess
import time

import jsonschema
import kubernetes_validate
import numpy as np
import pytest
import yaml
from typer.main import get_command

from charts import CHART, DEFAULTS, EVERYTHING, MINIMAL, NEEDED, SCHEMA, Refused, built, go, manifests, merged, rendered
from crossreid.cli.app import app
from crossreid.galleries import Entry, open_gallery
from milvus_server import milvus_at
from typed_commands import ran

VALUES = {"needed": NEEDED, "everything": EVERYTHING, "minimal": MINIMAL}
pytestmark = pytest.mark.skipif(go() is None, reason="no Go to render the templates with")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return built(tmp_path_factory.mktemp("renderer"))


@pytest.fixture(scope="module")
def objects(program):
    return {name: manifests(rendered(program, values)) for name, values in VALUES.items()}


@pytest.fixture(params=VALUES)
def of_values(request, objects):
    return objects[request.param]


def workload(objects):
    (found,) = [each for (kind, _), each in objects.items() if kind in ("StatefulSet", "Deployment")]
    return found


def pods(objects):
    """The specification of every pod that is made."""
    made = [workload(objects)["spec"]["template"]]
    made += [
        each["spec"]["jobTemplate"]["spec"]["template"] for (kind, _), each in objects.items() if kind == "CronJob"
    ]
    return made


def containers(objects):
    return [
        each for pod in pods(objects) for each in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]
    ]


@pytest.mark.parametrize("version", ["1.33", "1.35"])
def test_kubernetes_takes_every_object(of_values, version):
    for (kind, _), each in of_values.items():
        if kind != "ServiceMonitor":  # a resource of Prometheus's operator
            kubernetes_validate.validate(copy.deepcopy(each), version, strict=True)


def test_the_kinds_are_those_that_were_asked_for(objects):
    always = {"ServiceAccount", "Service"}
    guarded = {"NetworkPolicy", "PodDisruptionBudget", "CronJob"}
    optional = {"Ingress", "HorizontalPodAutoscaler", "ServiceMonitor"}
    kinds = {name: {kind for kind, _ in found} for name, found in objects.items()}
    assert kinds["needed"] == always | guarded | {"StatefulSet"}
    assert kinds["everything"] == always | guarded | optional | {"Deployment"}
    assert kinds["minimal"] == always | {"StatefulSet"}


def test_every_pod_is_nobody_and_writes_to_its_volumes_only(of_values):
    for pod in pods(of_values):
        security = pod["spec"]["securityContext"]
        assert (security["runAsNonRoot"], security["runAsUser"]) == (True, 10001)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers(of_values):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]


def test_every_mount_has_its_volume_and_every_volume_is_mounted(of_values):
    for pod in pods(of_values):
        spec = pod["spec"]
        volumes = {each["name"] for each in spec["volumes"]}
        if spec is workload(of_values)["spec"]["template"]["spec"]:
            volumes |= {
                each["metadata"]["name"] for each in workload(of_values)["spec"].get("volumeClaimTemplates", [])
            }
        made = [*spec["containers"], *spec.get("initContainers", [])]
        assert {mount["name"] for container in made for mount in container["volumeMounts"]} == volumes


def test_selectors_select_the_pods_and_nothing_else(of_values):
    service = workload(of_values)["spec"]["template"]["metadata"]["labels"]
    assert workload(of_values)["spec"]["selector"]["matchLabels"].items() <= service.items()
    for (kind, _), each in of_values.items():
        if kind == "Service":
            assert each["spec"]["selector"].items() <= service.items()
            assert {port["targetPort"] for port in each["spec"]["ports"]} == {"http"}
    retained = [pod["metadata"]["labels"] for pod in pods(of_values)[1:]]
    for labels in retained:  # requests do not go to what deletes
        assert not workload(of_values)["spec"]["selector"]["matchLabels"].items() <= labels.items()
    policies = [each for (kind, _), each in of_values.items() if kind == "NetworkPolicy"]
    for policy in policies:
        for labels in (service, *retained):
            assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_service_is_started_as_its_command_line_takes_it(of_values):
    serve = get_command(app).commands["serve"]
    (container,) = workload(of_values)["spec"]["template"]["spec"]["containers"]
    arguments = [str(each) for each in container["args"]]
    assert all(isinstance(each, str) for each in container["args"])
    context = serve.make_context("serve", arguments[1:])
    assert arguments[0] == "serve"
    assert context.params["port"] == container["ports"][0]["containerPort"]
    assert context.params["gallery"].endswith((":19530", ":443"))
    assert context.params["retain_days"] is None  # the CronJob does it, once for all replicas


def test_what_was_asked_for_reaches_the_service(objects):
    spec = workload(objects["everything"])["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    params = get_command(app).commands["serve"].make_context("serve", container["args"][1:]).params
    assert (str(params["run"]), params["collection"], params["engine"], params["rate"]) == (
        "/model/vd",
        "people",
        "onnx",
        5.5,
    )
    assert (params["proxy"], params["unknown_below"], params["override"]) == ("10.0.0.7", 0.9, ["max_k=50"])
    assert str(params["tls_certificate"]) == "/tls/tls.crt"
    assert {container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")} == {
        "HTTPS"
    }
    assert container["image"] == f"registry.test/crossreid@sha256:{'0' * 64}"
    assert "replicas" not in workload(objects["everything"])["spec"]  # the autoscaler's to say
    monitor = objects["everything"]["ServiceMonitor", "prod-crossreid"]["spec"]["endpoints"][0]
    assert monitor["authorization"] == {"type": "Bearer", "credentials": {"name": "prometheus-key", "key": "key"}}


def test_retention_asks_the_same_gallery(objects, tmp_path):
    job = objects["everything"]["CronJob", "prod-crossreid-retention"]["spec"]
    (container,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == [
        "gallery",
        "expire",
        "https://milvus.test:443",
        "--days",
        "0.5",
        "--collection",
        "people",
    ]
    assert job["concurrencyPolicy"] == "Forbid"
    serving = workload(objects["everything"])["spec"]["template"]["spec"]["containers"][0]
    assert container["env"] == serving["env"]
    assert container["image"] == serving["image"]
    with milvus_at(tmp_path) as address:
        with open_gallery(address, model="5e1f" * 16, dimension=4, collection="people") as gallery:
            taken = {"yesterday": time.time() - 86_400, "now": time.time(), "undated": None}
            gallery.add([Entry(np.ones(4, np.float32), name, time=when) for name, when in taken.items()])
        arguments = [address if each == "https://milvus.test:443" else each for each in container["args"]]
        assert "1 expired, 2 entries" in ran(*arguments)
        assert "0 expired, 2 entries" in ran(*arguments)


def test_traffic_leaves_for_milvus_and_names_only(objects):
    for name, port in (("needed", 19530), ("everything", 443)):
        egress = objects[name]["NetworkPolicy", "prod-crossreid"]["spec"]["egress"]
        assert [[each["port"] for each in rule["ports"]] for rule in egress] == [[53, 53], [port]]
    assert egress[1]["to"] == [
        {
            "podSelector": {"matchLabels": {"app": "milvus"}},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "milvus"}},
        }
    ]


def test_the_audit_log_outlives_its_pod_unless_told_otherwise(program, objects):
    spec = workload(objects["needed"])["spec"]
    assert spec["volumeClaimTemplates"][0]["metadata"]["name"] == "state"
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    notes = rendered(program, {**NEEDED, "audit": {"persistent": False}})["NOTES.txt"]
    assert "deleted with its pod" in notes
    assert "deleted with its pod" not in rendered(program, NEEDED)["NOTES.txt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"milvus": {"address": ""}}, "milvus.address"),
        ({"milvus": {"address": "milvus:19530"}}, "$.milvus.address"),
        ({"milvus": {"address": 'http://m:1\n- "--insecure'}}, "$.milvus.address"),
        ({"milvus": {"collection": "a b"}}, "$.milvus.collection"),
        ({"milvus": {"tokenSecret": {"name": ""}}}, "milvus.tokenSecret.name"),
        ({"keysSecret": ""}, "keysSecret"),
        ({"keysSecret": "a\nb"}, "$.keysSecret"),
        ({"model": {"existingClaim": ""}}, "exactly one"),
        ({"model": {"imageVolume": {"reference": "x:1"}}}, "exactly one"),
        ({"model": {"path": "../../keys"}}, "$.model.path"),
        ({"model": {"path": "/etc"}}, "$.model.path"),
        ({"model": {"existingClaim": "", "initImage": {"reference": "x:1"}}}, "initImage.command"),
        ({"retention": {"days": None}}, "retention.days"),
        ({"retention": {"days": 0}}, "$.retention.days"),
        ({"retention": {"days": "30; rm -r /"}}, "$.retention.days"),
        ({"retention": {"schedule": "now"}}, "$.retention.schedule"),
        ({"replicas": 0}, "$.replicas"),
        ({"replicas": "2"}, "$.replicas"),
        ({"replica": 2}, "replica"),
        ({"image": {"tag": "a b"}}, "$.image.tag"),
        ({"image": {"digest": "sha256:1"}}, "$.image.digest"),
        ({"service": {"engine": "tensorflow"}}, "$.service.engine"),
        ({"service": {"port": 80}}, "$.service.port"),
        ({"service": {"extraArguments": ["--keep-images"]}}, "--keep-images"),
        ({"service": {"extraArguments": ["--insecure"]}}, "--insecure"),
        ({"service": {"extraArguments": ["--host=::"]}}, "--host"),
        ({"service": {"extraArguments": ["a\nb"]}}, "$.service.extraArguments"),
        ({"ingress": {"enabled": True}}, "ingress.host"),
        ({"ingress": {"enabled": True, "host": "a.test"}}, "ingress.tlsSecret"),
        ({"serviceMonitor": {"enabled": True}}, "serviceMonitor.keySecret"),
        ({"podLabels": {"a": 1}}, "$.podLabels.a"),
        ({"audit": {"size": "much"}}, "$.audit.size"),
    ],
)
def test_what_cannot_be_is_refused_and_named(program, change, said):
    with pytest.raises(Refused) as refused:
        rendered(program, merged(change, merged(NEEDED)))
    assert said in str(refused.value)


def test_texts_stay_texts_whatever_is_in_them(program):
    hostile = "yes: [a] #{{ .Values }} \\ \"quoted\" 'single'"
    values = {**NEEDED, "podAnnotations": {"note": hostile}, "service": {"extraArguments": [hostile, "0123", "null"]}}
    spec = workload(manifests(rendered(program, values)))["spec"]["template"]
    assert spec["metadata"]["annotations"] == {"note": hostile}
    assert spec["spec"]["containers"][0]["args"][-3:] == [hostile, "0123", "null"]


def test_names_of_any_release_fit(program):
    for release in ("crossreid", "a", "x" * 53):
        for _, name in manifests(rendered(program, NEEDED, release)):
            assert len(name) <= 63
            assert "crossreid" in name or release.startswith("x")


def test_the_schema_names_every_value_and_no_other():
    def same(schema, values, where=""):
        if "properties" not in schema:
            return
        assert set(schema["properties"]) - {"global"} == set(values), where
        for key, value in values.items():
            same(schema["properties"][key], value, f"{where}.{key}")

    same(SCHEMA, DEFAULTS)
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    jsonschema.validate(DEFAULTS, SCHEMA)


@pytest.mark.skipif(shutil.which("helm") is None, reason="no helm")
@pytest.mark.parametrize("name", VALUES)
def test_helm_itself_agrees(name, objects, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(VALUES[name]), encoding="utf-8")
    subprocess.run(["helm", "lint", "--strict", CHART, "--values", values], check=True)
    done = subprocess.run(
        ["helm", "template", "prod", CHART, "--namespace", "reid", "--values", values, "--kube-version", "1.33"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert manifests({"all.yaml": done.stdout}) == objects[name]
