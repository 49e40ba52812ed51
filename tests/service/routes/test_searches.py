"""The two searches; what is right is told by the library, called beside it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from crossreid.galleries import Filter
from served import embedded, files, ids_of


def test_an_image_finds_what_the_library_finds(running, client):
    path = running.place.images[0]
    rows, _ = embedded(running, [path], 0)
    (expected,) = running.service.gallery.search(rows, 7, Filter(cameras=(2, 3)))
    (stored,) = running.service.gallery.get([str(path)])
    np.testing.assert_allclose(rows[0], stored.embedding, atol=1e-5)  # what `crossreid embed` made of it
    answer = client.post(
        "/v1/search/images", files=files([path]), data={"k": 7, "filter_camera": [2, 3], "modality": "visible"}
    )
    assert ids_of(answer) == list(expected.ids)
    found = answer.json()
    np.testing.assert_allclose([match["score"] for match in found["matches"]], expected.scores, atol=1e-5)
    assert [match["rank"] for match in found["matches"]] == list(range(1, 8))
    assert found["model"] == running.service.model.fingerprint
    assert {match["entry"]["camera"] for match in found["matches"]} <= {2, 3}


def test_several_images_are_one_tracklet(running, client):
    paths = running.place.images[:3]
    _, (mean,) = embedded(running, paths, 1)
    (expected,) = running.service.gallery.search(mean[None], 5)
    answer = client.post("/v1/search/images", files=files(paths), data={"k": 5, "modality": "infrared"})
    assert ids_of(answer) == list(expected.ids)
    told = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert answer.json()["query"] == {"sha256": told, "ids": []}


def test_an_entry_asks_and_is_not_its_own_answer(running, client):
    gallery = running.service.gallery
    first, second = gallery.sample(2, 3)
    (expected,) = gallery.search(first.embedding[None], 6)
    assert expected.ids[0] == first.id
    assert ids_of(client.post("/v1/search/ids", json={"ids": [first.id], "k": 5})) == list(expected.ids[1:])
    itself = client.post("/v1/search/ids", json={"ids": [first.id], "k": 6, "include_queried": True})
    assert ids_of(itself) == list(expected.ids)
    mean = (first.embedding + second.embedding) / 2
    (expected,) = gallery.search(mean[None], 7)
    wanted = [id for id in expected.ids if id not in (first.id, second.id)][:5]
    assert ids_of(client.post("/v1/search/ids", json={"ids": [first.id, second.id], "k": 5})) == wanted


def test_filters_hold_together_and_impossible_ones_are_refused(running, client):
    entry = running.service.gallery.sample(1)[0]
    conditions = {"identity": entry.identity, "modality": "infrared", "source_prefix": str(running.place.world)}
    answer = client.post("/v1/search/ids", json={"ids": [entry.id], "k": 50, "filter": conditions})
    entries = [match["entry"] for match in answer.json()["matches"]]
    assert entries
    assert {(each["identity"], each["modality"]) for each in entries} == {(entry.identity, "infrared")}
    for wrong in (
        {"since": "yesterday"},
        {"since": "2026-01-02", "until": "2026-01-01"},
        {"cameras": [-1]},
        {"colour": "red"},
    ):
        refused = client.post("/v1/search/ids", json={"ids": [entry.id], "filter": wrong})
        assert refused.status_code == 422
        assert refused.json()["error"]["code"] == "invalid"


def test_many_at_once_get_their_own_answers(running):
    paths = running.place.images
    rows, _ = embedded(running, paths, 0)
    expected = [matches.ids for matches in running.service.gallery.search(rows, 3)]

    def ask(path):
        with running.client() as client:
            return tuple(ids_of(client.post("/v1/search/images", files=files([path]), data={"k": 3})))

    before = batches(running)
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(ask, paths)) == expected
    passes, images = (now - then for now, then in zip(batches(running), before, strict=True))
    assert images == len(paths)
    assert passes < len(paths)  # some of them together


def batches(running):
    found = running.service.metrics.registry.get_sample_value
    return found("crossreid_batch_images_count"), found("crossreid_batch_images_sum")


def test_the_audit_log_says_who_searched_for_what_and_what_was_shown(running, client):
    path = running.place.images[1]
    answer = client.post("/v1/search/images", files=files([path]), data={"k": 2, "filter_modality": "infrared"})
    line = next(line for line in running.audit() if line.get("request") == answer.headers["x-request-id"])
    assert line["action"] == "search"
    assert line["key"] == "insecure"
    assert line["sha256"] == [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert line["filter"] == {"modality": "infrared"}
    assert line["shown"] == ids_of(answer)
    (file,) = running.service.audit.folder.glob("*.jsonl")
    assert file.stat().st_mode & 0o077 == 0
