"""A hub that does not answer: known within seconds, said in a line."""

import http.server
import socket
import threading
import time

import pytest
from huggingface_hub import constants

from crossreid.models import hub
from crossreid.models.weights import WeightsError
from small_backbone import build


@pytest.fixture
def nobody(monkeypatch):
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")


def test_one_that_cannot_be_reached_is_one_line(nobody, monkeypatch, tmp_path, capfd):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    begun = time.perf_counter()
    with pytest.raises(WeightsError, match=r"could not be fetched .*not in its cache, and the hub cannot be") as found:
        build("test_resnet", weights="imagenet")
    assert time.perf_counter() - begun < hub.SECONDS
    assert "\n" not in str(found.value)
    shown = capfd.readouterr()
    assert shown.out + shown.err == ""
    assert constants.HF_HUB_OFFLINE is False


def test_one_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        begun = time.perf_counter()
        with hub.offline_unless_it_answers() as answers:
            assert not answers
            assert constants.HF_HUB_OFFLINE
        assert time.perf_counter() - begun < 3


def test_any_answer_is_one(monkeypatch):
    class NotFound(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_error(404)

        def log_message(self, *given):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), NotFound) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with hub.offline_unless_it_answers() as answers:
            assert answers
            assert not constants.HF_HUB_OFFLINE
        server.shutdown()


def test_one_that_says_nothing_is_asked_once_for_description_and_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(WeightsError, match="the hub cannot be reached"):
            build("hf-hub:BVRA/MegaDescriptor-S-224", weights="imagenet")
        silent.accept()
        with pytest.raises(BlockingIOError):
            silent.accept()
        assert not hub.it_answers()
        monkeypatch.setattr(hub, "REMEMBERED", 0.0)  # and after a while again
        hub.it_answers()
        silent.accept()
