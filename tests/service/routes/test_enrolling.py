"""Images that become entries, with and without copies of them."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from served import files, ids_of, within


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
        running.service.siblings.leftovers.images = True
        round_ = threads.submit(running.service.housekeeping.round)
        assert not within(round_.done, 0.2)
        go_on.set()
        assert enrolled.result().status_code == 201
        round_.result()
    monkeypatch.undo()
    assert client.get("/v1/image", params={"id": "late"}).status_code == 200
    client.post("/v1/entries/delete", json={"ids": ["late"]})
    running.service.kept.delete(["orphan"])
