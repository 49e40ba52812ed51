"""Who was where, over HTTP, of a real watch; also while a process watches."""

import contextlib
import io
import json
import shutil
import sqlite3

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.errors import CrossreidError
from crossreid.service.keys import ROLES, add_key
from crossreid.service.watch_folder import WatchFolder
from crossreid.watching.identities.across_cameras import Identities
from crossreid.watching.identities.posterior import by_threshold
from crossreid.watching.identities.state import open_state
from served import refusal, served
from served_command import free_port
from watched import CAMERAS, NAMED, START, faces, make_watch, tracklet


@pytest.fixture(scope="module")
def made(tmp_path_factory, place):
    return make_watch(tmp_path_factory.mktemp("made") / "watch", place.world)


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    return path, {role: add_key(path, f"the {role} desk", [role]) for role in ROLES}


@pytest.fixture
def shown(made, place, keys, tmp_path):
    """A service of a copy of the watch, and a client for a role."""
    shutil.copytree(made, tmp_path / "watch")
    path, texts = keys
    with served(place, tmp_path / "state", keys=path, explain=False, watch=WatchFolder(tmp_path / "watch")) as running:
        yield running, tmp_path / "watch", lambda role: running.client(texts[role])


def actions(running):
    return [(line["key"], line["action"], line.get("shown")) for line in running.audit()]


def test_each_role_may_what_it_says_and_what_was_shown_is_in_the_audit_log(shown):
    running, _, client = shown
    looks = [
        "/v1/watch/timeline",
        "/v1/watch/identities",
        "/v1/watch/identities/g1",
        "/v1/watch/crops/1",
        "/v1/watch/events",
    ]
    for role in ROLES:
        with client(role) as asking:
            assert asking.get("/v1/about").json()["watch"] is True
            for path in looks:
                answer = asking.get(path)
                assert answer.status_code == (200 if role in ("watch", "admin") else 403), (role, path)
            merging = asking.post("/v1/watch/merge", json={"into": "g1", "other": "g99"})
            splitting = asking.post("/v1/watch/split", json={"identity": "g99", "tracks": [1]})
            expected = 404 if role in ("merge", "admin") else 403
            assert (merging.status_code, splitting.status_code) == (expected, expected), role
            searching = asking.get("/v1/sample")
            assert searching.status_code == (200 if role in ("search", "admin") else 403)
    by_watcher = [(action, who) for key, action, who in actions(running) if key == "the watch desk"]
    assert by_watcher == [
        ("watch timeline", ["g1", "g2", "g3", "g4"]), ("watch identities", ["g4", "g1", "g3", "g2"]), ("watch identity", ["g1"]),
        ("watch crop", ["g1"]), ("watch events", ["g1", "g2", "g3", "g4"]), ("refused", None), ("refused", None), ("refused", None),
    ]  # fmt: skip
    assert [action for key, action, _ in actions(running) if key == "the merge desk"].count("refused") == len(looks) + 1
    with running.client() as nobody:
        assert nobody.get("/v1/watch/timeline").status_code == 401
        assert nobody.get("/watch").status_code == 200


def test_the_timeline_is_of_the_time_and_cameras_asked_for(shown):
    _, _, client = shown
    with client("watch") as asking:
        every = asking.get("/v1/watch/timeline").json()
        assert every["cameras"] == [{"name": name, "number": number} for number, name in enumerate(CAMERAS, 1)]
        assert len(every["presences"]) == 12
        assert every["more"] is False
        first = every["presences"][0]
        assert (first["identity"], first["name"], first["camera"], first["modality"]) == (
            "g1",
            NAMED[0],
            "gate",
            "visible",
        )
        assert (first["first"], first["last"], first["open"]) == (START, START + 20, False)
        assert 0.5 < first["probability"] <= 1
        assert [one["modality"] for one in every["presences"]].count("infrared") == 5
        some = asking.get("/v1/watch/timeline", params={"since": START + 250, "until": START + 320}).json()["presences"]
        assert [(one["identity"], one["camera"]) for one in some] == [("g2", "yard"), ("g4", "yard")]
        two = asking.get("/v1/watch/timeline", params={"camera": ["gate", "hall-2"]}).json()["presences"]
        assert {one["camera"] for one in two} == {"gate", "hall-2"}
        cut = asking.get("/v1/watch/timeline", params={"limit": 5}).json()
        assert (len(cut["presences"]), cut["more"]) == (5, True)
        assert "gate" in refusal(asking.get("/v1/watch/timeline", params={"camera": "cellar"}), 404)
        for wrong in ({"since": "nan"}, {"limit": 0}, {"until": "soon"}):
            assert asking.get("/v1/watch/timeline", params=wrong).status_code == 422


def test_events_come_once_by_their_numbers(shown):
    _, _, client = shown
    with client("watch") as asking:
        first = asking.get("/v1/watch/events", params={"limit": 5}).json()
        rest = asking.get("/v1/watch/events", params={"after": first["latest"]}).json()
        assert [event["number"] for event in first["events"] + rest["events"]] == list(range(1, rest["latest"] + 1))
        assert asking.get("/v1/watch/events", params={"after": rest["latest"]}).json() == {
            "events": [],
            "latest": rest["latest"],
        }
        assert asking.get("/v1/watch/timeline").json()["latest"] == rest["latest"]


def test_an_identity_shows_its_tracks_and_their_images_and_no_other_file(shown, tmp_path):
    _, folder, client = shown
    with client("watch") as asking:
        found = asking.get("/v1/watch/identities/g1").json()
        assert [track["camera"] for track in found["tracks"]] == ["gate", "yard", "hall-2", "gate"]
        track = found["tracks"][0]
        assert [crop["image"] for crop in track["crops"]] == [True] * 3
        best = asking.get(f"/v1/watch/crops/{track['number']}")
        assert best.headers["content-type"] == "image/jpeg"
        last = asking.get(f"/v1/watch/crops/{track['number']}", params={"index": track["crops"][2]["index"]})
        assert best.content == last.content  # its quality is highest
        assert Image.open(io.BytesIO(best.content)).size == (32, 64)
        for wrong, status in (("g99", 404), ("x", 422), ("g0", 422)):
            assert asking.get(f"/v1/watch/identities/{wrong}").status_code == status
        for path in ("/v1/watch/crops/999", f"/v1/watch/crops/{track['number']}?index=7"):
            assert asking.get(path).status_code == 404
        (tmp_path / "secret.jpg").write_bytes(b"secret")
        with sqlite3.connect(folder / "state.db") as database:
            database.execute("UPDATE key_frames SET path = '../secret.jpg' WHERE track = ?", (track["number"],))
        assert asking.get(f"/v1/watch/crops/{track['number']}").status_code == 404
        identities = asking.get("/v1/watch/identities").json()
        assert (identities["first"], identities["last"]) == (START, START + 470)
        assert identities["identities"][0]["cameras"] == ["hall-2", "yard"]


def test_where_no_images_are_kept_none_is_shown(place, tmp_path):
    folder = make_watch(tmp_path / "watch", place.world, images=False)
    assert list(folder.rglob("*.jpg")) == []
    with (
        served(place, tmp_path / "state", explain=False, watch=WatchFolder(folder)) as running,
        running.client() as asking,
    ):
        tracks = asking.get("/v1/watch/identities/g1").json()["tracks"]
        assert {crop["image"] for track in tracks for crop in track["crops"]} == {False}
        assert "kept" in refusal(asking.get(f"/v1/watch/crops/{tracks[0]['number']}"), 404)


def test_a_person_merges_and_splits_and_is_named(shown):
    running, folder, client = shown
    with client("merge") as asking, client("watch") as looking:
        numbers = {one["identity"]: looking.get(f"/v1/watch/identities/{one['identity']}").json() for one in
                   looking.get("/v1/watch/identities").json()["identities"]}  # fmt: skip
        refused = asking.post("/v1/watch/merge", json={"into": "g1", "other": "g2"})
        assert "gate saw both at once" in refusal(refused, 409)
        done = asking.post("/v1/watch/merge", json={"into": "g3", "other": "g4"})
        assert done.status_code == 200
        assert done.json()["state"] == "done"
        (event,) = looking.get("/v1/watch/events", params={"after": done.json()["event"] - 1}).json()["events"]
        assert (event["kind"], event["identity"], event["other"], event["by"]) == (
            "merged",
            "g3",
            "g4",
            "the merge desk",
        )
        assert looking.get("/v1/watch/identities/g4").json()["identity"] == "g3"
        assert "already" in refusal(asking.post("/v1/watch/merge", json={"into": "g3", "other": "g4"}), 409)
        tracks = [track["number"] for track in numbers["g4"]["tracks"]]
        wrong = asking.post("/v1/watch/split", json={"identity": "g1", "tracks": tracks})
        assert "has no track" in refusal(wrong, 409)
        split = asking.post("/v1/watch/split", json={"identity": "g3", "tracks": tracks}).json()
        (event, *_) = looking.get("/v1/watch/events", params={"after": split["event"] - 1}).json()["events"]
        assert (event["kind"], event["other"], event["by"]) == ("split", "g3", "the merge desk")
        assert [
            t["number"] for t in looking.get(f"/v1/watch/identities/{event['identity']}").json()["tracks"]
        ] == tracks
    with sqlite3.connect(folder / "state.db") as database:
        links = {(kind, by) for kind, by in database.execute("SELECT kind, by FROM links")}
    assert links == {("must", "the merge desk"), ("cannot", "the merge desk")}
    recorded = [line for line in running.audit() if line["action"] in ("watch merge", "watch split")]
    assert len(recorded) == 5  # also those that were refused
    assert (recorded[1]["into"], recorded[1]["other"], recorded[1]["key"]) == ("g3", "g4", "the merge desk")
    assert recorded[4]["tracks"] == tracks


def test_while_a_process_watches_it_is_asked_and_what_it_did_is_told(shown):
    _, folder, client = shown
    with open_state(folder) as state, client("admin") as asking:
        watching = Identities(state, by_threshold(0.5))
        answer = asking.post("/v1/watch/merge", json={"into": "g3", "other": "g4"})
        assert answer.status_code == 202
        again = asking.post("/v1/watch/merge", json={"into": "g4", "other": "g3"}).json()
        asked = answer.json()
        assert asked["state"] == "asked"
        assert asking.get(f"/v1/watch/requests/{asked['request']}").json() == asked
        assert asking.get("/v1/watch/identities/g4").json()["identity"] == "g4"
        (event,) = watching.answer_requests()
        assert (event.kind, event.by) == ("merged", "the admin desk")
        done = asking.get(f"/v1/watch/requests/{asked['request']}").json()
        assert (done["state"], done["event"]) == ("done", event.number)
        assert asking.get(f"/v1/watch/requests/{again['request']}").json()["state"] == "refused"
        assert asking.get("/v1/watch/requests/99").status_code == 404
        # What is observed meanwhile is shown at once.
        before = asking.get("/v1/watch/timeline").json()["latest"]
        watching.observe(tracklet("yard", state.next_track("yard"), 900, 5, np.roll(faces()[3], 5)))
        news = asking.get("/v1/watch/events", params={"after": before}).json()["events"]
        assert [each["kind"] for each in news] == ["seen"]


def test_a_database_that_fails_is_not_the_clients_fault(shown):
    _, folder, client = shown
    with client("watch") as asking:
        with sqlite3.connect(folder / "state.db") as database:
            database.execute("ALTER TABLE presences RENAME TO gone")
        answer = asking.get("/v1/watch/timeline")
        assert answer.status_code == 503
        assert str(folder) not in json.dumps(answer.json())


def test_a_folder_that_nothing_was_watched_into_is_not_served(place, tmp_path):
    command = [
        "serve",
        str(place.run),
        str(tmp_path / "gallery"),
        "--port",
        str(free_port()),
        "--insecure",
        "--watch",
        ".",
    ]
    with contextlib.chdir(tmp_path):
        result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, CrossreidError)
    assert "holds no state of a watch" in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_service_without_a_watch_says_so(client):
    for path in ("/v1/watch/timeline", "/v1/watch/identities", "/v1/watch/crops/1"):
        assert "--watch" in refusal(client.get(path), 404)
    assert client.get("/v1/about").json()["watch"] is False
