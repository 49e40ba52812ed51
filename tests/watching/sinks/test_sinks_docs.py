"""docs/sinks.md says what there is, and its receiver knows what is genuine."""

import re
from pathlib import Path

from crossreid.watching.sinks import mqtt, webhook
from crossreid.watching.sinks.metrics import WatchMetrics
from crossreid.watching.sinks.webhook import signature

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8")


def test_the_receiver_knows_what_is_genuine():
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    there = {}
    exec(code, there)
    headers = {"webhook-id": "events_1", "webhook-timestamp": "1795255200"}
    headers["webhook-signature"] = signature(b"secret", "events_1", "1795255200", b"[]")
    assert there["is_genuine"](b"secret", headers, b"[]")
    for secret, changed, body in (
        (b"other", headers, b"[]"), (b"secret", headers, b"[{}]"), (b"secret", {**headers, "webhook-timestamp": "1795255201"}, b"[]"),
    ):  # fmt: skip
        assert not there["is_genuine"](secret, changed, body)


def test_figures_and_variables_are_those_that_there_are():
    figures = {f"{one.name}_total" if one.type == "counter" else one.name for one in WatchMetrics().registry.collect()}
    assert set(re.findall(r"`(crossreid_watch_\w+)`", PAGE)) == figures
    named = set(re.findall(r"`(CROSSREID_\w+)`", PAGE))
    assert named == {webhook.SECRET, webhook.TOKEN, mqtt.USER, mqtt.PASSWORD, mqtt.AUTHORITIES}
