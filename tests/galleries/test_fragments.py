"""Names of pictures and of their parts: each names one, whatever the path holds."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossreid.data.records import DataError
from crossreid.galleries.fragments import file_of, path_and_box, source_of

# Paths that are told apart from boxes with difficulty, among any text.
PATHS = st.text() | st.lists(
    st.sampled_from(["a", "#", "/", "xywh=", "#xywh=", "1,2,3,4", "0,0,1,1", "01,2,3,4", "\n", "٣", "%23"]), max_size=6
).map("".join)  # fmt: skip
SIDES = st.tuples(st.integers(0, 10**9 - 1), st.integers(1, 10**9 - 1))
BOXES = st.tuples(SIDES, SIDES).map(lambda s: (s[0][0], s[1][0], s[0][0] + s[0][1], s[1][0] + s[1][1]))


@given(path=PATHS, box=st.none() | BOXES)
@example(path="a#xywh=1,2,3,4", box=None)
@example(path="a#xywh=1,2,3,4##", box=None)
@example(path="a#xywh=1,2,3,4", box=(1, 2, 3, 4))
def test_a_name_gives_back_the_path_and_the_box(path, box):
    assert path_and_box(source_of(path, box)) == (path, box)


@given(source=PATHS)
@example(source="a#xywh=1,2,3,4#")
@example(source="a#xywh=999999999,0,999999999,1")
def test_any_text_is_the_name_of_one_thing(source):
    assert source_of(*path_and_box(source)) == source


def test_names_are_media_fragments():
    assert source_of("wild/0007.jpg", (12, 30, 112, 230)) == "wild/0007.jpg#xywh=12,30,100,200"
    assert source_of("wild/0007.jpg", None) == "wild/0007.jpg"
    assert path_and_box("a#b#xywh=0,0,1,2") == ("a#b", (0, 0, 1, 2))


@pytest.mark.parametrize(
    "source",
    ["a#xywh=1,2,3", "a#xywh=1,2,3,0", "a#xywh=-1,2,3,4", "a#xywh=pixel:1,2,3,4", "a#xywh=1,2,3,4\n", "a#xywh=1,2,3,4&t=1",
     "a#xywh=01,2,3,4", "a#xywh=1.5,2,3,4", "a#XYWH=1,2,3,4", "a#xywh=1,2,3,٤", "axywh=1,2,3,4", f"a#xywh=1,2,3,{'9' * 5000}"],
)  # fmt: skip
def test_what_is_not_well_formed_is_a_path(source):
    assert path_and_box(source) == (source, None)


@pytest.mark.parametrize("box", [(5, 2, 5, 9), (5, 2, 3, 9), (-1, 0, 4, 4), (0.5, 0, 4, 4), (0, 0, 10**10, 4)])
def test_boxes_of_nothing_are_refused(box):
    with pytest.raises(DataError, match=r"a\.jpg: expected a box"):
        source_of("a.jpg", box)


def test_a_file_is_found_below_a_root_only(tmp_path, monkeypatch):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside / "deep", outside):
        folder.mkdir(parents=True)
        (folder / "a.jpg").touch()
    (inside / "link.jpg").symlink_to(outside / "a.jpg")
    (inside / "round").symlink_to(inside / "round")
    monkeypatch.chdir(tmp_path)
    roots = [inside.resolve()]
    found = (inside / "deep" / "a.jpg").resolve(), None
    for name in ("deep/a.jpg", "inside/deep/a.jpg", str(inside / "deep" / "a.jpg"), "deep/../deep/a.jpg"):
        assert file_of(name, roots) == found, name
    assert file_of("deep/a.jpg#xywh=1,2,3,4", roots) == (found[0], (1, 2, 4, 6))
    for name in (
        "",
        ".",
        "deep",
        "b.jpg",
        "../outside/a.jpg",
        str(outside / "a.jpg"),
        "link.jpg",
        "round",
        "a\0b",
        "x" * 5000,
    ):
        assert file_of(name, roots) is None, name
    assert file_of("inside/deep/a.jpg", []) is None
