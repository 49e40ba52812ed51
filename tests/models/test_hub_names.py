"""Networks by the names of repositories on the hub: from a filled cache without internet, and refused in a line without either."""

import json
import socket
import time

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from crossreid.data.normalisation import Normalisation
from crossreid.errors import CrossreidError
from crossreid.models import hub
from crossreid.models.backbone_options import BackboneOptions, pixels_of
from crossreid.models.loading_notes import noted
from crossreid.models.timm_names import UNDESCRIBED, _of_hub
from crossreid.runs.recipe import RecipeError, make_recipe
from small_backbone import IMAGES, build


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A hub that nobody answers for, and a cache of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    _of_hub.cache_clear()
    yield tmp_path / "cache"
    _of_hub.cache_clear()


def put(cache, repository, config, state):
    """A repository as the hub's client keeps it."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    kept = folder / "snapshots" / ("0" * 40)
    kept.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    (kept / "config.json").write_text(json.dumps(config))
    save_file({key: value.contiguous() for key, value in state.items()}, kept / "model.safetensors")


DESCRIBED = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "interpolation": "bicubic", "input_size": [3, 160, 160]}
CONFIG = {"architecture": "test_vit", "num_classes": 3, "pretrained_cfg": {**DESCRIBED, "fixed_input_size": True}}


@torch.no_grad()
def test_a_repository_in_the_cache_gives_network_weights_and_pixels(nobody):
    torch.manual_seed(3)
    trained = timm.create_model("test_vit", num_classes=3).eval()
    put(nobody, "acme/small", CONFIG, trained.state_dict())
    backbone = build("hf-hub:acme/small", weights="imagenet")
    images = torch.randn(1, 3, 160, 160)
    tokens = trained.forward_features(images)[:, trained.num_prefix_tokens :]
    torch.testing.assert_close(backbone(images).flatten(2).mT, tokens)
    options = BackboneOptions(name="hf-hub:acme/small")
    assert pixels_of(options) == (Normalisation((0.5, 0.4, 0.3), (0.2, 0.2, 0.2)), "bicubic")
    method = {"name": "baseline", "backbone": {"name": "hf-hub:acme/small"}}
    data = {"name": "manifest", "root": "x", "height": 64, "width": 32}
    recipe = make_recipe({"data": data, "method": method})
    assert recipe.method.backbone.input_size == (64, 32)
    assert not recipe.method.backbone.last_stride_one
    assert build("hf-hub:acme/small", weights="none", input_size=(64, 32)).width == 64
    for name in ("agw", "implicit_knowledge"):  # which ask for its blocks
        of_hub, of_timm = (
            make_recipe({"data": data, "method": {"name": name, "backbone": {"name": backbone}}}).method
            for backbone in ("hf-hub:acme/small", "test_vit")
        )
        named = of_timm.backbone.model_copy(update={"name": "hf-hub:acme/small"})
        assert of_hub == of_timm.model_copy(update={"backbone": named})


def test_one_that_cannot_be_had_is_one_line_within_seconds(capfd):
    method = {"name": "baseline", "backbone": {"name": "hf-hub:acme/absent"}}
    begun = time.perf_counter()
    with pytest.raises(RecipeError, match="not in the cache, and the hub cannot be reached") as error:
        make_recipe({"data": {"name": "manifest", "root": "x"}, "method": method})
    assert time.perf_counter() - begun < hub.SECONDS
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_weights_that_cannot_be_had_are_one_line(capfd):
    with pytest.raises(
        CrossreidError, match="weights of 'hf-hub:BVRA/MegaDescriptor-T-224' could not be fetched"
    ) as error:
        build("hf-hub:BVRA/MegaDescriptor-T-224", weights="imagenet", last_stride_one=False)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_known_repositories_open_without_the_hub():
    assert build("hf-hub:timm/test_vit.r160_in1k", last_stride_one=False).width == 64
    assert build("hf-hub:BVRA/MegaDescriptor-T-224", last_stride_one=False).width == 768


@torch.no_grad()
def test_a_repository_without_timms_description_is_read_by_its_names(nobody, monkeypatch):
    monkeypatch.setitem(UNDESCRIBED, "acme/wild", "test_resnet")
    trained = timm.create_model("test_resnet", num_classes=0).eval()
    state = {f"backbone.{key}": value for key, value in trained.state_dict().items()} | {"bn.weight": torch.ones(96)}
    put(nobody, "acme/wild", {"architectures": ["WildNet"]}, state)
    with noted() as notes:
        backbone = build("hf-hub:acme/wild", weights="imagenet", last_stride_one=False)
    torch.testing.assert_close(backbone(IMAGES), trained.forward_features(IMAGES))
    assert notes[0].endswith("read behind 'backbone.'; left aside bn")


def test_tags_are_names_too():
    assert build("resnet18.a1_in1k").width == 512
    with pytest.raises(CrossreidError, match="nonsense"):
        build("resnet18.nonsense")
