"""What a service holds while it runs."""

import pytest

from crossreid.galleries import open_gallery
from served import files, served


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
