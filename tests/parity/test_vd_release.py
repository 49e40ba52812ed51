"""Variational distillation's setting `official` against the numbers that the authors' release gave."""

import math
from itertools import pairwise

import pytest
import torch
import torchvision
import vd_cases
from parity_numbers import unfilled
from torch import nn
from vd_cases import ABOUT, CASES, STREAMS, difference, official, ours, released_key, tensors_of, tolerance

from crossreid.losses.distillation import kl_divergence, release_divergence
from crossreid.runs.recipe import load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.training.optimisation import make_optimiser, rate_factor

RECIPE = SHIPPED / "vd_sysu-mm01_official.yaml"
SMALL = [case for case in CASES if case != "network.one"]


def compare(case, found, expected, outputs):
    for output in outputs:
        apart = difference(found[output], expected[output])
        assert apart <= tolerance(case, output), f"{case}: {output} differs by {apart:.1e} of its largest entry"


@pytest.mark.parametrize("case", SMALL)
def test_value_and_gradient_are_the_releases(case):
    found = ours(case)
    assert found.keys() == set(CASES[case]["outputs"]), "every output, and no gradient where the release has none"
    compare(case, found, tensors_of(case), found)


@pytest.mark.slow
def test_the_whole_network_is_the_releases():
    """Features, logits, terms, running statistics and gradients of all branches."""
    compare("network.one", ours("network.one"), tensors_of("network.one"), CASES["network.one"]["outputs"])


def test_the_state_is_the_releases_by_name_and_shape():
    classes = 395
    with unfilled():
        method = official(backbone={"name": "resnet50", "weights": "none"}, classes=classes)
        resnet = torchvision.models.resnet50()
    rest = {
        **{f"attention.{stage}.gamma": (1,) for stage in (2, 3, 4)},
        **{f"neck.{name}": (2048,) for name in ("weight", "bias", "running_mean", "running_var")},
        "v_classifier.weight": (classes, 2048),
        "v_classifier.bias": (classes,),
    }
    widths = (2048, 1000, 500, 512)
    for layer, (given, wide) in zip((0, 3, 6), pairwise(widths), strict=True):
        rest |= {f"bottleneck.{layer}.weight": (wide, given), f"bottleneck.{layer}.bias": (wide,)}
    for layer, (given, wide) in ((0, (512, 256)), (4, (256, classes))):
        rest |= {f"z_classifier.{layer}.weight": (wide, given), f"z_classifier.{layer}.bias": (wide,)}
    for layer, wide in (("bottleneck.1", 1000), ("bottleneck.4", 500), ("z_classifier.1", 256)):
        rest |= {f"{layer}.{name}": (wide,) for name in ("weight", "bias", "running_mean", "running_var")}
    encoder = {f"resnet.{k}": tuple(t.shape) for k, t in resnet.state_dict().items() if not k.startswith("fc.")}
    one = {key: shape for key, shape in (encoder | rest).items() if not key.endswith("num_batches_tracked")}
    expected = {f"{branch}.{key}": shape for branch in ("infrared", "visible", "shared") for key, shape in one.items()}
    found = {released_key(key): tuple(t.shape) for key, t in method.state_dict().items()}
    assert {key: shape for key, shape in found.items() if not key.endswith("num_batches_tracked")} == expected
    learned = [released_key(name) for name, p in method.named_parameters() if p.requires_grad]
    assert set(learned) == set(CASES["network.one"]["hyper"]["parameters"])


@torch.no_grad()
def test_the_start_is_the_releases():
    torch.manual_seed(0)
    method = official(bottleneck={}, classes=395)
    for branch in (method.infrared, method.visible, method.shared):
        linear = [layer for layer in branch.bottleneck if isinstance(layer, nn.Linear)]
        classifiers = [branch.v_classifier, branch.z_classifier[0], branch.z_classifier[4]]
        scales = torch.cat([layer.weight for layer in branch.bottleneck if isinstance(layer, nn.BatchNorm1d)])
        for layer in linear:
            assert float(layer.weight.std()) == pytest.approx(math.sqrt(2 / layer.out_features), rel=0.02)
        for layer in classifiers:
            assert float(layer.weight.std()) == pytest.approx(0.001, rel=0.05)
        assert not any(bool(layer.bias.any()) for layer in linear + classifiers)
        assert float(scales.mean()) == pytest.approx(1, abs=0.005)
        assert float(scales.std()) == pytest.approx(0.02, rel=0.1)
        gains = [p for name, p in branch.named_parameters() if name.endswith("affinity_gain")]
        assert torch.equal(torch.stack(gains), torch.zeros(3, 1))
        dropout = [module.p for module in branch.z_classifier if isinstance(module, nn.Dropout)]
        slopes = [module.negative_slope for module in branch.z_classifier if isinstance(module, nn.LeakyReLU)]
        assert (dropout, slopes) == ([0.5], [0.1])


def test_the_infrared_branch_and_one_pass_of_the_shared_one_see_grey():
    method, images = official(), torch.randn(4, 3, 32, 16)
    seen = []
    method._pass(images, torch.tensor([0, 1, 0, 1]), lambda branch, rows: seen.append((branch, rows)) or (rows,))
    grey = vd_cases.luma_of_normalised(images)
    expected = [(method.infrared, grey), (method.visible, images), (method.shared, grey), (method.shared, images)]
    assert len(seen) == len(STREAMS)
    for (branch, rows), (wanted, version) in zip(seen, expected, strict=True):
        assert branch is wanted
        assert torch.equal(rows, version)


def test_the_rate_of_every_epoch_is_the_releases():
    training = load_recipe(RECIPE).training
    steps = ABOUT["batches"]["sysu-mm01"]["steps_an_epoch"]
    expected = ABOUT["learning_rate"]["by_epoch"]
    for epoch, rate in enumerate(expected):
        for step in (epoch * steps, (epoch + 1) * steps - 1):
            factor = rate_factor(training.schedule, step, steps_per_epoch=steps, epochs=len(expected))
            assert factor * training.optimiser.lr == pytest.approx(rate, rel=1e-9), epoch


def test_the_optimiser_is_the_releases():
    method, options = official(), load_recipe(RECIPE).training.optimiser
    optimiser = make_optimiser(method, options)
    assert type(optimiser) is torch.optim.Adam
    fixed = {id(branch.encoder.neck.bias) for branch in method.branches.values()}
    learned = [p for group in optimiser.param_groups for p in group["params"]]
    assert {id(p) for p in learned} == {id(p) for p in method.parameters()} - fixed
    for group in optimiser.param_groups:
        found = [group[key] for key in ("lr", "betas", "eps", "weight_decay", "amsgrad")]
        assert found == [2.6e-4, (0.9, 0.999), 1e-8, 5e-4, False]


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("vd_*_official.yaml")), ids=lambda path: path.stem)
def test_every_recipe_of_the_release_says_the_same(path):
    recipe, first = load_recipe(path), load_recipe(RECIPE)
    assert recipe.method == first.method
    assert recipe.training.optimiser == first.training.optimiser
    assert recipe.training.schedule == first.training.schedule
    assert recipe.method.setting == "official"
    assert recipe.method.backbone.name == "resnet50.tv_in1k"


def test_what_the_release_calls_a_divergence_is_negative_and_least_near_uniform_predictions():
    """docs/variational_distillation.md gives these numbers."""
    uniform, certain = torch.zeros(6, 395), torch.zeros(6, 395)
    certain[:, 3] = 30.0
    assert float(release_divergence(uniform, uniform)) == pytest.approx(-(math.log(395) + 1 / 395) / 395, rel=1e-5)
    assert float(kl_divergence(uniform, uniform)) == 0
    values = [round(float(release_divergence(p, q)), 5) for p, q in ((uniform, uniform), (certain, certain))]
    assert values == [-0.01514, -0.00253], "agreement on the identity is worth less than none"
    least = certain.softmax(1).requires_grad_()  # logits that are P itself
    release_divergence(certain, least).backward()
    assert float(least.grad.abs().max()) < 1e-9
    assert round(float(least.detach().softmax(1)[0, 3]), 4) == 0.0069
    method = official(classes=395)
    v, z = torch.randn(6, 96), torch.randn(6, 512)
    method._pass = lambda *_: dict.fromkeys(STREAMS, (v, z, uniform, uniform))
    labels = torch.arange(6)
    terms = method.losses(vd_cases.Batch(torch.zeros(()), labels, labels % 2, labels))
    assert [round(float(terms[name]), 4) for name in ("vsd", "vcd")] == [-0.0606, -0.0303]


def test_transport_as_released_does_not_see_a_prediction_without_a_partner():
    """docs/variational_distillation.md gives these numbers: of 128 predictions one is sure of a class of its own."""
    a = torch.eye(128, 256)
    b = torch.cat([torch.eye(1, 256).roll(200, 1), a[1:]])
    assert float(vd_cases.sinkhorn_distance(a, b)) == pytest.approx(0, abs=1e-6)
    assert float(vd_cases.sinkhorn_distance(a, b, floor=0, added=0)) > 0.015  # 2 / 128 is the cost of the one pair
