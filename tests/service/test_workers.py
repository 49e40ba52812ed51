"""`crossreid serve` of a Milvus by its address, by one process and by several: one port, one set of limits and figures, whatever
becomes of a worker, and an end that leaves no request in hand unanswered."""

import contextlib
import json
import multiprocessing
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

import crossreid.service.workers
from crossreid.galleries import open_gallery
from crossreid.galleries.errors import GalleryFault
from crossreid.service.keys import add_key
from forked import Forked, command, text_of
from milvus_server import milvus_at
from served import PLAIN, all_of, files, make_place, within
from served_command import answered, free_port
from typed_commands import ran, refused

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "service.md").read_text(encoding="utf-8")
SERVE, EXPIRE = (
    shlex.split(line)[1:] for line in PAGE.splitlines() if line.startswith("crossreid") and "http://milvus" in line
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"), "baseline")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with milvus_at(tmp_path_factory.mktemp("milvus")) as found:
        yield found


def children_of(parent):
    """Processes and their command lines."""
    listed = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)], capture_output=True, text=True
    ).stdout
    return [(int(process), line) for process, _, line in (line.strip().partition(" ") for line in listed.splitlines())]


def workers_of(parent):
    """The processes of the workers: children of the one that was asked for them."""
    (server,) = [process for process, line in children_of(parent) if "multiprocessing.forkserver" in line]
    return [process for process, _ in children_of(server)]


@pytest.mark.parametrize(
    ("gallery", "workers", "said"),
    [
        ("gallery", "2", "gallery has one writer"),
        ("gallery.db", "2", "gallery.db has one writer"),
        ("http://127.0.0.1:1", "0", "expected 1 to 64"),
        ("http://127.0.0.1:1", "65", "expected 1 to 64"),
    ],
)
def test_several_workers_are_for_clusters_only(capsys, tmp_path, monkeypatch, gallery, workers, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, "serve", "run", gallery, "--insecure", "--workers", workers, "--state", "state")
    assert list(tmp_path.iterdir()) == []


def test_the_process_that_starts_the_workers_needs_no_torch():
    """A third of what a worker takes would be held by one that serves nothing."""
    script = (
        "import sys, crossreid.cli.app, crossreid.service.workers as started; started.refuse_without_extra(); "
        "print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "False\n"


def test_one_process_ends_with_its_requests_answered(place, tmp_path, address):
    door, port, log = add_key(tmp_path / "keys", "door", ["enrol"]), free_port(), tmp_path / "log"
    running = Forked(
        command, "serve", place.run, address, "--collection", "alone", "--keys", tmp_path / "keys", "--port", port,
        "--state", tmp_path / "state", "--seconds", "60", log=log,
    )  # fmt: skip
    answered(f"http://127.0.0.1:{port}/v1/health")
    # Its decoders have started: a service that ends gives what is in hand ten seconds.
    first = PLAIN.post(
        f"http://127.0.0.1:{port}/v1/entries", headers={"Authorization": f"Bearer {door}"},
        files=files(place.images[:1]), data={"id": "first"}, timeout=60,
    )  # fmt: skip
    assert first.status_code == 201, text_of(log)
    _ended_with_requests_in_hand(running, port, door, place, log)
    _has_entries_of_the_last_requests(address, "alone")


def command_of_workers(*words):
    """The command, in a process of its own; a server of forks imports torch once for all of its workers.

    As where they are spawned, they have no thread and no figure of their parent's, and what they are given is pickled.
    """
    forks = multiprocessing.get_context("forkserver")

    def context_of(method=None):
        assert method == "spawn"
        return forks

    forks.set_forkserver_preload(["crossreid.inference.open_by_engine", "crossreid.methods", "fastapi", "pymilvus"])
    crossreid.service.workers.multiprocessing = SimpleNamespace(get_context=context_of)
    command(*words)


@pytest.mark.slow
def test_what_two_workers_serve_is_one_service(place, tmp_path, address):
    key, door = (add_key(tmp_path / "keys", name, ["enrol", "search"]) for name in ("desk", "door"))
    port, log, state = free_port(), tmp_path / "log", tmp_path / "state"
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
    here = {
        "runs/vd": place.run, "http://milvus:19530": address, "keys.json": tmp_path / "keys", "/var/lib/crossreid": state,
        "4": "2", "0.0.0.0": "127.0.0.1",
    }  # fmt: skip
    words = [here.get(word, word) for word in SERVE]
    words += ["--port", port, "--keep-images", "--rate", "2", "--seconds", "60"]
    running = Forked(command_of_workers, *words, log=log)
    try:
        assert within(lambda: "with 2 workers" in text_of(log) or running.poll() is not None, 300), text_of(log)
        assert PLAIN.get(f"{url}/v1/about", headers=headers).json()["workers"] == 2
        _limits_are_one(port, key)
        _a_worker_may_die(running, url, headers, place, log)
        workers = workers_of(running.pid)
        _ended_with_requests_in_hand(running, port, door, place, log)
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
    assert within(lambda: not any(Path(f"/proc/{process}").exists() for process in workers))
    _has_entries_of_the_last_requests(address, "crossreid")
    assert "0 expired" in ran(*[here.get(word, word) for word in EXPIRE])


def _limits_are_one(port, key):
    """Each request on a connection of its own, and several at once, so that either worker may have it."""

    def asked(given):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", "/v1/stats", headers={"Authorization": f"Bearer {given}"})
        status = connection.getresponse().status
        connection.close()
        return status

    for given, passed, rate, burst in ((key, 200, 20, 40), ("no", 401, 0.2, 10)):
        began = time.monotonic()
        with ThreadPoolExecutor(4) as clients:
            statuses = list(clients.map(asked, [given] * (2 * burst + 5)))
        most = burst + rate * (time.monotonic() - began) + 1
        assert burst <= statuses.count(passed) <= most
        assert statuses.count(passed) + statuses.count(429) == len(statuses)


def _a_worker_may_die(running, url, headers, place, log):
    """Enrolling goes on: what was acknowledged is there, once, and figures never fall."""
    acknowledged, lost, over = [], [], threading.Event()

    def enrol(client_number):
        for turn in range(1000):
            if over.is_set():
                return
            id = f"{client_number}-{turn}"
            try:
                answer = PLAIN.post(
                    f"{url}/v1/entries", headers=headers, files=files(place.images[:1]), data={"id": id}, timeout=60
                )
            except httpx.TransportError:
                lost.append(id)
                continue
            if answer.status_code == 201:
                acknowledged.append(id)
            else:
                assert answer.status_code == 429, answer.text
            time.sleep(0.2)  # a worker that starts meanwhile has a processor to start on

    with ThreadPoolExecutor(3) as clients:
        enrolling = [clients.submit(enrol, number) for number in range(3)]
        try:
            assert within(lambda: len(acknowledged) >= 2, 60)
            before = _answers(url, headers)
            os.kill(workers_of(running.pid)[0], signal.SIGKILL)
            assert within(lambda: "ended with status -9; another is started" in text_of(log), 60)
            then = len(acknowledged)
            assert within(lambda: len(acknowledged) >= then + 2, 60)
            assert within(lambda: ") is serving" in text_of(log), 300), text_of(log)
        finally:
            over.set()
    for each in enrolling:
        each.result()
    assert len(lost) <= 3, "no more than were in hand"
    assert len(set(acknowledged)) == len(acknowledged)
    assert len(workers_of(running.pid)) == 2
    assert _answers(url, headers) >= before + 2
    stats = PLAIN.get(f"{url}/v1/stats", headers=headers).json()
    assert len(acknowledged) <= stats["entries"] <= len(acknowledged) + len(lost)
    for id in acknowledged[:3] + acknowledged[-1:]:
        assert within(
            lambda id=id: PLAIN.get(f"{url}/v1/entry", headers=headers, params={"id": id}).status_code == 200, 10
        )


def _ended_with_requests_in_hand(running, port, key, place, log):
    """SIGTERM while the service has so much of each request that it knows of it: all are answered, and nobody else is."""
    sent, rest = [], []
    for number in range(4):
        request = httpx.Request(
            "POST", f"http://127.0.0.1:{port}/v1/entries", files=files(place.images[:1]), data={"id": f"last {number}"},
            headers={"Authorization": f"Bearer {key}"},
        )  # fmt: skip
        content = request.read()
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.sendall(f"POST /v1/entries HTTP/1.1\r\n{head}\r\n".encode() + content[: len(content) // 2])
        sent.append(connection)
        rest.append(content[len(content) // 2 :])
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": f"Bearer {key}"}
    assert within(lambda: _figure(url, headers, "crossreid_requests_in_flight") == 5, 20), "these, and who asks"
    running.send_signal(signal.SIGTERM)
    assert within(lambda: _refuses(port), 20)
    for connection, content in zip(sent, rest, strict=True):
        connection.sendall(content)
    for number, connection in enumerate(sent):
        status, body = all_of(connection)
        connection.close()
        assert status == b"HTTP/1.1 201 Created", text_of(log)
        assert (status, json.loads(body)) == (b"HTTP/1.1 201 Created", {"ids": [f"last {number}"]}), text_of(log)
    assert running.wait(60) == -signal.SIGTERM, text_of(log)
    assert "Traceback" not in text_of(log)


def _has_entries_of_the_last_requests(address, collection):
    names = [f"last {number}" for number in range(4)]

    def there():
        """A connection of this process that was idle all the while is refused once, by Milvus Lite's server alone."""
        with (
            contextlib.suppress(GalleryFault),
            open_gallery(address, create=False, read_only=True, collection=collection) as gallery,
        ):
            return gallery.known(names) == names

    assert within(there, 30)


def _refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return True
    return False


def _answers(url, headers):
    """How many requests the figures count, of all workers."""
    return _figure(url, headers, "crossreid_requests_total")


def _figure(url, headers, name):
    """The sum of a figure's samples."""
    answer = None

    def told():
        nonlocal answer
        answer = PLAIN.get(f"{url}/metrics", headers=headers)
        return answer.status_code == 200

    assert within(told, 20)
    return sum(float(line.rpartition(" ")[2]) for line in answer.text.splitlines() if line.startswith(name))
