"""`crossreid serve` and `crossreid keys` as a person runs them: what is refused, and a service from its start to Ctrl-C."""

import os
import signal
import socket
import ssl

import httpx
import pytest
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.errors import CrossreidError
from crossreid.service.endpoint import Endpoint, is_loopback
from crossreid.service.keys import add_key
from crossreid.service.startup import refuse_open_door
from forked import Forked, command, text_of
from served import make_place
from served_command import answered, certificate, free_port  # noqa: F401


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"), "baseline")


def test_keys_are_made_listed_and_taken_back(tmp_path):
    file = str(tmp_path / "keys.json")
    made = CliRunner().invoke(app, ["keys", "add", "desk", "--file", file, "--role", "search", "--days", "30"])
    assert made.exit_code == 0
    assert made.output.startswith("crossreid_")
    CliRunner().invoke(app, ["keys", "add", "door", "--file", file, "--role", "enrol", "--role", "search"])
    lines = CliRunner().invoke(app, ["keys", "list", "--file", file]).output.splitlines()
    assert lines[0].startswith("desk: search, made 20")
    assert ", until 20" in lines[0]
    assert lines[1].startswith("door: search, enrol, made")
    assert lines[1].endswith("without end")
    assert CliRunner().invoke(app, ["keys", "remove", "desk", "--file", file]).exit_code == 0
    assert len(CliRunner().invoke(app, ["keys", "list", "--file", file]).output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "who may use"),
        (["--insecure", "--host", "0.0.0.0"], "this machine only"),
        (["--insecure", "--keys", "keys.json"], "contradict"),
        (["--keys", "none.json"], "crossreid keys add"),
        (["--insecure", "--images", "nowhere"], "expected a folder"),
        (["--insecure", "--tls-key", "key.pem"], "--tls-certificate"),
        (["--insecure", "--engine", "tensorrt"], "expected torch, onnx, openvino or torch-export"),
        (["--insecure", "--engine", "onnx", "--runtime", "torch"], "both are the same option"),
        (["--insecure", "--runtime", "onnx"], "crossreid export"),
        (["--insecure", "--engine", "openvino"], "--to openvino"),
        (["--insecure", "--retain-days", "-1"], "retain_days"),
        (["--insecure", "--retain-days", "36501"], "retain_days"),
        (["--insecure", "--set", "retain_audit_days=1000000"], "retain_audit_days"),
        (["--insecure", "--set", "batch=["], "is not a YAML value"),
        (["--insecure", "--set", "max_k=0"], "max_k = 0"),
        (["--insecure", "--set", "colour=red"], "expected KEY=VALUE, of images, state"),
        (["--insecure", "--set", "max_k"], "--set 'max_k': expected KEY=VALUE, of images, state"),
        (["--insecure", "--set", "max_k=2026-13-45"], "is not a YAML value"),
        (["--keys", "KEYS", "--host", "ö..b"], "expected an address or a name"),
        (["--insecure", "--device", "cuda:99"], "no usable GPU"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_is_opened(place, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    if message == "no usable GPU" and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        pytest.skip("there may be a GPU")
    add_key(tmp_path / "KEYS", "desk", ["search"])
    command = ["serve", str(place.run), str(tmp_path / "gallery"), "--port", str(free_port()), *arguments]
    result = CliRunner().invoke(app, command)
    assert result.exit_code != 0
    assert message in str(result.exception)
    assert isinstance(result.exception, CrossreidError)
    assert not (tmp_path / "gallery").exists()


def test_another_models_gallery_and_an_address_that_is_taken_are_refused(place, tmp_path):
    other = make_place(tmp_path / "other", "variational_distillation")
    result = CliRunner().invoke(
        app, ["serve", str(other.run), str(place.gallery), "--insecure", "--port", str(free_port())]
    )
    assert "they cannot be compared" in str(result.exception)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["serve", str(place.run), str(place.gallery), "--insecure", "--port", port])
    assert "choose another --port" in str(result.exception)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False),
     ("192.168.1.4", False), ("localhost.example", False), ("", False)],
)  # fmt: skip
def test_who_is_on_this_machine(host, loopback):
    assert is_loopback(host) is loopback
    if loopback:
        refuse_open_door(Endpoint(host), None, insecure=True)
    else:
        with pytest.raises(ValueError, match="this machine only"):
            refuse_open_door(Endpoint(host), None, insecure=True)


def test_a_service_with_keys_and_a_certificate_from_start_to_ctrl_c(place, tmp_path, certificate):  # noqa: F811
    keys, port, log = tmp_path / "keys.json", free_port(), tmp_path / "log"
    key = CliRunner().invoke(app, ["keys", "add", "desk", "--file", str(keys), "--role", "admin"]).output.strip()
    gallery = tmp_path / "new" / "gallery"  # made by the service
    running = Forked(
        command, "serve", place.run, gallery, "--keys", keys, "--port", port, "--retain-days", "30", "--keep-images",
        "--tls-certificate", certificate / "cert.pem", "--tls-key", certificate / "key.pem", log=log,
    )  # fmt: skip
    try:
        trusted = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        url = f"https://127.0.0.1:{port}"
        assert answered(f"{url}/v1/health", verify=trusted).json() == {"status": "ok"}
        path = place.images[0]
        with httpx.Client(
            base_url=url, verify=trusted, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as client:
            made = client.post("/v1/entries", files=[("images", (path.name, path.read_bytes()))], data={"id": "one"})
            assert made.json() == {"ids": ["one"]}
            assert client.get("/v1/about").json()["retention_days"] == 30
        assert httpx.get(f"{url}/v1/stats", verify=trusted).status_code == 401
    finally:
        running.send_signal(signal.SIGINT)
        status = running.wait(30)
    text = text_of(log)
    assert status == 130
    assert "Traceback" not in text
    assert f"serving https://127.0.0.1:{port} until Ctrl-C" in text
    assert key not in text
    stats = CliRunner().invoke(app, ["gallery", "stats", str(gallery)])  # not locked any more, and whole
    assert "entries: 1\n" in stats.output
    assert "preprocessing: height 48, width 32, interpolation" in stats.output
    assert (tmp_path / "new" / "gallery.service" / "images.sqlite").is_file()


def test_what_was_acknowledged_survives_a_kill(place, tmp_path):
    port, log, gallery = free_port(), tmp_path / "log", tmp_path / "gallery"
    arguments = ("serve", place.run, gallery, "--insecure", "--port", port, "--rate", "0")
    running = Forked(command, *arguments, log=log)
    url = f"http://127.0.0.1:{port}"
    answered(f"{url}/v1/health")
    path = place.images[0]
    acknowledged = []
    with httpx.Client(base_url=url, timeout=30) as client:
        for number in range(12):
            name = f"entry {number}"
            answer = client.post("/v1/entries", files=[("images", (path.name, path.read_bytes()))], data={"id": name})
            acknowledged += answer.json()["ids"]
    running.send_signal(signal.SIGKILL)
    running.wait()
    again = Forked(command, *arguments, log=log)
    try:
        answered(f"{url}/v1/health")
        assert httpx.get(f"{url}/v1/stats").json()["entries"] == len(acknowledged) == 12
        assert httpx.get(f"{url}/v1/entry", params={"id": acknowledged[-1]}).status_code == 200
    finally:
        again.send_signal(signal.SIGTERM)
        again.wait(30)
