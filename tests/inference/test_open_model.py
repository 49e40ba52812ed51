"""An opened model is the run's own network."""

import pytest
import torch

from crossreid.data.records import INFRARED, VISIBLE, Record
from crossreid.data.synthetic import synthesise
from crossreid.evaluation.embedding import EvaluationOptions, embed, embed_sets
from crossreid.inference.embedding_model import prepared
from crossreid.inference.open_model import open_model
from crossreid.runs.recipe import make_recipe
from crossreid.runs.stored_run import run_folder
from small_model import EVERY_METHOD, HEIGHT, NETWORK, WIDTH, recipe_of, write_run

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
    with pytest.raises(ValueError, match=r"holds 2 trials, each a separate model. Name one, .*trial-1"):
        open_model(tmp_path / "trials")
    with pytest.raises(ValueError, match=r"holds no run: recipe.yaml not found"):
        open_model(tmp_path)


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


def test_a_network_inside_views_distillation_is_found_too(tmp_path):
    inner = {"name": "variational_distillation", "backbone": NETWORK}
    data = {"name": "mars", "root": "/nowhere", "height": HEIGHT, "width": WIDTH, "sets": {"size": 2}}
    recipe = make_recipe({"data": data, "method": {"name": "view_distillation", "network": inner}})
    own = write_run(tmp_path / "run", recipe, 5)
    model = open_model(tmp_path / "run", device="cpu")
    images, modalities = torch.randn(4, 3, HEIGHT, WIDTH), torch.arange(4) % 2
    with torch.no_grad():
        torch.testing.assert_close(model.embed(images, modalities), own.embed(images, modalities), atol=1e-5, rtol=0)
