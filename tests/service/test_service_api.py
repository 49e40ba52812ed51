"""What the service answers, asked over HTTP; what is right is told by the library, called beside it."""

import hashlib
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import numpy as np
import pytest
import torch
from PIL import Image

from crossreid.data.images import load_image
from crossreid.galleries import Filter, open_gallery
from crossreid.galleries.errors import GalleryFault
from crossreid.inference.export import export_onnx
from crossreid.inference.model import open_model
from crossreid.service.keys import add_key, remove_key
from crossreid.service.running import open_for_service
from served import connected, make_place, served, within


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def running(place, tmp_path_factory):
    state = tmp_path_factory.mktemp("state")
    with served(place, state, keep_images=True) as found:
        yield found


@pytest.fixture
def client(running):
    with running.client() as opened:
        yield opened


def embedded(running, paths, modality):
    """What the library makes of images: one embedding of each, and one of all together."""
    model = running.service.model
    size = (model.preprocessing.height, model.preprocessing.width)
    images = torch.stack([model.transform(load_image(path, at_least=size)) for path in paths])
    modalities = torch.full((len(paths),), modality)
    return model.embed(images, modalities).numpy(), model.embed_sets(images, modalities, [range(len(paths))]).numpy()


def files(paths, field="images"):
    return [(field, (path.name, path.read_bytes(), "image/jpeg")) for path in paths]


def ids_of(answer):
    assert answer.status_code == 200, answer.text
    return [match["entry"]["id"] for match in answer.json()["matches"]]


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


def test_enrolled_images_are_found_shown_and_deleted_with_their_copies(running, client, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "new.png"
    Image.fromarray(rng.integers(0, 255, (700, 350, 3), dtype=np.uint8)).save(path)
    given = {"id": "new/1", "identity": "zoë", "camera": 9, "time": "2026-11-21T10:00:00+01:00", "source": "door"}
    assert client.post("/v1/entries", files=files([path]), data=given).json() == {"ids": ["new/1"]}
    again = client.post("/v1/entries", files=files([path]), data=given)
    assert again.status_code == 409
    assert "'new/1'" in again.json()["error"]["message"]
    assert client.post("/v1/entries", files=files([path]), data={**given, "replace": True}).status_code == 201
    assert client.get("/v1/entry", params={"id": "new/1"}).json() == {
        "id": "new/1", "identity": "zoë", "camera": 9, "modality": "visible", "time": "2026-11-21T09:00:00Z",
        "source": "door", "image": True,
    }  # fmt: skip
    assert ids_of(client.post("/v1/search/images", files=files([path]), data={"k": 1})) == ["new/1"]
    shown = client.get("/v1/image", params={"id": "new/1", "size": 1024})
    assert Image.open(io.BytesIO(shown.content)).size == (256, 512)  # a small copy, not what was sent
    assert client.post("/v1/entries/delete", json={"ids": ["new/1", "unknown"]}).json() == {"deleted": 1}
    assert client.get("/v1/entry", params={"id": "new/1"}).status_code == 404
    assert client.get("/v1/image", params={"id": "new/1"}).status_code == 404
    assert client.post("/v1/search/ids", json={"ids": ["new/1"]}).status_code == 404
    assert list(running.service.kept.ids()) == []


def test_what_is_deleted_by_a_filter_leaves_no_copy_and_compacting_no_byte(running, client):
    source = "only-here-0c1f"
    paths = running.place.images[:2]
    made = client.post("/v1/entries", files=files(paths), data={"source": source, "camera": 77}).json()["ids"]
    assert len(set(made)) == 2
    folders = (running.place.gallery, running.service.settings.state)

    def holding():
        marks = (source.encode(), made[0].encode())
        every = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"]
        return [path.name for path in every if any(mark in path.read_bytes() for mark in marks)]

    assert holding()
    assert client.post("/v1/entries/delete", json={"filter": {"cameras": [77]}}).json() == {"deleted": 2}
    assert list(running.service.kept.ids()) == []
    assert client.post("/v1/compact").json()["bytes"] > 0
    assert holding() == []


def test_copies_of_an_earlier_service_go_with_their_entries_though_no_more_are_kept(place, tmp_path, running):
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    running.service.gallery.snapshot(own.gallery)
    path, model = place.images[0], running.service.model
    for keep in (True, False):
        with served(own, tmp_path / "state", model=model, keep_images=keep, images=()) as now, now.client() as client:
            if keep:
                client.post("/v1/entries", files=files([path, path]), data={"id": ["one", "two"]})
                continue
            assert client.get("/v1/image", params={"id": "one"}).status_code == 200
            client.post("/v1/entries", files=files([path]), data={"id": "two", "replace": True})
            assert client.get("/v1/image", params={"id": "two"}).status_code == 404  # it was of what was replaced
            client.post("/v1/entries/delete", json={"ids": ["one"]})
            assert list(now.service.kept.ids()) == []


def test_an_empty_filter_deletes_nothing(running, client):
    before = client.get("/v1/stats").json()["entries"]
    for which in ({}, {"filter": {}}, {"ids": ["a"], "filter": {"cameras": [1]}}, {"filter": {"source_prefix": ""}}):
        assert client.post("/v1/entries/delete", json=which).status_code == 422
    assert client.get("/v1/stats").json()["entries"] == before == len(running.service.gallery)


def test_images_are_shown_without_what_a_camera_wrote_and_only_from_below_the_roots(running, client, tmp_path):
    world = running.place.world
    path = world / "images" / "with-exif.jpg"
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    Image.new("RGB", (40, 80), "red").save(path, exif=exif)
    outside = tmp_path / "secret.jpg"
    Image.new("RGB", (40, 80), "blue").save(outside)
    (world / "link.jpg").symlink_to(outside)
    client.post("/v1/entries", files=files([path]), data={"id": "inside", "source": str(path)})
    client.post("/v1/entries", files=files([path]), data={"id": "part", "source": f"{path}#xywh=5,20,30,15"})
    for name, source in (
        ("outside", str(outside)),
        ("up", f"{world}/../../../etc/hostname"),
        ("link", str(world / "link.jpg")),
    ):
        client.post("/v1/entries", files=files([path]), data={"id": name, "source": source})
    ids = ["inside", "part", "outside", "up", "link"]
    running.service.kept.delete(ids)  # so that the files have to do
    shown = [client.get("/v1/image", params={"id": id}) for id in ids]
    assert [answer.status_code for answer in shown] == [200, 200, 404, 404, 404]
    assert Image.open(io.BytesIO(shown[1].content)).size == (30, 15)
    assert shown[0].headers["content-type"] == "image/jpeg"
    assert b"taken at home" not in shown[0].content
    client.post("/v1/entries/delete", json={"ids": ids})


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


def test_what_cannot_be_written_down_is_not_answered(running, client, tmp_path, caplog):
    client.get("/v1/sample")  # so that today's file is there
    (today,) = running.service.audit.folder.iterdir()
    aside = today.rename(tmp_path / "aside")
    today.symlink_to("/dev/full")
    path = running.place.images[1]
    answer = client.post("/v1/search/images", files=files([path]))
    assert answer.status_code == 500
    assert path.name not in answer.text
    before = len(running.service.gallery)
    assert client.post("/v1/entries", files=files([path])).status_code == 500
    assert len(running.service.gallery) == before
    today.unlink()
    aside.rename(today)
    assert "No space left" in caplog.text
    assert client.post("/v1/search/images", files=files([path])).status_code == 200


def test_a_disk_that_fails_is_no_fault_of_the_client_and_its_path_stays_here(running, client, caplog):
    path = running.place.images[1]
    writer = running.service.gallery._store.database._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count={pages}")
    try:
        answers = [client.post("/v1/entries", files=files([path] * 16), data={"source": "x" * 4000}) for _ in range(8)]
    finally:
        writer.execute("PRAGMA max_page_count=1073741823")
    assert answers[-1].status_code == 503
    assert answers[-1].json()["error"]["code"] == "fault"
    assert "sqlite" not in answers[-1].text
    assert str(running.place.gallery) not in answers[-1].text
    assert "disk is full" in caplog.text
    assert str(running.place.gallery) in caplog.text
    added = [id for answer in answers if answer.status_code == 201 for id in answer.json()["ids"]]
    assert all(running.service.gallery.get(added))  # what was acknowledged is there
    running.service.gallery.delete(added)
    assert client.post("/v1/entries", files=files([path]), data={"id": "afterwards"}).status_code == 201
    client.post("/v1/entries/delete", json={"ids": ["afterwards"]})


def test_an_entry_never_shows_the_image_of_the_one_it_replaced(running, client, monkeypatch):
    first, second = running.place.images[:2]
    assert client.post("/v1/entries", files=files([first]), data={"id": "one"}).status_code == 201
    with monkeypatch.context() as broken:
        broken.setattr(running.service.kept, "put", lambda _: (_ for _ in ()).throw(OSError("the disk is gone")))
        assert client.post("/v1/entries", files=files([second]), data={"id": "one", "replace": True}).status_code == 500
    assert client.get("/v1/image", params={"id": "one"}).status_code == 404
    assert client.post("/v1/entries", files=files([second]), data={"id": "one", "replace": True}).status_code == 201
    assert client.get("/v1/image", params={"id": "one"}).status_code == 200
    assert client.post("/v1/entries", files=files([first]), data={"id": "one"}).status_code == 409
    assert client.get("/v1/image", params={"id": "one"}).status_code == 200  # what is refused changes nothing
    client.post("/v1/entries/delete", json={"ids": ["one"]})


def test_an_image_that_is_enrolled_while_others_are_forgotten_stays(running, client, monkeypatch):
    """The entry is there before its image; who looks for images without an entry must not come in between."""
    path, upsert = running.place.images[0], running.service.gallery.upsert
    begun, go_on = threading.Event(), threading.Event()

    def slow(*given, **options):
        running.service.kept.put([("orphan", b"jpeg")])
        begun.set()
        assert go_on.wait(30)
        return upsert(*given, **options)

    monkeypatch.setattr(running.service.gallery, "upsert", slow)
    with ThreadPoolExecutor(2) as threads:
        enrolled = threads.submit(client.post, "/v1/entries", files=files([path]), data={"id": "late", "replace": True})
        assert begun.wait(30)
        running.service.housekeeping._orphans = True
        round_ = threads.submit(running.service.housekeeping.round)
        assert not within(round_.done, 0.2)
        go_on.set()
        assert enrolled.result().status_code == 201
        round_.result()
    monkeypatch.undo()
    assert client.get("/v1/image", params={"id": "late"}).status_code == 200
    client.post("/v1/entries/delete", json={"ids": ["late"]})
    running.service.kept.delete(["orphan"])


def test_one_service_keeps_its_state_in_a_folder_and_for_one_gallery(place, tmp_path, running):
    own, other = (place.__class__(place.run, place.world, tmp_path / name) for name in ("own", "other"))
    running.service.gallery.snapshot(own.gallery)
    model = running.service.model
    open_gallery(other.gallery, model=model.fingerprint, dimension=model.dimension).close()
    with served(own, tmp_path / "state", model=model, keep_images=True) as now, now.client() as client:
        assert client.post("/v1/entries", files=files(place.images[:1]), data={"id": "kept"}).status_code == 201
        with (
            pytest.raises(ValueError, match="another service keeps its state"),
            served(other, tmp_path / "state", model=model),
        ):
            pass
    with (
        pytest.raises(ValueError, match="keeps images of another gallery"),
        served(other, tmp_path / "state", model=model),
    ):
        pass
    with served(own, tmp_path / "state", model=model) as now, now.client() as client:
        assert client.get("/v1/image", params={"id": "kept"}).status_code == 200
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "images.sqlite").write_bytes(b"no database at all" * 100)
    with (
        pytest.raises(ValueError, match="cannot be opened as a file of kept images"),
        served(own, tmp_path / "broken", model=model),
    ):
        pass


def test_metrics_are_told_though_the_gallery_cannot_be_counted(running, client, monkeypatch):
    monkeypatch.setattr(type(running.service.gallery), "__len__", lambda _: (_ for _ in ()).throw(GalleryFault("down")))
    assert "crossreid_gallery_entries NaN" in client.get("/metrics").text


def test_metrics_count_answers_and_name_nobody(running, client):
    client.get("/v1/entry", params={"id": "somebody"})
    text = client.get("/metrics").text
    assert 'crossreid_requests_total{method="GET",route="/v1/entry",status="404"}' in text
    assert f"crossreid_gallery_entries {float(len(running.service.gallery))}" in text
    assert "somebody" not in text


def test_the_document_describes_every_route_and_its_refusals(client):
    document = client.get("/openapi.json").json()
    assert {
        "/v1/health", "/v1/about", "/v1/stats", "/v1/sample", "/v1/entry", "/v1/image", "/v1/search/images",
        "/v1/search/ids", "/v1/attention", "/v1/entries", "/v1/entries/delete", "/v1/compact", "/metrics",
    } == set(document["paths"])  # fmt: skip
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "4XX" in operation["responses"], path


def test_roles_are_held_and_keys_are_taken_back(place, running, tmp_path):
    # The gallery is one process's, so that a second service of it in this one shares what the first has open.
    keys = tmp_path / "keys.json"
    given = {role: add_key(keys, f"{role} desk", [role]) for role in ("search", "enrol", "admin")}
    model = running.service.model
    own = place.__class__(place.run, place.world, tmp_path / "gallery")
    with open_gallery(own.gallery, model=model.fingerprint, dimension=model.dimension):
        pass
    path = place.images[0]

    def asks(client):
        return {
            "stats": client.get("/v1/stats"),
            "search": client.post("/v1/search/images", files=files([path])),
            "enrol": client.post("/v1/entries", files=files([path])),
            "delete": client.post("/v1/entries/delete", json={"ids": ["x"]}),
            "about": client.get("/v1/about"),
            "metrics": client.get("/metrics"),
        }

    may = {
        "search": {"stats", "search", "about", "metrics"},
        "enrol": {"enrol", "about", "metrics"},
        "admin": {"stats", "search", "enrol", "delete", "about", "metrics"},
    }
    with served(own, tmp_path / "state", keys=keys, model=model) as guarded:
        for role, key in given.items():
            with guarded.client(key) as client:
                answers = asks(client)
                assert {name for name, answer in answers.items() if answer.is_success} == may[role]
                assert {answer.status_code for answer in answers.values() if not answer.is_success} <= {403}
                assert answers["about"].json()["roles"] == [role]
        with guarded.client() as client:
            assert {answer.status_code for answer in asks(client).values()} == {401}
            assert client.get("/v1/health").status_code == 200
        remove_key(keys, "search desk")
        with guarded.client(given["search"]) as client:
            refused = client.get("/v1/stats")
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
        lines = guarded.audit()
        assert {line["key"] for line in lines if line["action"] == "search"} == {"search desk", "admin desk"}
        assert {(line["action"], line.get("needs")) for line in lines if line["action"] == "refused"} == {
            ("refused", "search"), ("refused", "enrol"), ("refused", "admin")
        }  # fmt: skip
        assert any(line["action"] == "unknown key" for line in lines)


def test_an_exported_file_answers_like_the_run_and_has_no_maps(place, tmp_path, running):
    export_onnx(place.run, place.run / "model.onnx")
    model = open_for_service(place.run, "onnx")
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
