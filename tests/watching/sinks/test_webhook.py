import base64
import hashlib
import hmac
import json
import ssl
import time

import pytest

from crossreid.errors import CrossreidError
from crossreid.watching.events import Event
from crossreid.watching.sinks.delivery import Delivery
from crossreid.watching.sinks.sink import SinkFault
from crossreid.watching.sinks.webhook import SECRET, TOKEN, Webhook
from kept_events import KeptEvents, event
from served import within
from served_command import certificate  # noqa: F401
from webhook_receiver import events_of, receiving


def test_events_come_as_they_are_signed_and_known_again():
    secret = base64.b64encode(b"a secret of the test").decode()
    events = [event(1), event(2, "merged", other="g4")]
    with receiving() as receiver:
        hook = Webhook(receiver.url, environment={SECRET: f"whsec_{secret}", TOKEN: "t0ken"})
        hook.send(events)
        hook.send(events)
        hook.send(events[1:])
        hook.close()
    (path, headers, body, _), again, other = receiver.requests
    assert path == "/hook"
    assert [Event(**each) for each in json.loads(body)] == events
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer t0ken"
    assert headers["Idempotency-Key"] == headers["webhook-id"] == again[1]["webhook-id"] != other[1]["webhook-id"]
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(base64.b64decode(secret), signed, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_without_a_secret_nothing_is_signed():
    with receiving() as receiver:
        Webhook(receiver.url, environment={}).send([event(1)])
    ((_, headers, _, _),) = receiver.requests
    assert "webhook-signature" not in headers
    assert "Authorization" not in headers


@pytest.mark.parametrize(
    ("step", "message", "wait"),
    [(500, "answered 500", None), ((429, {"Retry-After": "7"}), "answered 429", 7), ((503, {"Retry-After": "Fri"}), "503", None),
     (404, "answered 404", None), ((302, {"Location": "http://127.0.0.1:9/"}), "answered 302", None), (1.0, "timed out", None)],
)  # fmt: skip
def test_what_is_no_yes_is_a_fault(step, message, wait):
    with receiving(script=[step]) as receiver:
        hook = Webhook(receiver.url, seconds=0.3, environment={})
        with pytest.raises(SinkFault, match=message) as fault:
            hook.send([event(1)])
        assert fault.value.wait == wait
        assert "/hook" not in str(fault.value)  # it may be a secret
        hook.send([event(1)])
        hook.close()


def test_a_receiver_that_fails_is_slow_goes_down_and_comes_back_gets_every_event_in_order():
    outbox = KeptEvents(5)
    with receiving(script=[500, 0.4, 204, 503]) as receiver:
        port = receiver.server_port
        delivery = Delivery(
            Webhook(receiver.url, seconds=0.2, environment={}), outbox, limit=2, poll=0.01, pauses=(0.02, 0.1)
        )
        delivery.start()
        assert within(lambda: list(outbox.cursors.values()) == [5])
    first = events_of(receiver)
    outbox.add(4)
    delivery.wake()
    assert within(lambda: delivery.faults >= 2)
    with receiving(port=port) as receiver:
        assert within(lambda: list(outbox.cursors.values()) == [9])
        delivery.end()
        assert delivery.ended(5)
        second = events_of(receiver)
    ids = [each["id"] for batch in first for each in batch]
    assert list(dict.fromkeys(ids)) == [f"w-{number}" for number in range(1, 6)]
    assert len(ids) > 5  # of the slow answer it is not known whether they came
    assert [each["id"] for batch in second for each in batch] == [f"w-{number}" for number in range(6, 10)]


def test_certificates_are_checked(certificate, monkeypatch):  # noqa: F811
    with receiving() as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
        url = f"https://127.0.0.1:{receiver.server_port}/hook"
        with pytest.raises(SinkFault, match=r"(?i)certificate"):
            Webhook(url, environment={}).send([event(1)])
        assert receiver.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        Webhook(url, environment={}).send([event(1)])
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "url", ["", "example.org/hook", "ftp://example.org", "http://", "https://user:secret@example.org/", "http://x:99999/", "http://[/"]
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(CrossreidError, match=r"webhook .*expected") as error:
        Webhook(url, environment={})
    assert "secret" not in str(error.value)


def test_a_secret_that_is_none_is_refused_and_another_address_is_another_sink():
    with pytest.raises(CrossreidError, match="expected base64"):
        Webhook("https://example.org", environment={SECRET: "whsec_!"})
    one, two = Webhook("https://example.org/a", environment={}), Webhook("https://example.org/b", environment={})
    assert one.name != two.name
