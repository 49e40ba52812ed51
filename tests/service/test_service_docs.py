"""docs/service.md: its commands run, its tables say what there is, and its figures are those that were measured."""

import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from typer.testing import CliRunner

from benchmark_modules import benchmark
from crossreid.cli.app import app
from crossreid.galleries import add_folder, open_gallery
from crossreid.inference.open_model import open_model
from crossreid.service.configuration import ServiceOptions
from crossreid.service.keys import ROLES
from crossreid.service.uploads import FORMATS
from forked import Forked, command, text_of
from served import PLAIN, make_place
from served_command import answered, certificate, free_port  # noqa: F401
from watched import make_watch

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
RESULT = ROOT / "benchmarks" / "results" / "search_service_cpu.json"
LINES = [line for block in re.findall(r"^```bash\n(.*?)^```", PAGE, flags=re.M | re.S) for line in block.splitlines()]


@pytest.fixture(scope="module")
def desk(tmp_path_factory, certificate):  # noqa: F811
    """A folder as the page's reader has it: a run, a world called data, a gallery, a certificate, a query."""
    folder = tmp_path_factory.mktemp("desk")
    place = make_place(folder / "made", "baseline")
    (folder / "runs").mkdir()
    place.run.rename(folder / "runs" / "vd")
    place.world.rename(folder / "data")
    model = open_model(folder / "runs" / "vd")
    with open_gallery(folder / "crops", model=model.fingerprint, dimension=model.dimension) as gallery:
        add_folder(gallery, folder / "made" / "embeddings")
        (first,) = gallery.sample(1)
        first = type(first)(first.embedding, "image-1", "p", 3)
        gallery.add([first])
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_bytes((certificate / name).read_bytes())
    (folder / "query.jpg").write_bytes(next((folder / "data").glob("images/*/*.jpg")).read_bytes())
    return folder


def test_every_command_of_the_page_runs(desk, monkeypatch):
    monkeypatch.chdir(desk)
    keys, served, asked = {}, 0, 0
    for line in LINES:
        words = shlex.split(line)
        if words[0] == "pip":
            assert words == ["pip", "install", "crossreid[serve]"]
        elif "--watch" in words or words[3:4] in (["guard"], ["reviewer"]):
            continue  # below
        elif "http://milvus:19530" in words:
            continue  # in tests/service/test_workers.py
        elif words[:3] == ["crossreid", "keys", "add"]:
            keys[words[3]] = CliRunner().invoke(app, words[1:]).output.strip()
        elif words[:2] == ["crossreid", "serve"]:
            secure = "--tls-key" in words
            port, log = free_port(), desk / f"log {served}"
            running = Forked(command, *words[1:], "--port", port, log=log)
            try:
                url = f"http{'s' if secure else ''}://127.0.0.1:{port}"
                answered(f"{url}/v1/health", verify=False)
                headers = {"Authorization": f"Bearer {keys['desk']}"} if secure else {}
                about = httpx.get(f"{url}/v1/about", headers=headers, verify=False).json()
                assert about["retention_days"] == (30 if secure else None)
            finally:
                running.send_signal(signal.SIGINT)
                assert running.wait() == 130, text_of(log)
            served += 1
        else:
            assert words[0] == "curl", line
            asked += 1
    assert (served, asked, set(keys)) == (2, 4, {"desk", "camera-3"})
    removed = ["keys", "remove", "desk", "--file", "keys.json"]
    assert shlex.join(["crossreid", *removed]) in PAGE
    assert CliRunner().invoke(app, removed).exit_code == 0


def test_the_commands_of_a_watch_serve_it_to_those_who_may(desk, monkeypatch):
    monkeypatch.chdir(desk)
    make_watch(desk / "night", desk / "data")
    lines = [shlex.split(line) for line in LINES if line.startswith("crossreid")]
    keys = {
        words[3]: CliRunner().invoke(app, words[1:]).output.strip()
        for words in lines
        if words[3] in ("guard", "reviewer")
    }
    (serve,) = [words for words in lines if "--watch" in words]
    port = free_port()
    running = Forked(command, *serve[1:], "--port", port)
    try:
        answered(f"http://127.0.0.1:{port}/v1/health")
        assert PLAIN.get(f"http://127.0.0.1:{port}/watch").status_code == 200
        for name, (looks, merges, searches) in {"guard": (200, 403, 403), "reviewer": (200, 409, 403)}.items():
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {keys[name]}"}, verify=False
            ) as client:
                assert client.get("/v1/watch/timeline").status_code == looks
                assert client.post("/v1/watch/merge", json={"into": "g1", "other": "g1"}).status_code == merges
                assert client.get("/v1/sample").status_code == searches
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_what_curl_asks_is_answered(desk, monkeypatch):
    monkeypatch.chdir(desk)
    file = "curl.json"
    for role in ROLES:
        made = CliRunner().invoke(app, ["keys", "add", role, "--file", file, "--role", role])
        monkeypatch.setenv(role.upper(), made.output.strip())
    port = free_port()
    monkeypatch.setenv("URL", f"http://127.0.0.1:{port}")
    running = Forked(command, "serve", "runs/vd", "crops", "--keys", file, "--port", port)
    try:
        answered(f"http://127.0.0.1:{port}/v1/health")
        answers = []
        for line in LINES:
            if line.startswith("curl"):
                done = subprocess.run(
                    ["bash", "-c", f"{line} --silent --fail-with-body"], capture_output=True, text=True
                )
                assert done.returncode == 0, done.stdout + done.stderr
                answers.append(json.loads(done.stdout))
    finally:
        running.send_signal(signal.SIGINT)
        running.wait()
    enrolled, by_image, by_id, deleted = answers
    assert len(enrolled["ids"]) == 1
    assert {match["entry"]["modality"] for match in by_image["matches"]} == {"visible"}
    assert len(by_image["matches"]) == len(by_id["matches"]) == 5
    assert {match["entry"]["camera"] for match in by_id["matches"]} <= {3, 4}
    assert deleted == {"deleted": 0}


def test_limits_and_routes_are_as_they_are(desk):
    defaults = ServiceOptions()
    assert f"({defaults.rate:g}, reads ten times that)" in PAGE
    assert f"`--max-bytes` ({defaults.max_bytes // 10**6} MB)" in PAGE
    assert f"`--max-pixels` ({defaults.max_pixels // 10**6} million)" in PAGE
    assert f"`--retain-audit-days` ({defaults.retain_audit_days})" in PAGE
    assert f"`--seconds` ({defaults.seconds:g} each)" in PAGE
    assert f"`max_images` ({defaults.max_images} of a request), `max_k` ({defaults.max_k})" in PAGE
    assert f"`in_flight` ({defaults.in_flight} requests" in PAGE
    assert f"`answer_seconds` ({defaults.answer_seconds:g}," in PAGE
    assert f"`batch_wait` ({defaults.batch_wait} s" in PAGE
    assert (defaults.retain_days, defaults.keep_images, defaults.compact_hours) == (None, False, 1)
    assert f"no {', '.join(FORMATS[:-1]).replace('WEBP', 'WebP')} or {FORMATS[-1]}" in PAGE
    from crossreid.service.application import create_app
    from crossreid.service.search_service import SearchService

    model = open_model(desk / "runs" / "vd")
    with open_gallery(desk / "crops", model=model.fingerprint, read_only=True) as gallery:
        service = SearchService(model, gallery, ServiceOptions(state=desk / "state"))
        document = create_app(service, None).app.openapi()
        service.close()
    told = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}
    named = {path for _, path in told}
    assert {path for path in named if f"{path}`" in PAGE or f"{path}?" in PAGE} == named
    fields = document["components"]["schemas"]
    for schema in ("Body_search_images_v1_search_images_post", "SearchIds", "Body_enrol_v1_entries_post"):
        for field in fields[schema]["properties"]:
            assert f"`{field}`" in PAGE, field


def test_figures_are_those_that_were_measured(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    measured = json.loads(RESULT.read_text(encoding="utf-8"))
    assert {(row["clients"], row["errors"], row["wrong"]) for row in measured["rows"]} == {(32, 0, 0)}
    assert min(row["seconds"] for row in measured["rows"]) >= 60
    table = runpy.run_path(str(ROOT / "benchmarks" / "service_load.py"))["markdown"](measured)
    assert table in PAGE, "put into docs/service.md what benchmarks/search.py service prints"


def forked(words, *, stdout, stderr, cwd):
    """`subprocess.Popen` of a command of crossreid, in a fork: what it imports, this process has already."""
    assert words[:3] == [sys.executable, "-m", "crossreid"]
    assert stdout is stderr
    return Forked(command, *words[3:], log=Path(cwd) / stdout.name)


@pytest.mark.slow
def test_the_benchmark_runs(tmp_path, monkeypatch, capsys):
    # Beside other tests, threads of torch wait for each other in a loop.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    began = time.time()
    result = tmp_path / "result.json"
    arguments = ["--network", "demo", "--runtime", "torch", "--clients", "4", "--seconds", "0.4", "--entries", "60"]
    with benchmark(monkeypatch, "service_load") as script:
        monkeypatch.setattr(script, "subprocess", SimpleNamespace(Popen=forked))
        monkeypatch.setattr(
            sys, "argv", ["search.py", "service", *arguments, "--folder", str(tmp_path), "--json", str(result)]
        )
        runpy.run_path(str(ROOT / "benchmarks" / "search.py"), run_name="__main__")
    assert "| demo, 80 x 40 | torch, 32 |" in capsys.readouterr().out
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    assert [row["batch"] for row in rows] == [32]
    for row in rows:
        assert (row["errors"], row["wrong"]) == (0, 0)
        assert row["requests"] >= 4, "one of each client, at least"
        assert 0 < row["p50 ms"] <= row["p99 ms"] < 1e3 * (time.time() - began)
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
