"""What is served: a run, or a file that was exported from it."""

import pytest

from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.open_by_engine import open_by_engine
from crossreid.inference.open_model import open_model
from served import files, served


def test_an_exported_file_answers_like_the_run_and_has_no_maps(place, tmp_path, running):
    export_onnx(place.run, place.run / "model.onnx")
    model = open_by_engine(place.run, "onnx")
    assert model.runtime == "onnx"
    assert model.fingerprint == open_model(place.run).fingerprint
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    paths = place.images[:2]
    with (
        served(own, tmp_path / "state", model=model, explain=False) as exported,
        exported.client() as other,
        running.client() as client,
    ):
        for count in (1, 2):
            mine, theirs = (
                each.post("/v1/search/images", files=files(paths[:count]), data={"k": 200}).json()["matches"]
                for each in (other, client)
            )
            scores = {match["entry"]["id"]: match["score"] for match in theirs}
            assert len(scores) == len(running.service.gallery)
            assert {match["entry"]["id"]: match["score"] for match in mine} == pytest.approx(scores, abs=1e-4)
        refused = other.post("/v1/attention", files=files(paths[:1], "image"), data={"id": str(paths[0])})
        assert refused.status_code == 409
        assert other.get("/v1/about").json()["attention"] is False
