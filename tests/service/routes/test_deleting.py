"""Entries that go, and what they leave."""

from served import files, served


def test_what_is_deleted_by_a_filter_leaves_no_copy_and_compacting_no_byte(running, client):
    source = "only-here-0c1f"
    paths = running.place.images[:2]
    made = client.post("/v1/entries", files=files(paths), data={"source": source, "camera": 77}).json()["ids"]
    assert len(set(made)) == 2
    folders = (running.place.gallery, running.service.options.state)

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
