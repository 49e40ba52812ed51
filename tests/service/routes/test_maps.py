"""Maps of both images, and who waits for them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import numpy as np
import pytest

from crossreid.service.explainer import Explainer
from served import connected, embedded, files, ids_of, within
from small_model import recipe_of, write_run
from small_transformers import small_transformers  # noqa: F401


def test_attention_lays_maps_of_both_images(running, client):
    path = running.place.images[0]
    entry = next(each for each in running.service.gallery.sample(30) if each.modality == 1)
    (row,), _ = embedded(running, [path], 0)
    answer = client.post("/v1/attention", files=files([path], "image"), data={"id": entry.id, "modality": "visible"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["similarity"] == pytest.approx(float(row @ entry.embedding), abs=1e-4)
    assert [each["encoder"] for each in found["query"]["maps"]] == ["visible", "shared"]
    assert [each["encoder"] for each in found["match"]["maps"]] == ["infrared", "shared"]
    heat = np.array(found["query"]["maps"][0]["heat"])
    assert heat.ndim == 2
    assert heat.min() >= 0
    stored = client.post("/v1/attention", data={"id": entry.id, "query_id": str(path)})
    assert stored.json()["similarity"] == pytest.approx(found["similarity"], abs=1e-4)
    assert client.post("/v1/attention", data={"id": entry.id}).status_code == 422
    # A network of convolutions has no rollout, and says so.
    assert client.get("/v1/about").json()["maps"] == ["grad-cam"]
    asked = client.post("/v1/attention", data={"id": entry.id, "query_id": str(path), "maps": "rollout"}).json()
    assert {each["kind"] for each in asked["query"]["maps"]} == {"grad-cam"}
    wrong = client.post("/v1/attention", data={"id": entry.id, "query_id": str(path), "maps": "gradcam"})
    assert wrong.status_code == 422


@pytest.mark.usefixtures("small_transformers")
def test_a_transformer_has_maps_of_both_kinds(tmp_path):
    network = {"name": "small_eva", "weights": "none", "last_stride_one": False}
    write_run(tmp_path / "run", recipe_of("implicit_knowledge", network=network, stages={"split": 2}))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 30, 3), dtype=np.uint8)
    explainer = Explainer(tmp_path / "run", "best", "cpu", rollout=True)
    assert explainer.kinds == ["grad-cam", "rollout"]
    towards = np.random.default_rng(1).normal(size=48)
    found = {kind: explainer.maps(pixels, 0, towards, kind).maps for kind in explainer.kinds}
    for kind, (one,) in found.items():
        assert (one.encoder, one.kind, np.array(one.heat).shape) == ("shared", kind, (6, 4))
    assert found["grad-cam"][0].heat != found["rollout"][0].heat


def test_maps_that_nobody_waits_for_are_not_made_and_others_are_served_meanwhile(running, client, monkeypatch):
    """Who steps through matches leaves questions behind; they must not hold up what others ask."""
    first, second = (entry.id for entry in running.service.gallery.sample(2))
    maps, go_on, made = running.service.explainer.maps, threading.Event(), []

    def slow(*asked):
        made.append(asked)
        assert go_on.wait(30)
        return maps(*asked)

    def in_hand(count):
        return within(lambda: value("crossreid_requests_in_flight") == count)

    def value(name):
        return running.service.metrics.registry.get_sample_value(name)

    monkeypatch.setattr(running.service.explainer, "maps", slow)
    body = urlencode({"id": first, "query_id": second}).encode()
    ask = b"POST /v1/attention HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    ask += b"Content-Length: %d\r\n\r\n" % len(body) + body
    with ThreadPoolExecutor(2) as asking:
        waits = [asking.submit(client.post, "/v1/attention", data={"id": first, "query_id": second}) for _ in range(2)]
        assert in_hand(2)
        left = []
        for _ in range(20):
            left.append(connected(running))
            left[-1].sendall(ask)
        assert in_hand(22)
        with running.client() as other:
            assert other.get("/v1/image", params={"id": first}).status_code == 200
            assert len(ids_of(other.post("/v1/search/ids", json={"ids": [first], "k": 3}))) == 3
        for connection in left:
            connection.close()
        go_on.set()
        assert [each.result().status_code for each in waits] == [200, 200]
    assert in_hand(0)
    assert len(made) == 2 * 2
