"""Images of entries as they are shown: with the grey levels that the model saw."""

import numpy as np
from PIL import Image

from crossreid.data.images import load_image
from crossreid.data.records import Record
from crossreid.galleries.entries import Entry
from crossreid.service.pictures import Pictures


def test_pictures_of_16_bits_are_shown_by_the_model_s_range(tmp_path):
    path = tmp_path / "thermal.png"
    Image.fromarray(np.linspace(7300, 8199, 96 * 64).reshape(96, 64).astype(np.uint16)).save(path)
    levels = {1: (7300, 8199), 2: (7000, 8500)}
    pictures = Pictures((tmp_path,), levels=levels)
    for camera, wanted in ((1, levels[1]), (2, levels[2]), (0, "picture")):
        shown = pictures.pixels(Entry(None, "a", camera=camera, source=str(path)))
        np.testing.assert_array_equal(shown, load_image(Record(path, "", camera, levels=wanted)))
        assert np.ptp(shown) > 100
