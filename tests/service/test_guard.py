"""Who is let in: pages of other sites, rates, wrong keys, how many at a time."""

import time

import pytest

from crossreid.service.keys import add_key
from served import connected, picture, refusal, search, served, within


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
