"""Pictures of 16 bits: by their upper bits, by a range, or each by its own."""

import json
import warnings

import numpy as np
import pytest
from PIL import Image

from crossreid.data.checking import check
from crossreid.data.images import load_image
from crossreid.data.levels import UnknownRange, as_bytes, query_levels, with_levels
from crossreid.data.records import Record
from crossreid.runs.faults import RecipeError
from crossreid.runs.preprocessing import Preprocessing
from crossreid.runs.recipe import load_recipe
from crossreid.runs.shipped import SHIPPED

RECIPE = SHIPPED / "baseline_manifest_visible.yaml"


@pytest.fixture
def thermal(tmp_path):
    """A manifest of 16-bit pictures of 7300 to 8199, by two cameras, and a picture of 8 bits."""
    lines = ["path,identity,camera,modality"]
    ramp = np.linspace(7300, 8199, 40 * 24).reshape(40, 24)
    for number in range(6):
        for camera in (1, 2):
            values = ramp + (100 * camera if number else 0)
            Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"{number}_{camera}.png")
            lines.append(f"{number}_{camera}.png,n{number},{camera},ir")
    Image.fromarray((np.arange(960) % 256).reshape(40, 24).astype(np.uint8)).save(tmp_path / "plain.png")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_default_is_the_upper_eight_bits_and_warns_of_a_narrow_range(thermal):
    with pytest.warns(UserWarning, match=r"come out almost black or uniform: set data\.levels"):
        pixels = load_image(Record(thermal / "0_1.png", ""))
    assert len(np.unique(pixels)) == 5, "7300 to 8199 are five of 256 levels"
    whole = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(as_bytes(whole, None), (whole >> 8).astype(np.uint8))
        as_bytes(np.full((4, 4), 7300), None)  # of one value there is nothing to see


@pytest.mark.parametrize("levels", [(7300, 8199), "picture"])
def test_a_range_spreads_over_all_levels(thermal, levels):
    pixels = load_image(Record(thermal / "0_1.png", "", levels=levels))
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert len(np.unique(pixels)) > 200
    assert np.all(np.diff(pixels[:, :, 0].ravel().astype(int)) >= 0)
    plain = thermal / "plain.png"
    assert np.array_equal(load_image(Record(plain, "", levels=levels)), load_image(plain)), "8 bits stay as they are"


def test_each_camera_has_its_range(thermal):
    records = [Record(thermal / f"0_{camera}.png", "", camera) for camera in (1, 2)]
    one, two = with_levels(records, {1: (7300, 8199), 2: (7000, 9000)})
    assert (one.levels, two.levels) == ((7300, 8199), (7000, 9000))
    with pytest.raises(UnknownRange, match=r"no range for camera 2 .* It has ranges for 1"):
        with_levels(records, {1: (7300, 8199)})
    assert [record.levels for record in with_levels(records, "full")] == [None, None]
    assert query_levels({1: (7300, 8199)}) == "picture"


def test_check_says_the_range_of_each_camera(thermal):
    (note,) = (note for note in check("manifest", thermal).notes if "16-bit" in note)
    assert "data.levels: {1: [7300, 8299], 2: [7300, 8399]}" in note
    assert not any("16-bit" in note for note in check("manifest", thermal, levels="picture").notes)


def test_recipes_and_exported_models_say_it(tmp_path):
    for text, expected in (("picture", "picture"), ("[7300, 8199]", (7300, 8199)), ("{1: [0, 9]}", {1: (0, 9)})):
        recipe = load_recipe(RECIPE, [f"data.levels={text}"])
        assert recipe.data.levels == expected
        (tmp_path / "r.yaml").write_text(recipe.as_yaml())
        assert load_recipe(tmp_path / "r.yaml") == recipe
        written = Preprocessing(64, 32, levels=expected).to_json()
        assert Preprocessing.from_json(json.loads(json.dumps(written)), tmp_path).levels == expected
    assert "levels" not in Preprocessing(64, 32).to_json(), "all other models keep their fingerprints"
    for text in ("[9, 1]", "auto", "[1]", "{a: [1, 2]}", "[0.5, 2]", "[0, 70000]"):
        with pytest.raises(RecipeError, match=r"data\.levels"):
            load_recipe(RECIPE, [f"data.levels={text}"])
