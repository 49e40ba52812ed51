"""Ranges come of training images alone: distinct, of both modalities equally, the same ones for the same seed."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossreid.data.catalogue import load
from crossreid.data.records import INFRARED, VISIBLE, DataError, Record
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.inference.exporting.precision.range_images import chosen, read_range_images
from crossreid.runs.preprocessing import Preprocessing


def records(visible, infrared):
    kinds = [VISIBLE] * visible + [INFRARED] * infrared
    return [Record(Path(f"{place}.png"), str(place % 5), 1, kind) for place, kind in enumerate(kinds)]


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 40), st.integers(0, 3))
def test_half_of_each_modality_and_the_other_fills_up(visible, infrared, count, seed):
    train = records(visible, infrared)
    if not train:
        return
    found = chosen(train, count, seed)
    assert len(set(found)) == len(found) == min(count, len(train))
    assert set(found) <= set(train)
    assert found == chosen(list(reversed(train)), count, seed)
    of_each = [sum(record.modality == kind for record in found) for kind in (VISIBLE, INFRARED)]
    if min(visible, infrared) >= count:
        assert abs(of_each[0] - of_each[1]) <= 1
        assert [record.modality for record in found[:2]] == [VISIBLE, INFRARED][: len(found)]
    elif len(found) < len(train):
        assert min(of_each) >= min(visible, infrared, count // 2)


def test_another_seed_chooses_others_and_nothing_is_refused():
    train = records(200, 200)
    assert chosen(train, 20, 0) != chosen(train, 20, 1)
    with pytest.raises(CrossreidError, match="--calibration-images 0"):
        chosen(train, 0, 0)
    with pytest.raises(CrossreidError, match="no training images"):
        chosen([], 5, 0)


def test_no_test_image_is_opened_and_an_unreadable_one_is_named(tmp_path):
    synthesise(tmp_path / "world", "sysu-mm01", 6, 3, images_per_camera=1, size=(64, 32), workers=1)
    split = load("sysu-mm01", tmp_path / "world")
    for record in (*split.test, *split.validation):
        record.path.unlink()
    told = []
    found = read_range_images(split.train, Preprocessing(48, 32), 10, 0, advance=lambda *counts: told.append(counts))
    assert found.images.shape == (10, 3, 48, 32)
    assert found.counts == {"visible": 5, "infrared": 5}
    assert told[0] == (0, 10)
    assert sum(done for done, *_ in told) == 10
    assert [len(batch["images"]) for batch in replace(found, batch=4).batches()] == [4, 4, 2]
    last = list(replace(found, batch=4, only=True).batches())[-1]["images"]
    assert len(last) == 4
    assert (last[1:] == found.images[-1]).all()
    bad = chosen(split.train, 10, 0)[3].path
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=bad.name):
        read_range_images(split.train, Preprocessing(48, 32), 10, 0)
