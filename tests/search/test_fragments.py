"""Names of pictures and of their parts: each names one, whatever the path holds."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crossreid.data.records import DataError
from crossreid.search.fragments import path_and_box, source_of

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
