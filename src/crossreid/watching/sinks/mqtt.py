"""An MQTT broker: each event is a message under `crossreid/KIND/CAMERA`, with QoS 1, so it arrives at least once.

Events without a camera (merges and splits) are under `crossreid/KIND`. The payload is the event's JSON object with its
`id`, by which a subscriber can drop repeated events.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from crossreid.errors import CrossreidError
from crossreid.extras import needed
from crossreid.files import short_digest
from crossreid.watching.events import Event
from crossreid.watching.sinks.sink import SinkFault

USER, PASSWORD, AUTHORITIES = "CROSSREID_MQTT_USER", "CROSSREID_MQTT_PASSWORD", "CROSSREID_MQTT_CA"
_PORTS = {"mqtt": 1883, "mqtts": 8883}


class Mqtt:
    """Publishes events to one broker, connecting when there are events and staying connected.

    Args:
        url: `mqtt://HOST[:PORT][/TOPIC]`, or `mqtts://` with TLS, with certificates checked against the system's
            trusted ones, or against the file named by `CROSSREID_MQTT_CA`. TOPIC is the topic prefix, `crossreid` by
            default.
        seconds: timeout for connecting to the broker, and again for it to confirm the events of one `send`.
        environment: where to look for user and password.

    Raises:
        CrossreidError: the address is invalid, only one of user and password is set, or paho-mqtt is not installed.
    """

    def __init__(self, url: str, *, seconds: float = 10.0, environment: Mapping[str, str] = os.environ) -> None:
        needed("paho.mqtt.client", "MQTT")
        self._secure, self._host, self._port, self.topic = _parts(url)
        self.name = f"mqtt {short_digest(url)}"
        self._seconds, self._authorities = seconds, environment.get(AUTHORITIES)
        self._user, self._password = environment.get(USER), environment.get(PASSWORD)
        if self._password and not self._user:
            raise CrossreidError(f"{PASSWORD} is set but {USER} is not; set both or neither.")
        self._client: Any = None

    def send(self, events: Sequence[Event]) -> None:
        """Publish events and wait until the broker has confirmed each. Raises `SinkFault` if it does not."""
        try:
            if self._client is None:
                self._client = self._connected()
            sent = [self._client.publish(self.topic_of(event), event.to_json(), qos=1) for event in events]
            until = time.monotonic() + self._seconds
            for each in sent:
                each.wait_for_publish(max(0.0, until - time.monotonic()))
            missing = sum(not each.is_published() for each in sent)
        except (OSError, RuntimeError, ValueError) as error:
            self.close()
            raise SinkFault(f"{self._host}:{self._port} does not accept messages ({error}).") from error
        if missing:
            self.close()  # dropping pending messages: the next try publishes the same events again
            raise SinkFault(f"{self._host}:{self._port} confirmed {len(sent) - missing} of {len(sent)} messages.")

    def topic_of(self, event: Event) -> str:
        """The topic of an event."""
        return "/".join([self.topic, event.kind] + ([] if event.camera is None else [event.camera]))

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
        self._client = None

    def _connected(self) -> Any:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        client = Client(CallbackAPIVersion.VERSION2)
        client.connect_timeout = self._seconds
        if self._user:
            client.username_pw_set(self._user, self._password)
        if self._secure:
            client.tls_set(ca_certs=self._authorities)
        answered = threading.Event()
        said: list[Any] = []

        def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            said.append(reason)
            answered.set()

        client.on_connect = on_connect
        client.connect(self._host, self._port, keepalive=30)
        client.loop_start()
        if not answered.wait(self._seconds) or said[0].is_failure:
            client.disconnect()
            client.loop_stop()
            raise RuntimeError(str(said[0]) if said else f"no answer within {self._seconds:g} s")
        return client


def _parts(url: str) -> tuple[bool, str, int, str]:
    """Whether to use TLS, host, port, topic prefix."""
    expected = f"mqtt {url!r}: expected mqtt://HOST[:PORT][/TOPIC], or mqtts:// with TLS"
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise CrossreidError(f"{expected} ({error}).") from error
    if parts.username or parts.password:
        raise CrossreidError(f"mqtt of {parts.hostname}: put user and password into {USER} and {PASSWORD}.")
    if parts.scheme not in _PORTS or not parts.hostname or "?" in url or "#" in url:
        raise CrossreidError(f"{expected}.")
    topic = parts.path.strip("/") or "crossreid"
    if any(sign in topic for sign in "+\0") or topic.startswith("$"):
        raise CrossreidError(f"{expected}; a topic to publish under has no +, # or $.")
    return parts.scheme == "mqtts", parts.hostname, port, topic
