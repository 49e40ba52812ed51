"""Pixels follow the weights from the recipe to the trained run, its scores, its exported file, and are checked on the way."""

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.synthetic import synthesise
from crossreid.errors import CrossreidError
from crossreid.evaluation.embedding import embed
from crossreid.inference.embed import embed as embed_with
from crossreid.inference.exporting.export import export_onnx
from crossreid.inference.open_model import open_model
from crossreid.models.backbone_registry import BACKBONES, register_backbone
from crossreid.runs.evaluate import evaluate
from crossreid.runs.recipe import RecipeError, make_recipe, pixels_as_text, recipe_of_run
from crossreid.runs.run import open_run
from crossreid.runs.scoring import reading
from crossreid.runs.train import train
from hostile_files import rewrite
from small_model import recipe_of, write_run

HALVES = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def halved():
    """A backbone whose weights want a mean and a deviation of one half, for the tests of this file."""
    BACKBONES.load()
    before = dict(BACKBONES._entries)

    @register_backbone("halved", mean=HALVES.mean, std=HALVES.std, interpolation="bicubic")
    def small(pretrained=False):
        return timm.create_model("test_resnet", num_classes=0, global_pool="")

    yield "halved"
    BACKBONES._entries = before


@pytest.fixture(scope="module")
def weights(halved, tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "halved.safetensors"
    save_file(BACKBONES[halved].owner().state_dict(), file)
    return file


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("pixels") / "world"
    return synthesise(root, "manifest", 6, 0, images_per_camera=2, size=(48, 32), workers=1)


def recipe(world, weights, *overrides, method=None):
    data = {"name": "manifest", "root": str(world), "height": 48, "width": 32, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2, "epoch": 2}
    backbone = {"name": "halved", "weights": str(weights)}
    given = {"data": data, "method": {"name": "baseline", "backbone": backbone, **(method or {})}}
    return make_recipe({**given, "training": {"epochs": 1}}, overrides)


@pytest.fixture(scope="module")
def run(world, weights, tmp_path_factory):
    """A trained run of a method that makes grey of what is normalised already."""
    method = {"name": "variational_distillation", "routing": "all", "grey": "image"}
    out = tmp_path_factory.mktemp("run") / "run"
    train(recipe(world, weights, method=method), out)
    return out


def test_a_recipe_takes_pixels_from_the_weights_and_says_so(world, weights):
    found = recipe(world, weights)
    assert (found.data.normalisation, found.data.interpolation) == (HALVES, "bicubic")
    assert pixels_as_text(found) == (
        "images of 48 x 32 pixels, bicubic, mean 0.5, 0.5, 0.5, deviation 0.5, 0.5, 0.5, as for the weights of halved"
    )
    written = yaml.safe_load(found.as_yaml())["data"]
    assert written["normalise"] == {"mean": [0.5] * 3, "std": [0.5] * 3}
    assert make_recipe(yaml.safe_load(found.as_yaml())) == found
    student = {"name": "view_distillation", "backbone": {"name": "test_resnet", "weights": "none"}}
    inner = student | {"network": {"name": "baseline", "backbone": {"name": "halved", "weights": str(weights)}}}
    assert recipe(world, weights, method=student).data.normalisation == IMAGENET
    assert recipe(world, weights, method=inner).data.normalisation == HALVES


def test_a_recipe_may_say_otherwise_in_full(world, weights):
    mean, std = "data.normalise.mean=[0, 0, 0]", "data.normalise.std=[1, 1, 2]"
    found = recipe(world, weights, mean, std, "data.interpolation=lanczos")
    assert (found.data.normalisation, found.data.interpolation) == (Normalisation((0, 0, 0), (1, 1, 2)), "lanczos")
    assert "deviation 1, 1, 2, though the weights of halved were trained with mean 0.5" in pixels_as_text(found)
    for wrong, told in (
        ([mean], "expected mean and std, or neither"),
        ([mean, "data.normalise.std=[1, 0, 1]"], "three numbers above 0"),
        ([mean, "data.normalise.std=[1, 1]"], "std"),
    ):
        with pytest.raises(RecipeError, match=told):
            recipe(world, weights, *wrong)


def test_the_run_its_scores_its_embeddings_and_its_export_see_the_same_pixels(run, world, tmp_path):
    assert recipe_of_run(run).data.normalisation == HALVES
    opened = open_run(run)
    assert opened.method.normalisation == HALVES
    records = opened.split.test
    expected = embed(opened.method, records, **reading(opened.recipe))
    model = open_model(run, device="cpu")
    assert model.preprocessing.normalisation == HALVES
    exported = open_model(export_onnx(run, tmp_path / "model.onnx").path, device="cpu")
    assert exported.preprocessing == model.preprocessing
    sized = [Image.open(record.path).convert("RGB").resize((32, 48), Image.Resampling.BICUBIC) for record in records]
    images = torch.tensor(np.stack([np.asarray(image) for image in sized]).transpose(0, 3, 1, 2) / 127.5 - 1).float()
    modalities = torch.tensor([int(record.modality) for record in records])
    for by in (model, exported):
        torch.testing.assert_close(by.embed(images, modalities), torch.from_numpy(expected), atol=1e-4, rtol=0)
    embed_with(run, world, tmp_path / "embedded", precision="float32", device="cpu", workers=0)
    stored = load_file(tmp_path / "embedded" / "embeddings.safetensors")["embeddings"].float()
    assert all(bool(torch.isclose(stored, torch.from_numpy(row), atol=1e-4).all(1).any()) for row in expected)
    evaluate(run)
    np.testing.assert_allclose(np.load(run / "features.npz")["embeddings"], expected, atol=1e-5)


def test_pixels_that_a_run_was_not_trained_with_are_refused(run, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in run.glob("*.safetensors"):
        (copy / file.name).write_bytes(file.read_bytes())
    text = (run / "recipe.yaml").read_text()
    for before, after, named in (
        ("- 0.5\n    - 0.5\n    - 0.5\n    std", "- 0.5\n    - 0.4\n    - 0.5\n    std", "data.normalise"),
        ("interpolation: bicubic", "interpolation: bilinear", "data.interpolation bicubic"),
        ("height: 48", "height: 64", "data.height 48"),
    ):
        assert text.count(before) == 1
        (copy / "recipe.yaml").write_text(text.replace(before, after))
        for opening in (open_run, open_model):
            with pytest.raises(CrossreidError, match=named):
                opening(copy)


def test_a_run_from_before_keeps_imagenets_pixels_and_its_fingerprint(halved, weights, tmp_path, recwarn):
    write_run(tmp_path / "run", recipe_of())
    given = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    del given["method"]["triplet_features"]
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(given))
    fingerprint = open_model(tmp_path / "run", device="cpu").fingerprint
    del given["data"]["normalise"]
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(given))
    assert open_model(tmp_path / "run", device="cpu").fingerprint == fingerprint
    assert not recwarn.list
    assert (
        recipe_of_run(tmp_path / "run").method.triplet_features == "pooled"
    )  # what its losses compared, should it go on
    given["method"]["backbone"] |= {"name": halved, "weights": str(weights)}
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(given))
    with pytest.warns(UserWarning, match="trained with mean 0.485.* the weights of halved were trained with mean 0.5"):
        found = recipe_of_run(tmp_path / "run")
    assert (found.data.normalisation, found.data.interpolation) == (IMAGENET, "bilinear")


def test_a_teacher_of_other_pixels_is_refused(run, world, weights, tmp_path):
    network = {"name": "baseline", "backbone": {"name": "test_resnet", "weights": "none"}}
    student = {"name": "view_distillation", "network": network, "teacher": str(run), "images": 1, "distance": "cosine"}
    with pytest.raises(CrossreidError, match=r"Set data.normalise.mean=\[0.5, 0.5, 0.5\]"):
        train(recipe(world, weights, method=student), tmp_path / "student")


def test_so_is_one_of_other_levels(run, world, weights, tmp_path):
    network = {"name": "baseline", "backbone": {"name": "halved", "weights": str(weights)}}
    student = {"name": "view_distillation", "network": network, "teacher": str(run), "images": 1, "distance": "cosine"}
    with pytest.raises(CrossreidError, match=r"trained with data\.levels 'full', the student would use 'picture'"):
        train(recipe(world, weights, "data.levels=picture", method=student), tmp_path / "student")


def test_pixels_added_to_the_recipe_of_a_run_from_before_are_refused(tmp_path):
    """Its checkpoint says nothing of them, and so means ImageNet's and whole 16-bit ranges."""
    run = tmp_path / "run"
    write_run(run, recipe_of())
    given = yaml.safe_load((run / "recipe.yaml").read_text())
    data = {key: value for key, value in given["data"].items() if key not in ("normalise", "levels")}
    rewrite(run / "last.safetensors", facts={"recipe": given | {"data": data}}, hashed=False)
    assert open_model(run, device="cpu").preprocessing.normalisation == IMAGENET
    for changed in ({"normalise": {"mean": [0.5] * 3, "std": [0.5] * 3}}, {"levels": "picture"}):
        (run / "recipe.yaml").write_text(yaml.safe_dump(given | {"data": given["data"] | changed}))
        with pytest.raises(CrossreidError, match=f"trained with data.{next(iter(changed))} "):
            open_model(run, device="cpu")


def test_levels_by_camera_are_those_that_a_run_keeps(tmp_path):
    recipe = recipe_of()
    recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"levels": {3: (7000, 9000)}})})
    write_run(tmp_path / "run", recipe)
    rewrite(tmp_path / "run" / "last.safetensors", facts={"recipe": recipe.model_dump(mode="json")}, hashed=False)
    assert open_model(tmp_path / "run", device="cpu").preprocessing.levels == {3: (7000, 9000)}
