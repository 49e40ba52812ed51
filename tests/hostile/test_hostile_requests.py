"""Requests that are meant to harm others: of two meanings, slow, of hostile files. Real sockets, the real service."""

import contextlib
import json
import logging
import random
import re
import threading
import time

import pytest

from crossreid.service.keys import add_key
from crossreid.service.shares import Shares
from hostile_images import COSTLY, TALKATIVE, jpeg, run_lengths
from served import all_of, connected, make_place, refusal, search, served, within

HEAD = b"POST /v1/search/ids HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def running(place, keys, tmp_path_factory):
    """Of eight places; keys `greedy`, `desk` and `admin`."""
    texts = {name: add_key(keys, name, [role]) for name, role in
             {"greedy": "search", "desk": "search", "admin": "admin"}.items()}  # fmt: skip
    with served(
        place, tmp_path_factory.mktemp("state"), keys=keys, in_flight=32, seconds=3, decode_seconds=0.25
    ) as found:
        found.service.texts = texts
        yield found


def answer_to(running, *parts):
    with connected(running) as connection:
        for part in parts:
            connection.sendall(part)
        return all_of(connection)


@pytest.mark.parametrize(
    "sent",
    {
        "a length and a coding": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a coding and a length": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        "two codings": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "a coding of HTTP/1.0": HEAD.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "bare LF": HEAD.replace(b"\r\n", b"\n") + b"\n",
        "a bare LF among others": HEAD + b"A: b\nC: d\r\n\r\n",
        "a bare LF at the end": HEAD + b"\n",
        "a bare CR": HEAD + b"A: b\rC: d\r\n\r\n",
        "a folded header": HEAD + b"A: b\r\n c\r\n\r\n",
        "a header folded by a tab": HEAD + b"Transfer-Encoding:\r\n\tchunked\r\nContent-Length: 5\r\n\r\nabcde",
        "a trailer": HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer x\r\n\r\n",
    }.items(),
    ids=lambda sent: sent[0],
)
def test_what_two_programs_could_read_differently_is_refused_and_the_connection_closed(running, sent):
    what, text = sent
    after = HEAD + b"\r\n"
    # Nothing is sent after what is refused: a connection that is closed meanwhile is reset, and the answer lost.
    told = len(text) if what == "a trailer" else re.search(rb"\n\r?\n", text).end()
    for parts in ([text + after], [text[:40], text[40 : told - 1], text[told - 1 :] + after]):
        status, body = answer_to(running, *parts)
        assert status == b"HTTP/1.1 400 Bad Request"
        assert json.loads(body)["error"]["code"] == "bad_request"  # and what comes after it is answered no more


def test_what_has_one_meaning_is_taken(running):
    key = running.service.texts["desk"].encode()
    body = b'{"ids": ["none"]}'
    head = HEAD + b"Authorization: Bearer " + key + b"\r\nContent-Type: application/json\r\nConnection: close\r\n"
    for sent in (
        head + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
    ):
        assert answer_to(running, sent)[0] == b"HTTP/1.1 404 Not Found"  # there is no such entry


def in_hand(running, count):
    gauge = "crossreid_requests_in_flight"
    return within(lambda: running.service.metrics.registry.get_sample_value(gauge) == count)


def test_slow_bodies_of_one_key_leave_room_for_others(running):
    key = running.service.texts["greedy"].encode()
    head = HEAD + b"Authorization: Bearer " + key + b"\r\nContent-Length: 100\r\n\r\n"
    slow = [connected(running) for _ in range(60)]
    try:
        for connection in slow:
            connection.sendall(head)
        assert in_hand(running, 15), "half of the places that are not kept"
        for name in ("desk", "admin"):
            with running.client(running.service.texts[name]) as client:
                assert search(client, jpeg()).status_code == 200
        with running.client(running.service.texts["greedy"]) as client:
            answer = client.get("/v1/stats")
            assert "this key's" in refusal(answer, 429)
            assert answer.headers["retry-after"] == "1"
    finally:
        for connection in slow:
            connection.close()
    assert in_hand(running, 0)


def test_shares_of_places():
    shares, held = Shares(32), contextlib.ExitStack()

    def take(name, **options):
        count = 0
        while shares.has_room(name, **options):
            assert held.enter_context(shares.place(name, **options))
            count += 1
        return count

    with held:
        assert take("a") == 15  # of 30, as 15 are left then
        assert take("b") == 8
        assert take("c") == 4
        assert take("a") == 0
        assert take("boss", administers=True) == 3, "of the two that are kept too"
        assert 32 - shares.taken > 0
    assert shares.taken == 0
    assert [Shares(places).has_room("a") for places in (0, 1, 2)] == [False, True, True]
    with held:
        assert take("anyone", alone=True) == 32


def test_hostile_files_of_one_do_not_hold_up_another(running):
    with running.client(running.service.texts["greedy"]) as client:
        for name in ("fill after the first marker", "strips", "a column"):
            made, _ = COSTLY[name]
            began = time.monotonic()
            assert refusal(search(client, made()), 413)
            assert time.monotonic() - began < 3, name
        for content in TALKATIVE.values():
            assert search(client, content).status_code in (413, 415, 422)
    with running.client(running.service.texts["desk"]) as client:
        assert search(client, jpeg()).status_code == 200


def test_slow_files_of_one_do_not_hold_up_another(running):
    """Ten at once, each decoded until it is given up; who comes after them has the next turn."""
    ended, slow = [], run_lengths()

    def ask(name, content, status):
        with running.client(running.service.texts[name]) as client:
            assert search(client, content).status_code == status
        ended.append(name)

    greedy = [threading.Thread(target=ask, args=("greedy", slow, 413)) for _ in range(10)]
    for thread in greedy:
        thread.start()
    pool, turns = running.service._decoding, running.service._turns
    assert within(lambda: pool._work_queue.qsize() + sum(map(len, turns._waiting.values())) >= 6)
    ask("desk", jpeg(), 200)
    for thread in greedy:
        thread.join()
    assert len(ended) == 11
    assert len(ended) - 1 - ended.index("desk") >= 4, "so many of those who came before are answered after it"


def test_whatever_is_sent_the_log_stays_silent_and_the_next_is_served(running, capfd, caplog):
    """Bytes that are nearly requests: a parser's faults are the client's, never lines in the log of the service."""
    draw = random.Random(0)
    begins = [
        HEAD,
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    ]
    with caplog.at_level(logging.WARNING):
        for _ in range(150):
            sent = bytearray(draw.choice(begins) + draw.randbytes(draw.randrange(20)) + draw.choice(begins))
            for _ in range(draw.randrange(4)):
                sent[draw.randrange(len(sent))] = draw.choice(b"\r\n\0 :\t\xff0")
            with connected(running) as connection, contextlib.suppress(OSError):
                connection.sendall(sent)
                connection.settimeout(0.02)
                connection.recv(65536)
        with connected(running) as connection:  # it is answered before its body has come, and that is nonsense then
            connection.sendall(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            connection.sendall(b"zz\r\n")
            while connection.recv(65536):
                pass
        with running.client(running.service.texts["desk"]) as client:
            assert client.get("/v1/health").status_code == 200
    assert [record.message for record in caplog.records if not record.name.startswith("httpx")] == []
    assert capfd.readouterr() == ("", "")
