"""Images of entries, as people see them."""

import io

from PIL import Image

from served import files


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
