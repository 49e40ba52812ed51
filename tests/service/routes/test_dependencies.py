"""Roles of keys, whatever the route."""

from crossreid.galleries import open_gallery
from crossreid.service.keys import add_key, remove_key
from served import files, served


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
