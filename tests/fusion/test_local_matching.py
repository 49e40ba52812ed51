"""Local matching on images: a turned and cropped copy beats another animal, pairs are compared once, features are kept."""

import sys

import numpy as np
import pytest
from PIL import Image

import crossreid
from crossreid.data.records import DataError
from crossreid.errors import CrossreidError
from crossreid.fusion.aligning import read_aligned
from crossreid.fusion.local_matching import LocalScores, make_matcher


@pytest.fixture(scope="module")
def sift():
    return make_matcher("sift", {"size": "192"})


def rgb(picture):
    return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("change", ["same", "rotated", "cropped", "shrunk", "darker"])
def test_a_changed_copy_beats_every_other_animal(coats, sift, change):
    picture = coats.photograph(0, 0)
    copy = {
        "same": lambda: picture,
        "rotated": lambda: picture.rotate(90, expand=True),
        "cropped": lambda: picture.crop((10, 20, 90, 85)),
        "shrunk": lambda: picture.resize((70, 70)),
        "darker": lambda: picture.point(lambda value: value * 0.6 + 20),
    }[change]()
    own = sift.match(rgb(picture), rgb(copy))
    others = [sift.match(rgb(coats.photograph(identity, 0)), rgb(copy)) for identity in range(1, 6)]
    assert own > 2 * max(others)
    assert own > 5


def test_an_image_without_a_pattern_matches_nothing(coats, sift):
    blank = np.full((40, 60, 3), 128, dtype=np.uint8)
    assert sift.describe(blank)["points"].shape == (0, 2)
    assert sift.match(blank, blank) == 0
    assert sift.match(rgb(coats.photograph(0, 0)), blank) == 0


class Counting:
    """SIFT that says how often it was asked."""

    def __init__(self):
        self.matcher, self.described, self.compared = make_matcher("sift", {"size": 96}), 0, 0
        self.settings = self.matcher.settings

    def describe(self, image):
        self.described += 1
        return self.matcher.describe(image)

    def compare(self, first, second):
        self.compared += 1
        return self.matcher.compare(first, second)

    def match(self, first, second):
        return self.compare(self.describe(first), self.describe(second))


def test_each_image_is_described_once_and_each_pair_compared_once(coats, tmp_path):
    aligned = read_aligned([coats.tested["a"]], [], "cross-modal")
    queries, gallery = np.array([0, 0, 1, 0, 5]), np.array([1, 2, 2, 1, 5])
    counting = Counting()
    scores = LocalScores(aligned, counting, root=coats.images, cache=tmp_path / "c", workers=2)
    found = scores(queries, gallery)
    assert found[0] == found[3]
    np.testing.assert_array_equal(scores(queries, gallery), found)
    assert (counting.described, counting.compared, scores.compared) == (4, 4, 4)
    images = [rgb(Image.open(coats.images / name)) for name in aligned.features.names[[1, 2]]]
    assert found[2] == counting.matcher.match(*images)
    kept = sorted((tmp_path / "c").iterdir())
    assert len(kept) == 4
    kept[0].write_bytes(b"PK damaged")
    again = Counting()
    np.testing.assert_array_equal(
        LocalScores(aligned, again, root=coats.images, cache=tmp_path / "c")(queries, gallery), found
    )
    assert again.described == 1
    assert sorted((tmp_path / "c").iterdir()) == kept


def test_a_part_of_a_picture_is_cut_out(coats, tmp_path):
    aligned = read_aligned([coats.tested["a"]], [], "cross-modal")
    film = Image.new("L", (300, 100))
    film.paste(Image.open(coats.images / str(aligned.features.names[0])), (150, 2))
    film.save(tmp_path / "film.png")
    boxes = {str(aligned.features.names[1]): ("film.png", (150, 2, 246, 98))}
    for name in aligned.features.names[:1]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.open(coats.images / name).save(tmp_path / name)
    matcher = make_matcher("sift")
    parts = LocalScores(type(aligned)(aligned.features, aligned.embeddings, boxes), matcher, root=tmp_path)
    described = matcher.describe(rgb(Image.open(coats.images / str(aligned.features.names[0]))))
    assert parts(np.array([0]), np.array([1]))[0] == pytest.approx(matcher.compare(described, described))


def test_a_missing_image_and_bad_options_are_one_line(coats, tmp_path):
    aligned = read_aligned([coats.tested["a"]], [], "cross-modal")
    with pytest.raises(DataError, match=r"0/0.png not found"):
        LocalScores(aligned, make_matcher("sift"), root=tmp_path)(np.array([0]), np.array([1]))
    for options, said in (
        ({"size": "big"}, "local matcher sift: size"),
        ({"sizes": "64"}, "local matcher sift: sizes"),
    ):
        with pytest.raises(CrossreidError, match=said):
            make_matcher("sift", options)
    with pytest.raises(CrossreidError, match=r"local matcher 'shift' is unknown\. Did you mean 'sift'"):
        make_matcher("shift")


def test_a_missing_library_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CrossreidError, match=r"pip install 'crossreid\[video\]'"):
        make_matcher("sift")
    monkeypatch.setitem(sys.modules, "kornia", None)
    with pytest.raises(CrossreidError, match="pip install kornia"):
        make_matcher("lightglue", {"extractor": "random", "matcher": "random"})


def test_a_matcher_of_somebody_else_is_used_by_its_name():
    @crossreid.register_matcher("brightness")
    class Brightness:
        settings = "brightness"

        def describe(self, image):
            return {"points": np.zeros((0, 2)), "mean": np.array(image.mean())}

        def compare(self, first, second):
            return 1 / (1 + abs(float(first["mean"] - second["mean"])))

        def match(self, first, second):
            return self.compare(self.describe(first), self.describe(second))

    assert make_matcher("brightness").match(np.zeros((2, 2, 3)), np.ones((2, 2, 3))) == 0.5
