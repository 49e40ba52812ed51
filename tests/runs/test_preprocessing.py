"""Preprocessing is what a file says, or refused."""

import pytest

from crossreid.runs.preprocessing import Preprocessing


def test_preprocessing_that_this_version_does_not_do_is_refused(tmp_path):
    good = Preprocessing(64, 32, "bicubic").to_json()
    assert Preprocessing.from_json(good, tmp_path) == Preprocessing(64, 32, "bicubic")
    halves = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    assert Preprocessing.from_json({**good, **halves}, tmp_path).normalisation.mean == (0.5, 0.5, 0.5)
    for change, told in (
        ({"std": [0.5, 0.0, 0.5]}, "deviations above 0"),
        ({"mean": [0.5, float("nan"), 0.5]}, "three finite numbers"),
        ({"mean": [0.5, 0.5]}, "incomplete"),
        ({"colours": "BGR"}, "BGR"),
        ({"interpolation": "nearest"}, "bilinear or bicubic"),
        ({"height": 0}, "height=0"),
    ):
        with pytest.raises(ValueError, match=told):
            Preprocessing.from_json({**good, **change}, tmp_path)
    with pytest.raises(ValueError, match="incomplete"):
        Preprocessing.from_json({"height": 3}, tmp_path)
