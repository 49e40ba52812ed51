import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from crossreid.errors import CrossreidError
from crossreid.files import json_rows
from crossreid.watching.sinks.metrics import WatchMetrics
from crossreid.watching.sinks.outlets import Outlets
from kept_events import KeptEvents
from served import within
from served_command import free_port


def figures(port):
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        (sample.name.removeprefix("crossreid_watch_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_files_are_written_at_once_and_what_is_outside_is_counted_and_left_to_the_next(tmp_path):
    outbox, metrics, nobody = KeptEvents(3), WatchMetrics(), free_port()
    port = metrics.serve(0)
    outlets = Outlets(tmp_path, outbox, webhooks=[f"http://127.0.0.1:{nobody}/"] * 2, metrics=metrics)
    outlets.flush()
    outbox.add(kind="merged", other="g1")
    outlets.flush()
    assert len(json_rows(tmp_path / "events.jsonl")) == 4
    assert len((tmp_path / "events.csv").read_text(encoding="utf-8").splitlines()) == 5
    (sink,) = {delivery.sink.name for delivery in outlets._deliveries}
    assert within(lambda: figures(port).get(("sink_failing", sink)) == 1)
    metrics.decoded.labels("gate").inc(30)
    metrics.behind.labels("gate").set(0.25)
    found = figures(port)
    assert found["events_total", "seen"] == 3
    assert found["events_total", "merged"] == 1
    assert found["frames_decoded_total", "gate"] == 30
    assert found["behind_seconds", "gate"] == 0.25
    assert found["sink_faults_total", sink] >= 1
    assert "Zoë" not in httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert outlets.close(5) == [sink]
    with pytest.raises(httpx.TransportError):
        figures(port)
    again = Outlets(tmp_path, outbox)
    again.flush()
    assert again.close() == []
    assert len(json_rows(tmp_path / "events.jsonl")) == 4


def test_a_port_that_is_taken_is_named():
    first, second = WatchMetrics(), WatchMetrics()
    port = first.serve(0)
    with pytest.raises(CrossreidError, match=f"--metrics {port}"):
        second.serve(port)
    first.close()
