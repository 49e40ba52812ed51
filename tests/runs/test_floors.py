"""What any training must beat, of a recipe that starts from weights and of one that does not; and a network's own evaluation."""

import json

import numpy as np
import pytest
import torch

from compared_runs import made, recipe
from crossreid.data.images import load_image
from crossreid.data.transforms import EvalTransform
from crossreid.errors import CrossreidError
from crossreid.evaluation.features import load
from crossreid.reporting.report import FLOOR_NOTES
from crossreid.runs.evaluate import read_scores
from crossreid.runs.floors import floors, pretrained_of, untrained_of
from crossreid.runs.named_network import NOT_TRAINED, PretrainedNetwork
from crossreid.runs.recipe import make_recipe
from crossreid.runs.run import fresh_method, open_split
from crossreid.runs.zero_shot import evaluate_pretrained
from weight_files import write_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A file of weights, what timm makes of it, and a recipe that starts from it."""
    folder = tmp_path_factory.mktemp("floors")
    theirs = write_weights(folder / "w.safetensors")
    given = recipe(made() / "sysu", "sysu-mm01").model_dump(mode="json")
    given["data"] |= {"interpolation": None, "normalise": {"mean": None, "std": None}}  # those of the weights
    given["method"]["backbone"]["weights"] = str(folder / "w.safetensors")
    return folder, theirs, make_recipe(given, ["method.backbone.last_stride_one=false"])


def embedded_by(network, recipe, split):
    """Embeddings of the test images by timm's network."""
    data = recipe.data
    transform = EvalTransform(data.height, data.width, data.resizing, data.normalisation)
    with torch.no_grad():
        features = network(torch.stack([transform(load_image(record)) for record in split.test]))
    return torch.nn.functional.normalize(features, dim=1).numpy()


def test_the_backbone_s_own_weights_are_a_row_beside_random_ones_and_pixels(place):
    _, theirs, started = place
    split = open_split(started)
    found = floors(split, started)
    assert list(found) == ["Pretrained, not trained here", "Untrained network", "Raw pixels"] == list(FLOOR_NOTES)
    own, _ = found["Pretrained, not trained here"]
    assert np.abs(own.embeddings - embedded_by(theirs, started, split)).max() < 1e-5
    random = make_recipe(started.model_dump(mode="json"), ["method.backbone.weights=none"])
    states = [untrained_of(started, split).state_dict(), fresh_method(random, split).state_dict()]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_random_weights_and_weights_that_are_gone_have_no_such_row(place, tmp_path):
    _, _, started = place
    split = open_split(started)
    random = make_recipe(started.model_dump(mode="json"), ["method.backbone.weights=none"])
    assert list(floors(split, random)) == ["Untrained network", "Raw pixels"]
    gone = make_recipe(started.model_dump(mode="json"), [f"method.backbone.weights={tmp_path / 'gone.pth'}"])
    lines = []
    assert list(floors(split, gone, say=lines.append)) == ["Untrained network", "Raw pixels"]
    assert "left out" in lines[0]
    assert "gone.pth not found" in lines[0]


def test_a_file_that_training_starts_from_is_what_the_backbone_comes_with(place):
    folder, theirs, started = place
    keys = ["method.backbone.weights=none", f"start_from={folder / 'w.safetensors'}"]
    start = make_recipe(started.model_dump(mode="json"), keys)
    own = pretrained_of(start)
    images = torch.rand(2, 3, 32, 16)
    with torch.no_grad():
        assert torch.allclose(own.features(images, torch.zeros(2, dtype=torch.long)), theirs(images), atol=1e-5)


def test_a_named_network_is_scored_by_the_protocol_and_what_it_was_is_written(place, tmp_path):
    folder, theirs, started = place
    network = PretrainedNetwork("test_resnet", str(folder / "w.safetensors"), 32, 16)
    scores = evaluate_pretrained(network, "sysu-mm01", made() / "sysu", tmp_path / "out", rerank="k-reciprocal")
    expected = floors(open_split(started), started)["Pretrained, not trained here"][1]
    assert [score.rank(1) for score in scores[::2]] == [score.rank(1) for score in expected]
    assert all(score.trained == NOT_TRAINED and score.official is False for score in scores)
    read = read_scores(tmp_path / "out" / "scores.json")
    assert [score.to_json() for score in read] == [score.to_json() for score in scores]
    kept = load(tmp_path / "out" / "features.npz")
    assert np.abs(kept.embeddings - embedded_by(theirs, started, open_split(started))).max() < 1e-5
    about = json.loads((tmp_path / "out" / "network.json").read_text())
    assert about["trained"] == NOT_TRAINED
    assert about["sha256"] == network.facts["sha256"]
    assert about["data"]["normalise"]["mean"] == [0.5, 0.5, 0.5]  # as timm says of the name
    with pytest.raises(CrossreidError, match="expected a key of data or evaluation"):
        evaluate_pretrained(network, "sysu-mm01", made() / "sysu", overrides=["training.epochs=2"])
