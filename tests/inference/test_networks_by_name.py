"""A network that was not trained here in the place of a run: opened, exported, and told apart by its fingerprint."""

import pytest
import torch

from crossreid.errors import CrossreidError
from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.open_model import open_model
from crossreid.runs.named_network import PretrainedNetwork
from weight_files import write_weights


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    write_weights(folder / "w.safetensors")
    write_weights(folder / "other.safetensors", seed=1)
    (folder / "same.safetensors").write_bytes((folder / "w.safetensors").read_bytes())
    return folder


def network(place, weights="w", size=(48, 32), **options):
    return PretrainedNetwork("test_resnet", str(place / f"{weights}.safetensors"), *size, **options)


def test_equal_tensors_and_pixels_have_one_fingerprint_and_all_else_another(place):
    model = open_model(network(place), device="cpu")
    assert model.fingerprint == open_model(network(place, "same").path, device="cpu").fingerprint
    others = [network(place, "other"), network(place, size=(48, 40)), network(place, flip=True)]
    assert len({model.fingerprint, *(open_model(each, device="cpu").fingerprint for each in others)}) == 4
    assert model.trained.startswith("pretrained, not trained here: test_resnet, weights w.safetensors, SHA-256 ")
    assert (model.method, model.dimension, model.runtime) == ("pretrained", 96, "torch")


def test_fused_and_flipped_it_embeds_alike(place):
    images = torch.randn(3, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    kinds = torch.zeros(3)
    plain = open_model(network(place), device="cpu", fuse=False)
    assert torch.allclose(
        open_model(network(place), device="cpu").embed(images, kinds), plain.embed(images, kinds), atol=1e-5
    )
    both = plain.embed(images, kinds) + plain.embed(images.flip(3), kinds)
    flipped = open_model(network(place, flip=True), device="cpu").embed(images, kinds)
    assert torch.allclose(flipped, torch.nn.functional.normalize(both, dim=1), atol=1e-5)


def test_its_exported_file_is_the_same_model_and_says_that_it_was_not_trained(place, tmp_path):
    pytest.importorskip("onnxruntime")
    written = export_onnx(network(place), tmp_path / "w.onnx")
    exported, model = open_model(written.path, device="cpu"), open_model(network(place), device="cpu")
    assert exported.fingerprint == model.fingerprint
    assert exported.trained == model.trained
    images = torch.randn(2, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(exported.embed(images, torch.zeros(2)), model.embed(images, torch.zeros(2)), atol=1e-4)


def test_an_unknown_name_is_refused():
    with pytest.raises(CrossreidError, match="'resnet5O' is neither a timm model"):
        open_model(PretrainedNetwork("resnet5O", "/w.pth"), device="cpu")
