"""What the service refuses: too much, too fast, too slow, of the wrong kind, from the wrong page. Real sockets throughout."""

import contextlib
import io
import json
import select
import socket
import struct
import time
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossreid.service.keys import add_key
from served import connected, make_place, served, within


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"), "baseline")


@pytest.fixture(scope="module")
def running(place, tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    with served(place, state, max_bytes=300_000, max_pixels=500_000, max_images=3, seconds=0.6, max_k=20) as found:
        yield found


@pytest.fixture
def client(running):
    with running.client() as opened:
        yield opened


def picture(format="PNG", size=(20, 40), mode="RGB"):
    stream = io.BytesIO()
    Image.new(mode, size, 77).save(stream, format)
    return stream.getvalue()


def search(client, content, name="query.png", **data):
    return client.post("/v1/search/images", files=[("images", (name, content))], data=data)


def refusal(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return error["message"]


def png_that_says(width, height):
    """A PNG of a few bytes whose head claims a size: what a decoder would allocate for before it reads on."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(1000, 1000), (30_000, 30_000), (60_000, 60_000), (2_000_000, 2_000_000)])
def test_decompression_bombs_are_refused_by_their_size(client, size):
    assert "pixels" in refusal(search(client, png_that_says(*size)), 413)


def test_a_bomb_of_text_in_a_png_is_refused(client):
    content = picture()
    text = zlib.compress(b"a" * 100_000_000, 9)
    data = b"comment\0\0" + text
    bomb = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    answer = search(client, content[:33] + bomb + content[33:])  # after the signature and IHDR
    assert answer.status_code in (200, 422)  # what is never inflated does no harm


@pytest.mark.parametrize(
    "content",
    [b"%PDF-1.7 ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"GIF89a" + bytes(50), b"\0" * 100, b"MZ"],
)
def test_other_types_are_refused_by_what_they_are_not_by_their_name(client, content):
    assert "JPEG, PNG" in refusal(search(client, content, "portrait.jpg"), 415)
    assert search(client, picture("JPEG"), "portrait.exe").status_code == 200


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_truncated_and_empty_images_are_refused(client, format):
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (60, 30, 3), dtype=np.uint8)).save(stream, format)
    content = stream.getvalue()
    assert search(client, content).status_code == 200
    assert "damaged" in refusal(search(client, content[: len(content) // 2]), 422)
    assert "empty" in refusal(search(client, b""), 422)


@settings(max_examples=60)
@given(
    format=st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "TIFF"]),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 200),
)
def test_no_damaged_image_makes_the_service_fail(running, format, changes, cut):
    content = bytearray(picture(format))
    for at, value in changes:
        content[at % len(content)] = value
    with running.client() as client:
        answer = search(client, bytes(content[: len(content) - cut]))
    assert answer.status_code in (200, 413, 415, 422), answer.text


def test_a_small_file_that_is_long_to_decode_is_refused(client):
    """Its last scan over and over: decoding each takes as long as the image is large."""
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 20, 3), np.uint8)
    Image.fromarray(noise).save(stream, "JPEG", progressive=True)
    content = stream.getvalue()
    last = content.rindex(b"\xff\xda")
    costly = content[:last] + content[last:-2] * 300 + content[-2:]
    assert len(costly) < 300_000
    Image.open(io.BytesIO(costly)).load()  # it is an image
    assert "scans" in refusal(search(client, costly, "costly.jpg"), 413)
    assert search(client, content, "honest.jpg").status_code == 200


def test_too_many_bytes_images_and_matches_are_refused(client):
    assert "300,000 bytes" in refusal(search(client, bytes(400_000)), 413)
    many = [("images", ("a.png", picture()))] * 4
    assert "1 to 3" in refusal(client.post("/v1/search/images", files=many), 422)
    assert "at most 20" in refusal(search(client, picture(), k=21), 422)
    assert "k" in refusal(search(client, picture(), k="many"), 422)
    assert "modality" in refusal(search(client, picture(), modality="x-ray"), 422)
    refusal(client.post("/v1/search/images", data={"k": 1}), 422)


def all_of(connection):
    content = b""
    while part := connection.recv(65536):
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    return head.split(b"\r\n")[0], body


def test_a_body_that_is_longer_than_it_may_be_is_refused_though_it_says_nothing_of_its_length(running):
    with connected(running) as connection:
        connection.sendall(
            b"POST /v1/search/images HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
        for _ in range(10):
            connection.sendall(chunk)
        connection.sendall(b"0\r\n\r\n")
        status, body = all_of(connection)
    assert status.startswith(b"HTTP/1.1 413 ")
    assert json.loads(body)["error"]["code"] == "too_large"


def test_who_sends_a_body_slowly_is_told_and_let_go(running):
    with connected(running) as connection:
        connection.sendall(b"POST /v1/search/ids HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        status, body = all_of(connection)  # ends: the service closes
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert json.loads(body)["error"]["code"] == "too_slow"


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


def test_slow_clients_do_not_hold_up_others(running):
    slow = [connected(running) for _ in range(40)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/search/ids HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        with running.client() as client:
            assert search(client, picture()).status_code == 200
    finally:
        for connection in slow:
            connection.close()


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


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, {}, {"Content-Type": "text/plain"}])
def test_a_body_without_images_is_refused_before_it_is_parsed_where_it_is_long(client, headers):
    """A parser that reads for seconds would hold up everyone."""
    content = b'{"ids": [' + b"[]," * 90_000 + b"1]}"
    message = refusal(client.post("/v1/search/ids", content=content, headers=headers), 413)
    assert "262,144 bytes of a body without images" in message


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


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "reid.example:8000"}, 403),  # a name that was made to lead here
        ({"Host": "127.0.0.2:8000"}, 200),
        ({"Origin": "https://elsewhere.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_without_keys_other_sites_pages_are_refused(client, headers, status):
    assert client.get("/v1/stats", headers=headers).status_code == status
    assert client.post("/v1/search/ids", headers=headers, json={"ids": ["none"]}).status_code == (
        404 if status == 200 else status
    )


def test_rates_are_of_a_key_and_wrong_keys_of_an_address(place, tmp_path, running):
    keys = tmp_path / "keys.json"
    one, two = (add_key(keys, name, ["search"]) for name in ("one", "two"))
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    with served(own, tmp_path / "state", keys=keys, model=running.service.model, rate=0.05) as limited:

        def statuses(key, times, path="/v1/search/ids"):
            with limited.client(key) as client:
                return [client.post(path, json={"ids": ["none"]}) for _ in range(times)]

        first = statuses(one, 3)
        assert [answer.status_code for answer in first] == [404, 429, 429]
        assert 1 <= int(first[1].headers["retry-after"]) <= 20
        assert [answer.status_code for answer in statuses(two, 1)] == [404]  # another's rate is its own
        with limited.client(one) as client:
            assert client.get("/v1/stats").status_code == 200  # what only reads may be asked more often
        wrong = [answer.status_code for answer in statuses("crossreid_guess", 12)]
        assert wrong[:10] == [401] * 10
        assert wrong[10:] == [429] * 2
        assert [answer.status_code for answer in statuses(two, 1)] == [429]  # by its own rate, not for the guesser's
        with limited.client(two) as client:
            assert client.get("/v1/stats").status_code == 200
        assert sum(line["action"] == "unknown key" for line in limited.audit()) == 10


def test_who_has_no_key_takes_nobodys_place(place, tmp_path, running):
    keys = tmp_path / "keys.json"
    key = add_key(keys, "desk", ["search"])
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    with served(own, tmp_path / "state", keys=keys, model=running.service.model, in_flight=2, seconds=5) as small:
        slow = [connected(small) for _ in range(8)]
        for connection, path in zip(slow, [b"/", b"/v1/health", b"/v1/search/ids", b"/nowhere"] * 2, strict=True):
            connection.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        time.sleep(0.2)
        with small.client(key) as client:
            assert client.get("/v1/stats").status_code == 200
        for connection in slow:
            connection.close()


def test_more_than_can_be_served_are_told_to_come_back(place, tmp_path, running):
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    with served(own, tmp_path / "state", model=running.service.model, in_flight=2, seconds=20) as small:

        def in_hand(count):
            gauge = "crossreid_requests_in_flight"
            return within(lambda: small.service.metrics.registry.get_sample_value(gauge) == count)

        held = [connected(small) for _ in range(2)]
        for connection in held:
            connection.sendall(b"POST /v1/search/ids HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n")
        assert in_hand(2)
        with small.client() as client:
            answer = client.get("/v1/stats")
            assert "busy" in refusal(answer, 429)
            assert answer.headers["retry-after"] == "1"
        for connection in held:
            connection.close()
        assert in_hand(0)
        with small.client() as client:
            assert client.get("/v1/stats").status_code == 200
