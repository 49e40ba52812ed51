from crossreid.data.image_names import LeftOut, images_in, is_image, reason_left_out


def test_extensions_count_in_any_case(tmp_path):
    for name in ("b.JPG", "a.jpeg", "c.GIF", ".d.jpg", "e.heic"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in images_in(tmp_path)] == ["a.jpeg", "b.JPG", "c.GIF"]
    assert [path.name for path in images_in(tmp_path, (".jpg",))] == ["b.JPG"]
    assert images_in(tmp_path / "nowhere") == []
    assert is_image("x.TIF")
    assert not is_image("jpg")


def test_what_is_left_out_is_counted_by_reason():
    counted = LeftOut()
    for name in ("a.HEIC", "b.heic", "c.txt", ".d.jpg"):
        counted.add(name, reason_left_out(name))
    assert [line.split(":")[0] for line in counted.lines()] == ["left out, 2", "left out, 1", "left out, 1"]
    assert "for example a.HEIC" in counted.lines()[0]
