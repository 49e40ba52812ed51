"""A model to search with is the run's own network, and is known by a name of its own."""

import copy
import re

import pytest
import torch
from torch import nn

from crossreid.data.records import INFRARED, VISIBLE, Record
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.embedding import EvaluationOptions, embed, embed_sets
from crossreid.inference import model as modelling
from crossreid.inference.export import prepared
from crossreid.inference.fusing import fused
from crossreid.inference.model import Preprocessing, fingerprint_of, open_model, run_fingerprint, run_folder
from crossreid.runs.recipe import make_recipe
from small_model import EVERY_METHOD, HEIGHT, NETWORK, WIDTH, recipe_of, trained_method, write_run

SIZE = {"height": HEIGHT, "width": WIDTH}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    world = tmp_path_factory.mktemp("model") / "world"
    synthesise(world, "manifest", 4, 0, images_per_camera=1, size=(64, 32), workers=1)
    rows = [line.split(",") for line in (world / "manifest.csv").read_text().splitlines()[1:]]
    return [
        Record(world / path, identity, int(camera), INFRARED if modality == "infrared" else VISIBLE)
        for path, identity, camera, modality, *_ in rows
    ]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_run_is_opened_without_its_data_set_and_embeds_as_it_was_evaluated(method, flip, records, tmp_path):
    own = write_run(tmp_path / "run", recipe_of(method, flip=flip), ema=flip)
    model = open_model(tmp_path / "run", device="cpu")
    images, modalities = prepared(model, records)
    expected = embed(own, records, **SIZE, options=EvaluationOptions(flip=flip))
    found = model.embed(images, modalities)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=2e-5, rtol=0)
    assert found.dtype == torch.float32
    assert found.shape[1] == model.dimension
    assert (model.method, model.runtime, model.precision, model.flip) == (method, "torch", "float32", flip)
    sets = [[0, 5], [3], [2, 7, 11]]
    expected = embed_sets(
        own, [[records[i] for i in places] for places in sets], **SIZE, options=EvaluationOptions(flip=flip)
    )
    torch.testing.assert_close(
        model.embed_sets(images, modalities, sets), torch.from_numpy(expected), atol=2e-5, rtol=0
    )


@pytest.mark.parametrize("classes", [2, 3, 395])
def test_any_number_of_training_identities_is_read_off_the_weights(classes, tmp_path):
    method = write_run(tmp_path / "run", recipe_of("variational_distillation"), classes)
    found = open_model(tmp_path / "run", device="cpu", fuse=False)
    for name, tensor in method.state_dict().items():
        assert torch.equal(found.network.state_dict()[name], tensor), name


def test_weights_of_another_network_are_refused(tmp_path):
    write_run(tmp_path / "run", recipe_of())
    (tmp_path / "run" / "recipe.yaml").write_text(recipe_of("view_distillation").as_yaml())
    with pytest.raises(ValueError, match="does not fit the method"):
        open_model(tmp_path / "run", device="cpu")


def test_a_folder_of_stages_is_its_last_student_and_trials_are_told_apart(tmp_path):
    for name in ("teacher", "student", "student-2"):
        write_run(tmp_path / "stages" / name, recipe_of())
    assert run_folder(tmp_path / "stages").name == "student-2"
    for trial in (1, 2):
        write_run(tmp_path / "trials" / f"trial-{trial}", recipe_of())
    with pytest.raises(ValueError, match=r"holds 2 trials, each a model of its own. Name one, .*trial-1"):
        open_model(tmp_path / "trials")
    with pytest.raises(ValueError, match=r"holds no run: recipe.yaml not found"):
        open_model(tmp_path)


def fingerprint(folder, **given):
    return open_model(folder, device="cpu", **given).fingerprint


def test_the_fingerprint_is_of_what_the_embeddings_are(tmp_path):
    """Everything that moves an embedding changes it; where things lie, and what only training saw, do not."""
    write_run(tmp_path / "run", recipe_of())
    first = fingerprint(tmp_path / "run")
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert fingerprint(tmp_path / "run", fuse=False, precision="bf16") == first
    recipe = (tmp_path / "run" / "recipe.yaml").read_text()
    same = [("root: /nowhere/at/all", "root: elsewhere"), ("workers: 0", "workers: 3"), ("weights: none", "weights: a.pth"),
            ("metric: cosine", "metric: euclidean")]  # fmt: skip
    other = [("height: 48", "height: 64"), ("interpolation: bilinear", "interpolation: bicubic"), ("flip: false", "flip: true"),
             ("last_stride_one: true", "last_stride_one: false")]  # fmt: skip
    for changes, expected in ((same, True), (other, False)):
        for before, after in changes:
            assert recipe.count(before) == 1, before
            (tmp_path / "run" / "recipe.yaml").write_text(recipe.replace(before, after))
            assert (fingerprint(tmp_path / "run") == first) == expected, after


def test_a_runs_fingerprint_needs_no_network(tmp_path, monkeypatch):
    for name, ema in (("plain", False), ("averaged", True)):
        write_run(tmp_path / "stages" / "teacher", recipe_of())
        write_run(tmp_path / name, recipe_of(flip=ema), ema=ema)
        expected = fingerprint(tmp_path / name)
        with monkeypatch.context() as patched:
            patched.setattr(modelling, "build_method", None)
            assert run_fingerprint(tmp_path / name) == run_fingerprint(tmp_path / name, "last") == expected
    with pytest.raises(ValueError, match="holds no run"):
        run_fingerprint(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["gpu9", "meta", "cpu:0x", "cuda:-1", "cuda:x", "", "mps"])
def test_devices_that_are_none_are_refused_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=rf"device '{name}': expected cpu, cuda, or a GPU by its number"):
        open_model(tmp_path, device=name)


@pytest.mark.parametrize("name", ["cuda", "cuda:99"])
def test_gpus_that_are_not_there_are_refused(name, tmp_path):
    if torch.cuda.is_available() and name == "cuda":
        pytest.skip("there is one")
    with pytest.raises(ValueError, match=rf"device '{name}': (there is no GPU|GPUs here are)"):
        open_model(tmp_path, device=name)


def test_the_fingerprint_of_weights_does_not_depend_on_their_order_and_sees_one_bit():
    weights = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.zeros(2, dtype=torch.bfloat16)}
    first = fingerprint_of(weights, {"x": 1})
    assert fingerprint_of(dict(reversed(weights.items())), {"x": 1}) == first
    changed = {**weights, "a": weights["a"].clone()}
    changed["a"].view(torch.int32)[1, 2] ^= 1
    others = [
        fingerprint_of(changed, {"x": 1}), fingerprint_of(weights, {"x": 2}),
        fingerprint_of({**weights, "a": weights["a"].reshape(3, 2)}, {"x": 1}),
        fingerprint_of({**weights, "b": torch.tensor(3, dtype=torch.int32)}, {"x": 1}),
    ]  # fmt: skip
    assert len({first, *others}) == 5


@pytest.mark.parametrize("method", ["baseline", "variational_distillation"])
def test_bf16_embeds_nearly_as_float32(method, records, tmp_path):
    write_run(tmp_path / "run", recipe_of(method))
    model = open_model(tmp_path / "run", device="cpu")
    images, modalities = prepared(model, records)
    exact = model.embed(images, modalities)
    rough = model.with_precision("bf16").embed(images, modalities)
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert float((exact * rough).sum(1).min()) > 0.999
    with pytest.raises(ValueError, match="precision 'fp8': expected float32 or bf16"):
        model.with_precision("fp8")


@pytest.mark.parametrize("given", [{}, {"attention": "bam"}, {"stage_attention": True}, {"name": "resnet10t"}])
def test_fusing_takes_the_batch_norms_out_and_changes_nothing_else(given):
    recipe = recipe_of("variational_distillation", network={**NETWORK, **given})
    method = trained_method(recipe)
    before = copy.deepcopy(method.state_dict())
    quick = fused(method, HEIGHT, WIDTH)
    left = [name for name, module in quick.named_modules() if isinstance(module, nn.BatchNorm2d)]
    assert left == [], "each of these networks' convolutions has a batch norm of its own"
    images, modalities = torch.randn(6, 3, HEIGHT, WIDTH), torch.arange(6) % 2
    with torch.no_grad():
        torch.testing.assert_close(quick.embed(images, modalities), method.embed(images, modalities), atol=1e-5, rtol=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in method.state_dict().items()), (
        "the method is left alone"
    )


def test_a_batch_norm_that_follows_two_convolutions_is_left_where_it_is():
    method = trained_method(recipe_of())
    blocks = method.encoder.backbone.network.layer1
    first = next(block for block in blocks.modules() if hasattr(block, "bn1") and hasattr(block, "bn2"))
    first.bn2 = first.bn1 if first.bn1.num_features == first.bn2.num_features else first.bn2
    shared = first.bn1 is first.bn2
    quick = fused(method, HEIGHT, WIDTH)
    left = [module for module in quick.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(left) == (1 if shared else 0)
    assert shared, "the test's network has two batch norms of one width in a block"


def test_preprocessing_that_this_version_does_not_do_is_refused(tmp_path):
    good = Preprocessing(64, 32, "bicubic").to_json()
    assert Preprocessing.from_json(good, tmp_path) == Preprocessing(64, 32, "bicubic")
    for change, told in (
        ({"mean": [0.5, 0.5, 0.5]}, "expected images of RGB with mean"),
        ({"colours": "BGR"}, "BGR"),
        ({"interpolation": "nearest"}, "bilinear or bicubic"),
        ({"height": 0}, "height=0"),
    ):
        with pytest.raises(ValueError, match=told):
            Preprocessing.from_json({**good, **change}, tmp_path)
    with pytest.raises(ValueError, match="incomplete"):
        Preprocessing.from_json({"height": 3}, tmp_path)


def test_a_network_inside_views_distillation_is_found_too(tmp_path):
    inner = {"name": "variational_distillation", "backbone": NETWORK}
    data = {"name": "mars", "root": "/nowhere", "height": HEIGHT, "width": WIDTH, "sets": {"size": 2}}
    recipe = make_recipe({"data": data, "method": {"name": "view_distillation", "network": inner}})
    own = write_run(tmp_path / "run", recipe, 5)
    model = open_model(tmp_path / "run", device="cpu")
    images, modalities = torch.randn(4, 3, HEIGHT, WIDTH), torch.arange(4) % 2
    with torch.no_grad():
        torch.testing.assert_close(model.embed(images, modalities), own.embed(images, modalities), atol=1e-5, rtol=0)
