"""deploy/compose.yaml: what the specification takes, guarded, with nothing that works by default where a person must decide."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from crossreid.cli.app import app

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
ASKED = re.findall(r"\$\{(\w+):\?", TEXT)


def given(text):
    """With every variable filled in: asked for ones by their lower-case names, others by their defaults."""
    return re.sub(r"\$\{(\w+):([?-])([^}]*)\}", lambda m: m[3] if m[2] == "-" else m[1].lower(), text)


def test_the_specification_takes_it():
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    subprocess.run([*command, DEPLOY / "compose.yaml"], check=True, capture_output=True)


def test_what_a_person_decides_has_no_default():
    example = [
        line for line in (DEPLOY / "compose.env.example").read_text(encoding="utf-8").splitlines() if line[:1] != "#"
    ]
    assert {line.rstrip("=") for line in example} == set(ASKED)
    assert all(line.endswith("=") for line in example)
    secret = re.compile(r"(?i)(password|secret|token)")
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if secret.search(key):
                assert re.search(r"\$\{\w+:\?", value), f"{name}: {key}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_guarded_and_limited(name):
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["pids_limit"]
    assert not service.get("privileged")
    assert service.get("read_only") or name in ("milvus", "minio")  # whose images write beside their volumes
    assert re.search(r":[\w.-]*\d[\w.-]*$", given(service["image"])), "an exact version"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    for volume in service.get("volumes", []):
        if volume["type"] == "volume":
            assert volume["source"] in COMPOSE["volumes"]
        elif volume["source"].startswith("."):
            assert (DEPLOY / volume["source"]).exists()
            assert volume["read_only"]
    for other in service.get("depends_on", {}):
        assert other in SERVICES


def test_networks_are_apart():
    networks = {name: set(service.get("networks", [])) for name, service in SERVICES.items()}
    assert {name for name, where in networks.items() if "storage" in where} == {"milvus", "etcd", "minio"}
    assert networks["etcd"] == networks["minio"] == {"storage"}
    assert {name for name, where in networks.items() if "gallery" in where} == {"service", "milvus"}
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert {name for name, where in networks.items() if "front" in where} == published
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {"front"}


def test_the_service_is_started_as_its_command_line_takes_it():
    arguments = [given(each).replace("retain_days", "30") for each in SERVICES["service"]["command"]]
    params = get_command(app).commands["serve"].make_context("serve", arguments[1:]).params
    assert (str(params["run"]), params["gallery"], str(params["keys"])) == (
        "/model",
        "http://milvus:19530",
        "/keys/keys.json",
    )
    assert (params["host"], params["port"], params["retain_days"]) == ("0.0.0.0", 8000, 30)
    targets = {volume["target"] for volume in SERVICES["service"]["volumes"]}
    assert {"/model", "/keys", str(params["state"])} <= targets


def test_keys_are_a_folder_that_only_what_makes_them_may_write():
    """A file that is mounted by itself stays as it was when another takes its place."""
    mounts = {
        name: next(volume for volume in SERVICES[name]["volumes"] if volume["source"] == "keys")
        for name in ("service", "keys")
    }
    assert mounts["service"]["read_only"]
    assert not mounts["keys"].get("read_only")
    assert SERVICES["keys"]["profiles"] == ["tools"]
    assert SERVICES["keys"]["network_mode"] == "none"
