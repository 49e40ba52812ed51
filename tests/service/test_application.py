"""One shape for every error, whoever is at fault, and the document of all routes."""

import pytest

from crossreid.errors import CrossreidError
from crossreid.service.explainer import Explainer
from served import files


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


def test_the_document_describes_every_route_and_its_refusals(client):
    document = client.get("/openapi.json").json()
    assert {
        "/v1/health", "/v1/about", "/v1/stats", "/v1/sample", "/v1/entry", "/v1/image", "/v1/search/images",
        "/v1/search/ids", "/v1/attention", "/v1/entries", "/v1/entries/delete", "/v1/compact", "/metrics",
        "/v1/watch/timeline", "/v1/watch/events", "/v1/watch/identities", "/v1/watch/identities/{id}", "/v1/watch/crops/{track}",
        "/v1/watch/merge", "/v1/watch/split", "/v1/watch/requests/{number}",
    } == set(document["paths"])  # fmt: skip
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "4XX" in operation["responses"], path


def test_what_the_library_refuses_is_refused_in_its_words(client, running, monkeypatch):
    monkeypatch.setattr(running.service.gallery, "sample", raising(CrossreidError("expected fewer")))
    answer = client.get("/v1/sample")
    assert (answer.status_code, answer.json()) == (422, {"error": {"code": "invalid", "message": "expected fewer"}})


@pytest.mark.parametrize("broken", ["gallery", "filter", "network"])
def test_a_value_error_of_the_program_is_no_fault_of_the_client(client, running, monkeypatch, caplog, broken):
    """A bug: 500 in the usual shape, whose text is in the log with a traceback, and nowhere else."""
    bug = raising(ValueError("axis 7 of /secret/path"))
    if broken == "gallery":
        monkeypatch.setattr(running.service.gallery, "search", bug)
    elif broken == "filter":
        monkeypatch.setattr("crossreid.service.schemas.Filter", bug)
    else:
        monkeypatch.setattr(type(running.service.model), "embed", bug)
    answer = client.post("/v1/search/images", files=files(running.place.images[:1]))
    assert answer.status_code == 500
    assert answer.json() == {"error": {"code": "fault", "message": "the service failed; its log says why."}}
    (record,) = [record for record in caplog.records if record.name == "crossreid.service"]
    assert record.levelname == "ERROR"
    assert record.getMessage() == "POST /v1/search/images"
    assert isinstance(record.exc_info[1], ValueError)
    assert "axis 7 of /secret/path" in caplog.text
    assert "Traceback" in caplog.text
    monkeypatch.undo()
    assert client.post("/v1/search/images", files=files(running.place.images[:1])).status_code == 200


def test_a_run_that_cannot_be_opened_for_maps_is_a_failure_of_the_service(
    client, running, monkeypatch, caplog, tmp_path
):
    monkeypatch.setattr(running.service, "explainer", Explainer(tmp_path / "gone", "best", None))
    path = running.place.images[0]
    answer = client.post("/v1/attention", files=files([path], "image"), data={"id": str(path)})
    assert answer.status_code == 500
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) in caplog.text


def raising(error):
    def fail(*_, **__):
        raise error

    return fail
