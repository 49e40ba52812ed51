"""Probabilities and "unknown" over HTTP."""

import signal
from dataclasses import replace

import httpx
import pytest

from calibrated import known_calibration
from crossreid.data.records import INFRARED, VISIBLE
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration_files import to_json
from crossreid.files import write_json
from crossreid.galleries import open_gallery
from crossreid.inference.open_model import open_model
from forked import Forked, command
from served import files, make_place, served
from served_command import answered, free_port


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A place of its own: what is noted in its gallery is not in others' way."""
    return make_place(tmp_path_factory.mktemp("open-set"), "baseline")


@pytest.fixture(scope="module")
def model(place):
    opened = open_model(place.run)
    opened.calibration = known_calibration(opened.fingerprint, low=0.9, high=1.2)
    return opened


def asked(running, place, **data):
    picture = place.images[0]
    kind = "infrared" if "c3" in picture.name or "c6" in picture.name else "visible"
    with running.client() as client:
        answer = client.post("/v1/search/images", files=files([picture]), data={"modality": kind, "k": 100, **data})
        assert answer.status_code == 200, answer.text
        return kind, answer.json()


def test_each_match_has_the_probability_of_its_pair(place, model, tmp_path):
    with served(place, tmp_path, model=model, unknown_below=0.999) as running:
        kind, found = asked(running, place)
        query = INFRARED if kind == "infrared" else VISIBLE
        assert {match["entry"]["modality"] for match in found["matches"]} == {"visible", "infrared"}
        for match in found["matches"]:
            other = INFRARED if match["entry"]["modality"] == "infrared" else VISIBLE
            assert match["probability"] == pytest.approx(
                float(model.calibration.probability(match["score"], query, other))
            )
            assert match["accepted"] is False
        assert found["known"] is False
        assert found["threshold"] == {"unknown_below": 0.999, "false_accept_rate": None, "words": "probability 0.999"}
        with running.client() as client:
            about = client.get("/v1/about").json()
            assert about["calibration"] == {
                "method": "isotonic",
                "prior": 0.05,
                "pairs": list(model.calibration.curves),
            }
            assert about["threshold"]["unknown_below"] == 0.999
            document = client.get("/openapi.json").json()["components"]["schemas"]
        assert {"probability", "accepted"} <= document["Match"]["properties"].keys()
        assert {"known", "threshold"} <= document["Result"]["properties"].keys()


def test_somebody_is_known_by_another_image_not_by_the_query_itself(place, model, tmp_path):
    with served(place, tmp_path, model=model, unknown_below=0.02) as running:
        _, found = asked(running, place)
        assert found["known"] is True
        assert found["matches"][0]["is_query"]
        own = found["matches"][0]["entry"]["id"]
        with running.client() as client:
            ids = client.post("/v1/search/ids", json={"ids": [own], "k": 1, "include_queried": True}).json()
            assert ids["matches"][0]["accepted"] is True
            assert ids["known"] is False
            kinds = {match["entry"]["modality"]: match["entry"]["id"] for match in found["matches"]}
            both = client.post("/v1/search/ids", json={"ids": list(kinds.values())}).json()
        assert both["known"] is None, "no curve is of a query of both modalities"
        assert {match["probability"] for match in both["matches"]} == {None}


def test_by_the_thresholds_of_a_false_accept_rate(place, model, tmp_path):
    with served(place, tmp_path, model=model, false_accept_rate=0.01) as running:
        kind, found = asked(running, place)
        least = model.calibration.nearest[f"{kind}-visible"][0.01]
        assert [match["accepted"] for match in found["matches"]] == [
            match["score"] >= least for match in found["matches"]
        ]
    with (
        pytest.raises(CrossreidError, match=r"--false-accept-rate 0\.3"),
        served(place, tmp_path, model=model, false_accept_rate=0.3),
    ):
        pass


def test_a_request_states_its_prior(place, model, tmp_path):
    with served(place, tmp_path, model=model, false_accept_rate=0.01) as running:
        _, before = asked(running, place)
        _, found = asked(running, place, prior=0.3)
        assert (before["prior"], found["prior"]) == (0.05, 0.3)
        moved = model.calibration.at_prior(0.3)
        query = INFRARED if "c3" in place.images[0].name or "c6" in place.images[0].name else VISIBLE
        for match, as_before in zip(found["matches"], before["matches"], strict=True):
            other = INFRARED if match["entry"]["modality"] == "infrared" else VISIBLE
            assert match["probability"] == pytest.approx(float(moved.probability(match["score"], query, other)))
            assert match["probability"] > as_before["probability"]
            assert match["accepted"] == as_before["accepted"], "thresholds of a rate do not depend on it"
        own = found["matches"][0]["entry"]["id"]
        with running.client() as client:
            ids = client.post("/v1/search/ids", json={"ids": [own], "prior": 0.3}).json()
            assert ids["prior"] == 0.3
            for wrong in (0, 1, -1, "much"):
                assert client.post("/v1/search/ids", json={"ids": [own], "prior": wrong}).status_code == 422
                form = {"modality": "visible", "prior": wrong}
                answer = client.post("/v1/search/images", files=files(place.images[:1]), data=form)
                assert answer.status_code == 422


def test_a_gallery_of_another_size_is_said(place, model, tmp_path):
    measured = dict.fromkeys(model.calibration.curves, 100_000)
    another = open_model(place.run)
    another.calibration = replace(model.calibration, entries=measured)
    with served(place, tmp_path, model=another, false_accept_rate=0.01) as running:
        assert "was measured with 200,000 entries" in asked(running, place)[1]["warning"]
    with served(place, tmp_path, model=model, false_accept_rate=0.01) as running:
        assert asked(running, place)[1]["warning"] is None, "how many it was measured with is not known"


def test_without_a_calibration_answers_are_as_before_and_a_prior_is_refused(place, tmp_path):
    with served(place, tmp_path) as running:
        _, found = asked(running, place)
        assert {match["probability"] for match in found["matches"]} == {None}
        assert (found["known"], found["threshold"]) == (None, None)
        with running.client() as client:
            about = client.get("/v1/about").json()
            answer = client.post("/v1/search/images", files=files(place.images[:1]), data={"prior": 0.5})
        assert (about["calibration"], about["threshold"]) == (None, None)
        assert answer.status_code == 422
        assert "has no calibration" in answer.json()["error"]["message"]
    with pytest.raises(CrossreidError, match="has no calibration"), served(place, tmp_path, unknown_below=0.5):
        pass
    with open_gallery(place.gallery) as gallery:  # which the failed start gave back
        gallery.note_calibration(known_calibration(gallery.model))
    with served(place, tmp_path, unknown_below=0.5) as running:
        _, found = asked(running, place)
        assert found["known"] is True, "the gallery carries what the model does not"


def test_the_command_takes_a_calibration_and_a_threshold(place, tmp_path):
    fingerprint = open_model(place.run).fingerprint
    write_json(tmp_path / "calibration.json", to_json(known_calibration(fingerprint, low=0.9, high=1.2)))
    port, log = free_port(), tmp_path / "log"
    running = Forked(
        command, "serve", place.run, place.gallery, "--insecure", "--port", port, "--state", tmp_path / "state",
        "--calibration", tmp_path / "calibration.json", "--unknown-below", "0.999", log=log,
    )  # fmt: skip
    try:
        answered(f"http://127.0.0.1:{port}/v1/health")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=False) as client:
            about = client.get("/v1/about").json()
            found = client.post("/v1/search/images", files=files(place.images[:1]), data={"k": 5}).json()
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait() == 130, log.read_text()
    assert about["calibration"]["prior"] == 0.05
    assert about["threshold"]["unknown_below"] == 0.999
    assert found["known"] is False
    assert "a query is unknown if no match reaches probability 0.999" in log.read_text()
    with open_gallery(place.gallery, read_only=True) as gallery:
        assert gallery.calibration().thresholds == known_calibration().thresholds, "and the gallery keeps it"
