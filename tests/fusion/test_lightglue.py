"""LightGlue by kornia, where that is installed: random weights written to files, read back, and run on two images."""

import numpy as np
import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.fusion.local_matching import make_matcher

feature = pytest.importorskip("kornia.feature")


@pytest.fixture(scope="module", params=["disk", "aliked"])
def files(request, tmp_path_factory):
    """Weights as the releases keep them: DISK's below `extractor`, LightGlue's layers by their first names."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    disk = request.param == "disk"
    extractor = feature.DISK() if disk else feature.ALIKED("aliked-n16")
    torch.save({"extractor": extractor.state_dict()} if disk else extractor.state_dict(), folder / "extractor.pth")
    settings = {key: value for key, value in feature.LightGlue.features[request.param].items() if key != "weights"}
    state = feature.LightGlue(None, weights=None, **settings).state_dict()
    renamed = {key.replace("transformers.0.self_attn", "self_attn.0"): value for key, value in state.items()}
    torch.save(renamed, folder / "matcher.pth")
    names = {name: str(folder / f"{name}.pth") for name in ("extractor", "matcher")}
    return names | {"features": request.param, "size": 96, "keypoints": 64, "confidence": 0.0}


def test_it_compares_two_images_by_weights_from_files(files, coats):
    first, second = (np.asarray(coats.photograph(0, shot).convert("RGB")) for shot in (0, 1))
    matcher = make_matcher("lightglue", files)
    described = matcher.describe(first)
    assert described["descriptors"].shape == (len(described["points"]), 128)
    assert len(described["points"]) <= 64
    assert described["points"].max() <= 96
    scores = matcher.match(first, second), matcher.match(first, first)
    assert 0 <= scores[0] < scores[1]  # even random features of the same pixels are the same
    assert make_matcher("lightglue", files).match(first, second) == scores[0]


def test_files_of_other_networks_are_refused(files):
    for name, other in (("extractor", "matcher"), ("matcher", "extractor")):
        with pytest.raises(CrossreidError, match="does not fit this network"):
            make_matcher("lightglue", files | {name: files[other]})
    with pytest.raises(CrossreidError, match="not found; expected a file of weights"):
        make_matcher("lightglue", files | {"matcher": "none.pth"})
    with pytest.raises(CrossreidError, match="matcher: Field required"):
        make_matcher("lightglue", {"extractor": "random"})
