"""deploy/Dockerfile and Dockerfile.cuda: linted, alike, and with the parts of them that can run by themselves run."""

import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ["Dockerfile", "Dockerfile.cuda"]
TEXTS = {name: (ROOT / "deploy" / name).read_text(encoding="utf-8") for name in FILES}
LOCK = (ROOT / "requirements-serve.lock").read_text(encoding="utf-8")


def split_lock():
    spec = importlib.util.spec_from_file_location("split_lock", ROOT / "deploy" / "split_lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.split


def command(name):
    """A command of the environment that runs the tests, or of the machine."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@pytest.mark.parametrize("name", FILES)
def test_hadolint_finds_nothing(name):
    done = subprocess.run([command("hadolint"), ROOT / "deploy" / name], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", FILES)
def test_shellcheck_finds_nothing_in_what_is_run(name):
    text = re.sub(r"(?m)^#.*\n", "", TEXTS[name]).replace("\\\n", " ")
    for script in re.findall(r"(?m)^RUN (.*)", text):
        subprocess.run([command("shellcheck"), "--shell=sh", "-"], input=script, text=True, check=True)


def final(name):
    """The instructions of the stage that becomes the image."""
    return TEXTS[name].rpartition("\nFROM ")[2]


@pytest.mark.parametrize("name", FILES)
def test_the_image_is_nobodys_and_says_how_it_is(name):
    stage = final(name)
    assert re.findall(r"(?m)^USER (.*)", stage) == ["10001:10001"]
    assert re.findall(r"(?m)^ENTRYPOINT (.*)", stage) == ['["tini", "--", "crossreid"]']
    assert "HEALTHCHECK" in stage
    assert re.search(r"(?m)^ARG PYTHON=\d+\.\d+\.\d+-slim-bookworm$", TEXTS[name])
    assert "://" not in re.sub(r"(?m)^#.*$", "", TEXTS[name])
    for cache in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TORCH_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        assert f"{cache}=/tmp/" in stage
    (version,) = re.findall(r'(?m)^version = "(.*)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f'image.version="{version}"' in stage


def test_both_images_are_one_but_for_the_driver():
    plain = final("Dockerfile.cuda").replace(
        " NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility", ""
    )
    assert plain == final("Dockerfile")


def test_what_is_copied_reaches_the_builder():
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    copied = set()
    for text in TEXTS.values():
        for line in re.findall(r"(?m)^COPY ((?!--from).*)", text):
            copied |= {word for word in line.split()[:-1] if not word.startswith("--")}
    assert copied == allowed
    assert all((ROOT / path).exists() for path in allowed)


def test_the_lock_is_split_into_torch_and_the_others_without_cuda():
    torch, rest = split_lock()(LOCK)
    pins = set(re.findall(r"(?m)^([\w.-]+)==", LOCK))
    kept = set(re.findall(r"(?m)^([\w.-]+)==", rest))
    assert [line.split("==")[0] for line in torch.splitlines()] == ["torch", "torchvision"]
    assert all(line in LOCK for line in torch.splitlines())
    assert {name.split("-")[0] for name in pins - kept} == {"torch", "torchvision", "triton", "nvidia", "cuda"}
    assert rest.count("--hash=") > 500
    for block in re.split(r"(?m)^(?=[a-z])", rest)[1:]:
        assert block in LOCK
        assert "--hash=sha256:" in block


def test_a_lock_without_torch_is_refused():
    with pytest.raises(SystemExit, match="torch and torchvision"):
        split_lock()("numpy==1.0 \\\n    --hash=sha256:0\n")


class Answering(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v1/health" else 503)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def well(address):
    environment = {"CROSSREID_HEALTH": address, "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / "healthcheck.py"], env=environment, capture_output=True
    ).returncode


def test_the_health_check_tells_well_from_unwell():
    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert well(f"{address}/v1/health") == 0
        assert well(f"{address}/other") == 1
        server.shutdown()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert well(f"http://127.0.0.1:{nobody.getsockname()[1]}/v1/health") == 1
    assert well("no address") == 1
