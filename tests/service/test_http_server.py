"""Connections that are cut off: silent, slow, too many, of no HTTP. Real sockets."""

import contextlib
import json
import select
import socket
import time

import pytest

from served import all_of, connected, refusal, served, within


@pytest.fixture(scope="module")
def running(place, tmp_path_factory):
    with served(place, tmp_path_factory.mktemp("state"), seconds=0.6) as found:
        yield found


@pytest.mark.parametrize("begun", [b"", b"GET /v1/hea", b"GET / HTTP/1.1\r\nHost: local"])
def test_who_sends_a_head_slowly_is_told_and_let_go(running, begun):
    with connected(running) as connection:
        connection.sendall(begun)
        status, _ = all_of(connection)
    assert status == b"HTTP/1.1 408 Request Timeout"


def test_a_trickle_does_not_keep_a_connection(running):
    with connected(running) as connection:
        for _ in range(100):  # 5 seconds, if it were let
            try:
                connection.sendall(b"G")
            except OSError:
                return  # closed, and what was sent after that refused
            time.sleep(0.05)
    pytest.fail("a byte every 50 ms kept the connection for 5 seconds")


def test_a_second_request_on_a_connection_has_its_own_time(running):
    ask = b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connected(running) as connection:
        for _ in range(3):
            connection.sendall(ask)
            answer = b""
            while not answer.endswith(b'{"status":"ok"}'):
                answer += connection.recv(65536)
            time.sleep(0.3)
        connection.sendall(ask[:20])
        status, _ = all_of(connection)
    assert status == b"HTTP/1.1 408 Request Timeout"


@pytest.mark.parametrize("path", [b"/", b"/v1/health", b"/page/page.css", b"/v1/stats"])
def test_a_body_that_nobody_reads_does_not_keep_a_connection(running, path):
    with connected(running) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100):  # 5 seconds, if it were let
            try:
                connection.sendall(b"G")
            except OSError:
                return
            time.sleep(0.05)
    pytest.fail("a byte every 50 ms kept the connection for 5 seconds")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_nonsense_is_no_request(running, sent):
    with connected(running) as connection:
        connection.sendall(sent)
        status, body = all_of(connection)
    assert status == b"HTTP/1.1 400 Bad Request"
    assert json.loads(body)["error"]["code"] == "bad_request"


def test_who_does_not_read_the_answer_is_cut_off(place, tmp_path, running, monkeypatch):
    monkeypatch.setattr("crossreid.service.http_server._FLUSH", 0.2)
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    with served(own, tmp_path / "state", model=running.service.model, answer_seconds=0.5, seconds=20) as impatient:
        with connected(impatient) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(0.2)
            with contextlib.suppress(TimeoutError):  # more of them than the buffers of both sides take answers to
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)
            poll = select.poll()
            poll.register(connection, 0)
            assert any(event & select.POLLHUP for _, event in poll.poll(15_000))
        with impatient.client() as client:
            assert client.get("/v1/health").status_code == 200


def test_more_connections_than_there_may_be_are_told_to_come_back(place, tmp_path, running):
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    with served(own, tmp_path / "state", model=running.service.model, in_flight=1, seconds=20) as small:
        idle = [connected(small) for _ in range(8)]
        with small.client() as client:
            answer = client.get("/v1/health")
            assert "too many connections" in refusal(answer, 429)
            assert answer.headers["retry-after"] == "1"
        for connection in idle:
            connection.close()

        def served_again():
            with small.client() as client:
                return client.get("/v1/health").status_code == 200

        assert within(served_again)
