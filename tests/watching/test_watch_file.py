"""What a watch is of is kept, and another one is refused by name."""

import json

import pytest

from crossreid.data.records import DataError
from crossreid.watching.watch_file import content_of, make_or_keep

FACTS = {
    "cameras": {"gate": {"source": "gate.mp4", "light": "auto", "offset": 0.0}},
    "settings": {"detector": "background", "tracking": {"tracker": "bytetrack", "key_frames": 8}, "classes": []},
}


def changed(**settings):
    return {**FACTS, "settings": {**FACTS["settings"], **settings}}


def test_the_same_watch_goes_on(tmp_path):
    make_or_keep(tmp_path, FACTS)
    written = (tmp_path / "watch.json").read_bytes()
    make_or_keep(tmp_path, json.loads(json.dumps(FACTS)))
    assert (tmp_path / "watch.json").read_bytes() == written
    assert len(json.loads(written)["fingerprint"]) == 8


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (changed(detector="det.txt"), "settings.detector was background, is det.txt"),
        (
            changed(tracking={"tracker": "ocsort", "key_frames": 8}),
            "settings.tracking.tracker was bytetrack, is ocsort",
        ),
        (changed(fps=5), "settings.fps was not given, is 5"),
        (
            {**FACTS, "cameras": {**FACTS["cameras"], "yard": {"source": "yard.mp4"}}},
            "another watch: camera yard is new. ",
        ),
        ({**FACTS, "cameras": {"gate": {"source": "gate.mp4", "light": "auto", "offset": 2.0}}}, "offset was 0, is 2"),
    ],
)
def test_another_watch_is_refused_and_named(tmp_path, now, said):
    make_or_keep(tmp_path, FACTS)
    written = (tmp_path / "watch.json").read_bytes()
    with pytest.raises(DataError, match="belongs to another watch") as caught:
        make_or_keep(tmp_path, now)
    assert said in str(caught.value)
    assert (tmp_path / "watch.json").read_bytes() == written


def test_files_count_by_their_content(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,0,0,10,10,1\n")
    before = content_of(path)
    path.write_text("1,-1,0,0,10,11,1\n")
    assert content_of(path) != before
    assert content_of(tmp_path) == content_of(tmp_path)
    assert content_of(None) is None
    assert content_of(tmp_path / "nothing") == str(tmp_path / "nothing")
