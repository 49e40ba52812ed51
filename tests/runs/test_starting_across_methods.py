"""What a run takes from a run of another method on the same backbone, compared by what the encoders then compute."""

import pytest
import timm
import torch
from safetensors.torch import save_file

import crossreid
from crossreid.errors import CrossreidError
from crossreid.models.backbone_registry import BACKBONES, register_backbone
from crossreid.models.two_stream import TwoStream
from crossreid.runs.recipe import make_recipe
from crossreid.runs.starting import start_from_run
from crossreid.runs.stored_run import run_fingerprint
from small_model import EVERY_METHOD, HEIGHT, NETWORK, WIDTH, recipe_of, trained_method, write_run

PLAIN = {**NETWORK, "last_activation": True}  # view_distillation takes the last one out otherwise
ALIKE = ("information_bottleneck", "variational_information_bottleneck")  # take it as variational_distillation does
SOURCES = ("baseline", "agw", "implicit_knowledge", "variational_distillation")


def recipe_for(method, **options):
    network = {**PLAIN, "non_local": []} if method == "agw" else PLAIN
    recipe = recipe_of("baseline" if method == "agw" else method, network=network)
    if method == "agw":
        return make_recipe(recipe.model_dump(mode="json") | {"method": {"name": "agw", "backbone": network, **options}})
    return recipe


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each source, and its method."""
    place = tmp_path_factory.mktemp("runs")
    return {name: (place / name, write_run(place / name, recipe_for(name), classes=5)) for name in SOURCES}


def fresh(method, recipe=None):
    """A method that is to start, with statistics of its own, and unlike any source."""
    built = trained_method(recipe or recipe_for(method))
    with torch.no_grad():
        for tensor in built.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.01
    return built


def maps(encoder, modality, stream=0):
    images = torch.randn(2, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        if isinstance(encoder, TwoStream):
            return encoder.eval()(images, torch.full((2,), modality))[stream]
        return encoder.eval()(images)


@pytest.mark.parametrize("name", [name for name in EVERY_METHOD if name != "transreid"])  # which is for transformers
def test_every_encoder_takes_the_weights_of_the_sources_shared_one(runs, name):
    recipe = recipe_for(name)
    for source in ("baseline", "agw" if name == "implicit_knowledge" else "implicit_knowledge"):
        if source == name or (source == "baseline" and name in ALIKE):
            continue
        method = fresh(name)
        folder, theirs = runs[source]
        started = start_from_run(method, recipe, folder)
        expected = maps(theirs.encoders[0], 0)
        for encoder in method.encoders:
            streams = len(encoder.streams) if isinstance(encoder, TwoStream) else 1
            for stream in range(streams):
                for modality in (0, 1):
                    torch.testing.assert_close(maps(encoder, modality, stream), expected, msg=f"{source} to {name}")
        assert ("its shared encoder copied" in started.text) is (source != "baseline")
        assert started.facts["fingerprint"] == run_fingerprint(folder)
        assert set(started.facts["drawn_anew"]) <= set(method.state_dict())


def test_methods_of_one_family_pair_their_encoders_and_keep_what_means_the_same(runs):
    folder, theirs = runs["variational_distillation"]
    method = fresh("information_bottleneck")
    started = start_from_run(method, recipe_for("information_bottleneck"), folder)
    for branch in ("infrared", "visible", "shared"):
        pair = (getattr(method, branch), getattr(theirs, branch))
        assert all(torch.equal(a, b) for a, b in zip(*(p.encoder.state_dict().values() for p in pair), strict=True))
        own, other = (p.state_dict() for p in pair)
        assert torch.equal(own["bottleneck.0.weight"], other["bottleneck.0.weight"])
        assert own["v_classifier.weight"].shape != other["v_classifier.weight"].shape
    assert "encoder copied" not in started.text
    assert "newly initialised, for its own identities" in started.text


def test_a_neck_goes_with_its_encoder_and_other_heads_are_drawn_anew(runs):
    folder, theirs = runs["baseline"]
    method = fresh("variational_distillation")
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    start_from_run(method, recipe_for("variational_distillation"), folder)
    after = method.state_dict()
    assert torch.equal(after["infrared.encoder.neck.weight"], theirs.state_dict()["encoder.neck.weight"])
    heads = [name for name in after if ".bottleneck." in name or "classifier" in name]
    assert heads
    assert all(torch.equal(after[name], before[name]) for name in heads)


@pytest.mark.parametrize("origin", ["shared", "infrared"])
def test_one_encoder_of_several_may_be_named(runs, origin):
    for source in ("variational_distillation", "implicit_knowledge", "agw"):
        folder, theirs = runs[source]
        method = fresh("baseline")
        started = start_from_run(method, recipe_for("baseline").model_copy(update={"start_encoder": origin}), folder)
        if source == "variational_distillation":
            expected = maps(getattr(theirs, origin).encoder.backbone, 0)
        else:
            stream = 1 if origin != "shared" and source == "implicit_knowledge" else 0
            expected = maps(theirs.network, 1 if origin == "infrared" else 0, stream)
        torch.testing.assert_close(maps(method.encoder.backbone, 0), expected)
        assert f"its {origin} encoder copied to every encoder" in started.text


def test_modules_that_options_add_are_drawn_anew_and_those_of_the_source_left_aside(runs, tmp_path):
    recipe = recipe_of("agw")  # with non-local blocks
    folder = runs["baseline"][0]
    method = trained_method(recipe)
    started = start_from_run(method, recipe, folder)
    assert all("non_local" in name for name in started.facts["drawn_anew"] if name.startswith("network."))
    assert any("non_local" in name for name in started.facts["drawn_anew"])
    source = write_run(tmp_path / "agw", recipe)
    back = fresh("baseline")
    aside = start_from_run(back, recipe_for("baseline"), tmp_path / "agw").facts["left_aside"]
    assert {"pooling.p"} | {n for n in source.state_dict() if "non_local" in n} <= set(aside)
    weight = source.state_dict()["network.common.1.layer2.0.conv1.weight"]
    assert torch.equal(back.state_dict()["encoder.backbone.network.layer2.0.conv1.weight"], weight)


def test_averaged_weights_come_before_others(tmp_path):
    recipe = recipe_for("baseline")
    theirs = write_run(tmp_path / "run", recipe, ema=True)
    for name in ("baseline", "agw"):
        method = fresh(name)
        start_from_run(method, recipe_for(name), tmp_path / "run")
        torch.testing.assert_close(maps(method.encoders[0], 0), maps(theirs.encoder.backbone, 0))


def test_a_checkpoint_that_does_not_say_what_it_is_of_is_refused_where_it_has_to(runs, tmp_path):
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((runs["baseline"][0] / "last.safetensors").read_bytes())
    method = fresh("baseline")
    assert start_from_run(method, recipe_for("baseline"), alone).facts["fingerprint"] is None
    with pytest.raises(CrossreidError, match="does not say which method it belongs to"):
        start_from_run(fresh("agw"), recipe_for("agw"), alone)


@pytest.fixture
def vits(monkeypatch):
    """Two backbones that differ in the size of the images that they are built for."""

    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))

    def vit(size):
        return lambda: timm.create_model("test_vit", img_size=size, num_classes=0, global_pool="")

    register_backbone("vit_square")(vit((64, 64)))
    register_backbone("vit_tall")(vit((128, 32)))  # as many patches, but on another grid
    register_backbone("vit_large")(vit((128, 64)))


def test_positions_are_resampled_to_another_size_of_the_images(vits, tmp_path):
    def recipe(name, size, method="baseline"):
        return recipe_of(method, network={"name": name, "weights": "none", "last_stride_one": False}, size=size)

    theirs = write_run(tmp_path / "run", recipe("vit_square", (64, 64)))
    positions = theirs.state_dict()["encoder.backbone.network.pos_embed"]
    for name, size in (("vit_tall", (128, 32)), ("vit_large", (128, 64))):
        own = recipe(name, size)
        method = trained_method(own)
        started = start_from_run(method, own, tmp_path / "run")
        assert started.facts["resampled"] == ["encoder.backbone.network.pos_embed"]
        assert "of them resampled (encoder.backbone.network.pos_embed)" in started.text
        found = method.state_dict()["encoder.backbone.network.pos_embed"]
        grid = (size[0] // 16, size[1] // 16)
        expected = torch.nn.functional.interpolate(
            positions[:, 1:].reshape(1, 4, 4, -1).permute(0, 3, 1, 2), size=grid, mode="bicubic", antialias=True
        )
        torch.testing.assert_close(found[:, 1:], expected.permute(0, 2, 3, 1).flatten(1, 2))
        assert torch.equal(found[:, :1], positions[:, :1])


def test_a_file_of_weights_is_the_backbones(tmp_path, capsys):
    from crossreid.data.synthetic import synthesise

    synthesise(tmp_path / "world", "manifest", 6, 3, images_per_camera=2, size=(32, 16), workers=1)
    torch.manual_seed(5)
    network = timm.create_model("test_resnet", num_classes=0)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    data = {"name": "manifest", "root": str(tmp_path / "world"), "height": 32, "width": 16, "workers": 0}
    data["sampler"] = {"identities": 2, "images": 2}
    given = {"data": data, "method": {"name": "agw", "backbone": {**NETWORK, "non_local": []}},
             "training": {"epochs": 1, "freeze": ["backbone"]}, "start_from": str(tmp_path / "weights.safetensors")}  # fmt: skip
    crossreid.train(make_recipe(given), tmp_path / "run")
    assert "weights.safetensors: the weights of its backbone" in capsys.readouterr().out
    from crossreid.runs.run import open_run
    from crossreid.runs.starting import read_start, start_in_words

    encoder = open_run(tmp_path / "run").method.encoders[0].cpu()
    weight = network.state_dict()["layer3.0.conv1.weight"]
    assert any(torch.equal(weight, tensor) for tensor in encoder.state_dict().values())
    facts = read_start(tmp_path / "run")
    assert facts["sha256"][:12] in start_in_words(facts)
