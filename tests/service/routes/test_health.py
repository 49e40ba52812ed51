"""Figures of the service."""

from crossreid.galleries.errors import GalleryFault


def test_metrics_are_told_though_the_gallery_cannot_be_counted(running, client, monkeypatch):
    monkeypatch.setattr(type(running.service.gallery), "__len__", lambda _: (_ for _ in ()).throw(GalleryFault("down")))
    assert "crossreid_gallery_entries NaN" in client.get("/metrics").text


def test_metrics_count_answers_and_name_nobody(running, client):
    client.get("/v1/entry", params={"id": "somebody"})
    text = client.get("/metrics").text
    assert 'crossreid_requests_total{method="GET",route="/v1/entry",status="404"}' in text
    assert f"crossreid_gallery_entries {float(len(running.service.gallery))}" in text
    assert "somebody" not in text


def test_the_model_is_said_as_it_is_and_as_the_gallery_keeps_it(running, client, monkeypatch):
    seen = running.service.model.preprocessing.to_json()
    stats = client.get("/v1/stats").json()
    assert (stats["trained"], stats["preprocessing"]) == (None, seen)
    assert client.get("/v1/about").json()["model"]["trained"] is None
    monkeypatch.setattr(running.service.model, "trained", "not finished: 6 steps")
    model = client.get("/v1/about").json()["model"]
    assert (model["trained"], model["preprocessing"]) == ("not finished: 6 steps", seen)
