"""Setting `official` of AGW, and the batches and loss of CAJ, against the numbers that the authors' releases gave."""

import numpy as np
import pytest
import torch
from agw_cases import CASES, official, ours
from parity_numbers import TOLERANCE, about, difference, numbers, unfilled

from crossreid.losses.metric import weighted_triplet_loss
from crossreid.losses.released_triplets import (
    released_sides,
    released_weighted_triplet_loss,
    squared_difference_triplet_loss,
)
from crossreid.models.attention import NonLocal
from crossreid.runs.recipe import load_recipe
from crossreid.runs.shipped import SHIPPED
from crossreid.training.optimisation import make_optimiser, rate_factor

SCHEDULE = about("agw/schedule")
OFFICIAL = sorted(SHIPPED.glob("agw_*_official.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_the_releases(case):
    given, found = numbers(f"agw/{case}"), ours(case)
    asked = {"input", "coefficients", "image", "labels"}
    expected = {n for n in given if n not in asked and "." not in n and not n.startswith("features_")}
    assert found.keys() == expected
    for name, tensor in found.items():
        assert difference(tensor, given[name]) <= TOLERANCE, f"{case}: {name}"


def test_the_state_is_the_releases():
    """A stem for each modality, layers 1 to 4 once, five blocks of width 1, nothing of the pooling, neck and classifier."""
    with unfilled():
        method = official(backbone={"name": "resnet50", "non_local": (0, 2, 3, 0)}, classes=395)
    state = {name: tuple(t.shape) for name, t in method.state_dict().items() if "num_batches" not in name}
    blocks = {name.rpartition(".theta")[0] for name in state if ".theta." in name}
    assert sorted(block.split(".", 3)[3] for block in blocks) == [
        "layer2.non_local_2", "layer2.non_local_3", "layer3.non_local_3", "layer3.non_local_4", "layer3.non_local_5",
    ]  # fmt: skip
    said = {name: t["shape"] for name, t in about("agw/non_local")["tensors"].items() if "." in name}
    for block in blocks:
        channels = 512 if "layer2" in block else 1024
        for name, shape in said.items():
            own = name.replace("g.0.", "g.", 1) if name.startswith("g.0.") else name.replace("W.", "out.", 1)
            assert state.pop(f"{block}.{own}") == tuple(channels if size == 64 else size for size in shape)
    for kind in ("visible", "infrared"):
        assert state.pop(f"network.{kind}_stem.0.conv1.weight") == (64, 3, 7, 7)
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert state.pop(f"network.{kind}_stem.0.bn1.{name}") == (64,)
    assert {n: s for n, s in state.items() if not n.startswith("network.common.")} == {
        **{f"neck.{name}": (2048,) for name in ("weight", "bias", "running_mean", "running_var")},
        "classifier.weight": (395, 2048),
    }


@torch.no_grad()
def test_the_start_is_the_releases():
    torch.manual_seed(0)
    method = official(classes=500)
    block = next(module for module in method.modules() if isinstance(module, NonLocal))
    assert not any(bool(p.any()) for p in block.out[1].parameters()), "the block starts as the identity"
    necks = torch.cat([official().neck.weight for _ in range(20)])
    assert float(necks.mean()) == pytest.approx(1, abs=1e-3)
    assert float(necks.std()) == pytest.approx(0.01, rel=0.1)
    assert not method.neck.bias.any()
    assert not method.neck.bias.requires_grad
    assert float(method.classifier.weight.std()) == pytest.approx(0.001, rel=0.05)


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: path.stem)
def test_the_rate_of_every_epoch_and_layer_is_the_releases(path):
    recipe, steps = load_recipe(path), SCHEDULE["batches"][path.stem.split("_")[-2]]
    training, said = recipe.training, SCHEDULE["optimiser"]
    assert training.epochs == SCHEDULE["epochs"] == len(SCHEDULE["factor by epoch"])
    for epoch, factor in enumerate(SCHEDULE["factor by epoch"]):
        found = rate_factor(training.schedule, epoch * steps, steps_per_epoch=steps, epochs=81)
        assert found == pytest.approx(factor), epoch
    method = official()
    optimiser = make_optimiser(method, training.optimiser)
    assert type(optimiser) is torch.optim.SGD
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    heads = {id(p) for module in (method.neck, method.classifier) for p in module.parameters()} & rates.keys()
    assert {rates[p] for p in heads} == {said["lr of neck and classifier"]}
    assert {rate for p, rate in rates.items() if p not in heads} == {said["lr of all else"]}
    for group in optimiser.param_groups:
        found = [group[name] for name in ("momentum", "nesterov", "weight_decay")]
        assert found == [said["momentum"], said["nesterov"], said["weight_decay"]]


@pytest.mark.parametrize("path", OFFICIAL, ids=lambda path: path.stem)
def test_images_and_batches_are_the_releases(path):
    recipe = load_recipe(path)
    data, sampler = recipe.data, recipe.data.sampler
    assert [data.height, data.width, data.interpolation] == [*SCHEDULE["images"], SCHEDULE["resize"]]
    assert data.augment.pad == SCHEDULE["pad"]["pixels"]
    assert (sampler.identities, sampler.images) == (
        SCHEDULE["identities"],
        SCHEDULE["visible images of each"] + SCHEDULE["infrared images of each"],
    )
    assert (
        list(recipe.method.backbone.non_local) == SCHEDULE["non-local blocks behind the last blocks of layers 1 to 4"]
    )
    assert recipe.method.backbone.non_local_width == SCHEDULE["non-local width"]
    assert recipe.method.backbone.name == "resnet50.tv_in1k"
    joint = path.stem.startswith("agw_caj_")
    assert data.augment.channels.joint == joint == recipe.evaluation.flip
    assert data.augment.channels.erasing == (SCHEDULE["caj"]["erasing"]["probability"] if joint else 0)
    assert recipe.method.triplet == ("squared_difference" if joint else "release")


def test_the_squared_difference_loss_is_what_a_loop_gives():
    given = numbers("agw/weighted_triplet")
    labels = given["labels"].numpy()
    for scale, cut in (("1", False), ("5", False), ("20", True)):
        features = given[f"features_{scale}"].double().numpy()
        distances = np.sqrt(((features[:, None] - features[None]) ** 2).sum(2) + 1e-12)
        terms, largest = [], 0.0
        for i, row in enumerate(distances):
            near, far = row[labels == labels[i]], row[labels != labels[i]]
            up = np.exp(near - max(near.max(), 0))
            down = np.exp(-far - 0.0)  # the largest of -d and the zeros of the mask
            gap = (up * near).sum() / (up.sum() + 1e-6) - (down * far).sum() / (down.sum() + 1e-6)
            largest = max(largest, gap**2)
            x = min(gap**2, 88.0)
            terms.append(np.log1p(np.exp(x)) if gap > 0 else np.log1p(np.exp(-x)))
        assert (largest > 88) == cut
        found = squared_difference_triplet_loss(given[f"features_{scale}"], given["labels"])
        assert float(found) == pytest.approx(np.mean(terms), rel=1e-5)


def test_what_cannot_be_meant_is_done_all_the_same():
    """docs/implicit_knowledge.md gives these numbers: 8 identities of 8 images, at mean distances of 1 and of 20."""
    given = numbers("agw/weighted_triplet")
    labels = given["labels"]
    near, far = given["features_1"], given["features_20"]
    positive, _ = released_sides(near, labels)
    others = (labels[:, None] == labels[None]) & ~torch.eye(64, dtype=torch.bool)
    mean = (torch.cdist(near, near) * others).sum(1) / others.sum(1)
    assert [round(float(side.mean()), 3) for side in (positive, mean)] == [0.919, 0.965], "weighted, yet below the mean"
    _, negative = released_sides(far, labels)
    nearest = torch.cdist(far, far).masked_fill(labels[:, None] == labels[None], torch.inf).amin(1)
    assert [round(float(side.mean()), 1) for side in (negative, nearest)] == [2.8, 17.8], "weights that do not sum to 1"
    losses = [
        [round(float(loss(rows, labels)), 2) for loss in (released_weighted_triplet_loss, weighted_triplet_loss)]
        for rows in (near, far)
    ]
    assert losses == [[0.64, 0.67], [17.55, 1.58]]
