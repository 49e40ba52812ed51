"""Against a broker that runs, amqtt, with TLS and passwords; it is stopped and started as brokers are."""

import asyncio
import json
import socket
import threading
from contextlib import contextmanager

import pytest
from amqtt.broker import Broker
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pwdlib.hashers.argon2 import Argon2Hasher

from crossreid.errors import CrossreidError
from crossreid.watching.events import Event
from crossreid.watching.sinks.delivery import Delivery
from crossreid.watching.sinks.mqtt import AUTHORITIES, PASSWORD, USER, Mqtt
from crossreid.watching.sinks.sink import SinkFault
from kept_events import KeptEvents, event
from served import within
from served_command import certificate, free_port  # noqa: F401


@contextmanager
def broker(port, listener=None, passwords=None):
    """A broker at a port until the block ends."""
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    if passwords is not None:
        plugins = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(passwords)}}
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", **(listener or {})}},
        "plugins": plugins,
    }
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def there(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

    async def made():
        return Broker(config)

    running = there(made())
    there(running.start())
    try:
        yield
    finally:
        there(running.shutdown())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def subscribed(port, topic="crossreid/#"):
    """(topic, object) of each message that comes, until the block ends."""
    got, ready = [], threading.Event()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda *_: client.subscribe(topic, qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda _client, _data, message: got.append((message.topic, json.loads(message.payload)))
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(10)
    try:
        yield got
    finally:
        client.disconnect()
        client.loop_stop()


def test_each_event_is_a_message_of_its_kind_and_camera():
    port = free_port()
    events = [event(1), event(2, "left", camera="yard-2"), event(3, "merged", other="g1")]
    with broker(port), subscribed(port) as got, subscribed(port, "house/people/#") as elsewhere:
        sink = Mqtt(f"mqtt://127.0.0.1:{port}", environment={})
        sink.send(events)
        sink.send([event(4)])
        sink.close()
        other = Mqtt(f"mqtt://127.0.0.1:{port}/house/people", environment={})
        other.send(events[:1])
        other.close()
        assert within(lambda: len(got) == 4 and len(elsewhere) == 1)
    assert [topic for topic, _ in got] == [
        "crossreid/seen/gate", "crossreid/left/yard-2", "crossreid/merged", "crossreid/seen/gate",
    ]  # fmt: skip
    assert [Event(**told) for _, told in got[:3]] == events
    assert elsewhere[0][0] == "house/people/seen/gate"


def test_a_broker_that_restarts_gets_every_event():
    port, outbox = free_port(), KeptEvents(3)
    delivery = Delivery(
        Mqtt(f"mqtt://127.0.0.1:{port}", seconds=1, environment={}), outbox, poll=0.02, pauses=(0.05, 0.2)
    )
    delivery.start()
    assert within(lambda: delivery.faults >= 1)  # nobody is there yet
    with broker(port), subscribed(port) as first:
        assert within(lambda: len(first) >= 3)
        assert within(lambda: list(outbox.cursors.values()) == [3])
    outbox.add(3)
    delivery.wake()
    assert within(lambda: delivery.faults >= 1)
    with broker(port), subscribed(port) as second:
        assert within(lambda: list(outbox.cursors.values()) == [6])
        delivery.end()
        assert delivery.ended(5)
        # Some may have come before the subscriber did; what the broker has confirmed is no longer the sink's.
        assert {told["number"] for _, told in second} <= {4, 5, 6}
    assert {told["number"] for _, told in first} == {1, 2, 3}


def test_passwords_and_certificates(tmp_path, certificate):  # noqa: F811
    port, passwords = free_port(), tmp_path / "passwords"
    passwords.write_text(f"desk:{Argon2Hasher(time_cost=1, memory_cost=64).hash('right')}\n", encoding="utf-8")
    listener = {"ssl": True, "certfile": str(certificate / "cert.pem"), "keyfile": str(certificate / "key.pem")}
    url = f"mqtts://127.0.0.1:{port}"
    trusted = {AUTHORITIES: str(certificate / "cert.pem"), USER: "desk"}
    with broker(port, listener, passwords):
        for environment, message in (
            ({**trusted, PASSWORD: "wrong"}, "does not accept messages"),
            ({USER: "desk", PASSWORD: "right"}, "(?i)certificate"),
        ):
            with pytest.raises(SinkFault, match=message):
                Mqtt(url, seconds=3, environment=environment).send([event(1)])
        sink = Mqtt(url, seconds=5, environment={**trusted, PASSWORD: "right"})
        sink.send([event(1)])
        sink.close()


def test_one_that_takes_connections_and_says_nothing_is_a_fault():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = Mqtt(f"mqtt://127.0.0.1:{silent.getsockname()[1]}", seconds=0.3, environment={})
        with pytest.raises(SinkFault, match="no answer within"):
            sink.send([event(1)])


@pytest.mark.parametrize(
    "url", ["", "broker", "http://broker", "mqtt://", "mqtt://u:secret@broker", "mqtt://broker/a/#", "mqtt://broker/+", "mqtt://b:x"]
)  # fmt: skip
def test_an_address_that_is_none_is_refused_without_its_password(url):
    with pytest.raises(CrossreidError, match="mqtt") as error:
        Mqtt(url, environment={})
    assert "secret" not in str(error.value)


def test_a_password_without_a_user_is_refused():
    with pytest.raises(CrossreidError, match="set both"):
        Mqtt("mqtt://broker", environment={PASSWORD: "x"})
