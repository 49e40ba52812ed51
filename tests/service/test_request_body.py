"""Bodies that are refused: too long, too slow. Real sockets."""

import json

import pytest

from served import all_of, connected, refusal, served


@pytest.fixture(scope="module")
def running(place, tmp_path_factory):
    with served(place, tmp_path_factory.mktemp("state"), max_bytes=300_000, seconds=0.6) as found:
        yield found


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


@pytest.mark.parametrize("headers", [{"Content-Type": "application/json"}, {}, {"Content-Type": "text/plain"}])
def test_a_body_without_images_is_refused_before_it_is_parsed_where_it_is_long(client, headers):
    """A parser that reads for seconds would hold up everyone."""
    content = b'{"ids": [' + b"[]," * 90_000 + b"1]}"
    message = refusal(client.post("/v1/search/ids", content=content, headers=headers), 413)
    assert "a body without images of at most 262,144 bytes" in message
