"""Setting `official` of views knowledge distillation against the numbers that the authors' release gave."""

import math
from pathlib import Path

import pytest
import torch
import vkd_cases
from parity_numbers import TOLERANCE, about, difference, numbers, unfilled
from torch import nn
from vkd_cases import BACKBONES, CASES, official, ours, without_counters

from crossreid.losses.distillation import distance_preservation
from crossreid.models.attention import BottleneckAttention
from crossreid.models.product_attention import ProductAttention
from crossreid.runs.recipe import load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.runs.teacher_student import stage_recipes
from crossreid.training.optimisation import make_optimiser, rate_factor

SCHEDULE = about("vkd/schedule")
PEOPLE = ("vkd_mars_official", "vkd_duke-video_official", "vkd_veri-776_official")


@pytest.mark.parametrize("case", [case for case in CASES if case != "networks"])
def test_value_and_gradient_are_the_releases(case):
    given, found = numbers(f"vkd/{case}"), ours(case)
    aside = {"coefficients", "output_all_relus_eval"}  # what belongs to the question, and a comparison
    outputs = {name for name in given if any(part in name for part in ("output", "gradient", "gate_t", "set_"))}
    assert outputs - aside <= found.keys()
    for name, tensor in found.items():
        kept = ~given[name].isnan()
        assert torch.equal(kept, ~tensor.isnan()), name
        assert difference(tensor[kept], given[name][kept]) <= TOLERANCE, f"{case}: {name}"


@pytest.mark.parametrize("architecture", BACKBONES)
def test_whole_networks_are_the_releases(architecture):
    for name, tensor in vkd_cases.network(architecture).items():
        apart = difference(tensor, numbers("vkd/networks")[name])
        assert apart <= vkd_cases.tolerance(name), f"{name} differs by {apart:.1e} of its largest entry"


@pytest.mark.parametrize("architecture", BACKBONES)
def test_what_a_student_does_not_keep_is_what_the_release_sets_back(architecture):
    said = about("vkd/networks")["numbers"]
    found, order = vkd_cases.reset_places(architecture), said["order"][architecture]
    shift = order.index("classifier.bottleneck.bias")  # 0 in both, so the release's list cannot have it
    assert sorted({*found} - {shift}) == sorted({*said["reset"][architecture]} - {shift})


@pytest.mark.parametrize("architecture", BACKBONES)
def test_the_state_is_the_releases_in_order_and_the_rest_is_the_neck_and_the_classifier(architecture):
    order = about("vkd/networks")["numbers"]["order"][architecture]
    with unfilled():
        method = official(architecture)
    state = without_counters(method)
    assert len(state) == len(order)
    for name, theirs in zip(state, order, strict=True):
        assert name.rpartition(".")[2] == theirs.rpartition(".")[2], (name, theirs)
    width = method.network.encoder.width
    assert [tuple(t.shape) for t in list(state.values())[-5:]] == [(width,)] * 4 + [(10, width)]


def test_the_state_of_attention_is_the_releases_in_order_and_shape():
    said = {n: t["shape"] for n, t in about("vkd/bam")["tensors"].items() if "att." in n}
    state = without_counters(ProductAttention(64))
    assert [list(t.shape) for t in state.values()] == list(said.values())
    assert [n.rpartition(".")[2] for n in state] == [n.rpartition(".")[2] for n in said]
    method = official(backbone_options={"attention": "bam_product"})
    placed = [n for n, m in method.named_modules() if isinstance(m, ProductAttention)]
    assert placed == [f"network.encoder.backbone.network.layer{stage}.bam" for stage in (1, 2, 3)]


@torch.no_grad()
def test_the_start_is_the_releases():
    torch.manual_seed(0)
    module = ProductAttention(1024)
    linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    assert not any(bool(layer.bias.any()) for layer in linear + convolutions)
    for layer in convolutions[:-1]:  # the last has one output, too few numbers to say
        spread = math.sqrt(2 / (layer.out_channels * layer.kernel_size[0] ** 2))
        assert float(layer.weight.std()) == pytest.approx(spread, rel=0.05)
    for layer in linear:  # PyTorch's own: uniform within 1 / sqrt(fan-in)
        assert float(layer.weight.std()) == pytest.approx(1 / math.sqrt(3 * layer.in_features), rel=0.05)
    method = official(classes=500)
    assert float(method.network.classifier.weight.std()) == pytest.approx(0.001, rel=0.02)
    assert not method.network.encoder.neck.bias.requires_grad
    assert torch.equal(method.network.encoder.neck.weight, torch.ones(512))


@pytest.mark.parametrize("name", PEOPLE)
def test_batches_rates_and_reductions_are_the_releases(name):
    recipe = load_recipe(SHIPPED / f"{name}.yaml")
    stages = dict(zip(("teacher", "student"), (r for _, r in stage_recipes(recipe, Path("x"))), strict=True))
    identities = SCHEDULE["train identities"][recipe.data.name]
    for stage, of in stages.items():
        said = SCHEDULE[stage][recipe.data.name]
        assert of.method.setting == "official"
        assert (of.data.sampler.identities, of.data.sampler.images, of.data.sets.size) == (
            said["P"],
            said["K"],
            said["images"],
        )
        assert of.method.images == said.get("own")
        assert identities // of.data.sampler.identities == said["batches"]
        training, steps = of.training, said["batches"]
        assert (training.epochs, list(training.schedule.milestones)) == (said["epochs"], said["milestones"])
        for epoch in (0, *(m + d for m in said["milestones"] for d in (-1, 0)), said["epochs"] - 1):
            factor = rate_factor(training.schedule, epoch * steps, steps_per_epoch=steps, epochs=said["epochs"])
            assert factor == pytest.approx(0.1 ** sum(epoch >= m for m in said["milestones"]))
        optimiser = make_optimiser(official(), training.optimiser)
        assert type(optimiser) is torch.optim.Adam
        assert {(g["lr"], g["weight_decay"], g["betas"]) for g in optimiser.param_groups} == {
            (SCHEDULE["optimiser"]["lr"], SCHEDULE["optimiser"]["weight_decay"], (0.9, 0.999))
        }
    assert stages["teacher"].data.sets.source == "tracklet"
    assert stages["student"].data.sets.source == "tracklets"
    assert recipe.evaluation.frames == SCHEDULE["test frames"]
    assert recipe.evaluation.frame == "first"


def test_weights_of_the_terms_are_the_releases():
    options, said = official().options, SCHEDULE["weights"]
    names = ("identity_weight", "triplet_weight", "knowledge_weight", "distance_weight", "temperature")
    assert [getattr(options, name) for name in names] == [
        said[name] for name in ("identity", "triplet", "knowledge", "distance", "temperature")
    ]
    assert options.label_smoothing == 0


def test_the_rate_falls_tenfold_a_generation():
    recipe = load_recipe(SHIPPED / "vkd_mars_official.yaml", ["generations=3"])
    rates = [r.training.optimiser.lr for _, r in stage_recipes(recipe, Path("x"))]
    assert rates == pytest.approx([1e-4, *SCHEDULE["lr of generations"]])
    plain = load_recipe(SHIPPED / "vkd_mars.yaml", ["generations=3"])
    assert [r.training.optimiser.lr for _, r in stage_recipes(plain, Path("x"))] == [1e-4] * 4


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("vkd_*_official.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_release_says_the_same(path):
    recipe, first = load_recipe(path), load_recipe(SHIPPED / "vkd_mars_official.yaml")
    assert recipe.method.setting == "official"
    assert recipe.method.backbone.bare_last_block
    assert not recipe.method.backbone.last_activation
    for section in ("training", "evaluation"):
        assert getattr(recipe, section) == getattr(first, section)
    assert recipe.method.model_copy(update={"backbone": first.method.backbone}) == first.method


def test_numbers_on_the_page_of_what_cannot_be_meant():
    """docs/view_distillation.md gives them."""
    alone = vkd_cases.last_block(whole_block=False)["output_eval"]
    assert round(difference(alone, numbers("vkd/last_block")["output_eval"]), 2) == 0.88
    # Both gates say a place counts for nothing: the product makes much of it, the sum makes nothing of it.
    maps, gates = torch.ones(1, 64, 9, 7), {}
    for kind, module in (("product", ProductAttention(64)), ("sum", BottleneckAttention(64))):
        module.eval().channel, module.spatial = (nn.Module() for _ in range(2))
        module.channel.forward = lambda rows: torch.full((1, 64) if rows.ndim == 2 else (1, 64, 1, 1), -3.0)
        module.spatial.forward = lambda rows: torch.full((1, 1, 9, 7), -3.0)
        gates[kind] = round(float(module(maps).mean()), 4)
    assert gates == {"product": 1.9999, "sum": 1.0025}
    teacher, student = torch.randn(48, 8), torch.randn(48, 8)
    half, mean, total = (float(distance_preservation(teacher, student, over=o)) for o in ("matrix", "pairs", "sum"))
    assert half == pytest.approx(mean * 47 / 96, rel=1e-5)
    assert total == pytest.approx(half * 48**2, rel=1e-5)
