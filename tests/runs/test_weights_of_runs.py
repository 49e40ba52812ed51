"""`crossreid train` from a file of another project: the line it prints, the pixels it takes, and files it refuses."""

import argparse
import os

import numpy as np
import pytest
import timm
import torch
import yaml
from typer.testing import CliRunner

from crossreid.cli.app import app
from crossreid.data.synthetic import synthesise
from crossreid.models.weights import WeightsError
from crossreid.runs.recipe import recipe_of_run
from crossreid.runs.run import open_run


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("files") / "world"
    return synthesise(root, "manifest", 4, 0, images_per_camera=2, size=(64, 32), workers=1)


def trained(world, folder, name, file, *overrides):
    data = {"name": "manifest", "root": str(world), "height": 64, "width": 32, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2}
    method = {"name": "baseline", "backbone": {"name": name, "weights": str(file), "last_stride_one": False}}
    training = {"epochs": 1, "accelerator": "cpu", "precision": "32-true"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"data": data, "method": method, "training": training}))
    given = ["train", str(folder / "recipe.yaml"), "--out", str(folder / "run")]
    return CliRunner().invoke(app, [*given, *(part for one in overrides for part in ("--set", one))])


def of_transreid(folder):
    network = timm.create_model("test_vit", num_classes=0, img_size=96, global_pool="")
    state = {f"base.{key}": value for key, value in network.state_dict().items()}
    state |= {"base.sie_embed": torch.zeros(6, 1, 64), "classifier.weight": torch.zeros(9, 64)}
    held = {"model": state, "args": argparse.Namespace(lr=1), "rank1": np.float64(0.9), "epoch": 3}
    torch.save(held, folder / "transreid.pth")
    return network, folder / "transreid.pth"


def test_a_transformer_of_another_project_is_trained_and_exported(world, tmp_path):
    network, file = of_transreid(tmp_path)
    result = trained(world, tmp_path, "test_vit", file, "training.optimiser.lr=1e-12")
    assert result.exit_code == 0, result.output
    said = [line for line in result.output.replace("\n", " ").split(".pth: ") if "read behind" in line]
    assert len(said) == 1
    assert said[0].startswith(
        "read behind 'model.base.'; position embeddings resampled from 6 x 6 to 4 x 2 patches; "
        "left aside model.base.sie_embed, model.classifier."
    )
    encoder = open_run(tmp_path / "run").method.cpu().encoder.backbone.network
    torch.testing.assert_close(encoder.blocks[1].mlp.fc1.weight, network.blocks[1].mlp.fc1.weight, atol=1e-6, rtol=0)
    exported = CliRunner().invoke(app, ["export", str(tmp_path / "run")])
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "run" / "model.onnx").is_file()


def test_fast_reids_own_mean_and_deviation_are_taken(world, tmp_path):
    network = timm.create_model("test_resnet", num_classes=0, global_pool="")
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    state |= {"pixel_mean": torch.full((1, 3, 1, 1), 127.5), "pixel_std": torch.full((1, 3, 1, 1), 51.0)}
    torch.save({"model": state, "iteration": 3}, tmp_path / "market.pth")
    result = trained(world, tmp_path, "test_resnet", tmp_path / "market.pth")
    assert result.exit_code == 0, result.output
    assert recipe_of_run(tmp_path / "run").data.normalisation.mean == (0.5, 0.5, 0.5)
    assert recipe_of_run(tmp_path / "run").data.normalisation.std == pytest.approx((0.2, 0.2, 0.2))


class Bomb:
    def __init__(self, flag):
        self.flag = flag

    def __reduce__(self):
        return os.mkdir, (str(self.flag),)


def test_a_malicious_file_and_one_that_does_not_fit_are_one_line(world, tmp_path):
    torch.save({"model": Bomb(tmp_path / "ran")}, tmp_path / "bomb.pth")
    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), tmp_path / "other.pth")
    for file, said in (
        ("bomb.pth", "no file of weights may call"),
        ("other.pth", "do not fit the backbone 'test_vit'"),
    ):
        result = trained(world, tmp_path, "test_vit", tmp_path / file)
        assert isinstance(result.exception, WeightsError)
        assert said in str(result.exception)
        assert "\n" not in str(result.exception)
    assert not (tmp_path / "ran").exists()
