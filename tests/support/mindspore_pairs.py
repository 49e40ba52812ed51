"""The same network twice, by torch and by MindSpore, with the same weights, batches and dropped entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mindspore import Tensor
from torch import nn

from crossreid.data.batch import Batch
from crossreid.methods.building import build_method
from crossreid.methods.variational_distillation import VariationalDistillation as InTorch
from crossreid.mindspore.variational_distillation import VariationalDistillation
from crossreid.mindspore.weights import build, load_torch
from crossreid.runs.recipe import Recipe, make_recipe

Numbers = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Drawn:
    """A batch on the host: images `(B, 3, H, W)`, labels, modalities `(B,)`."""

    images: np.ndarray
    labels: np.ndarray
    modalities: np.ndarray

    def for_torch(self) -> Batch:
        labels, modalities = torch.from_numpy(self.labels), torch.from_numpy(self.modalities)
        return Batch(torch.from_numpy(self.images), labels, modalities, torch.zeros_like(labels))

    def for_mindspore(self) -> tuple[Tensor, Tensor, Tensor]:
        return Tensor(self.images), Tensor(self.labels), Tensor(self.modalities)


@dataclass(frozen=True)
class Pair:
    """Both networks of a recipe."""

    torch: InTorch
    mindspore: VariationalDistillation

    def train(self, mode: bool = True) -> None:
        self.torch.train(mode)
        self.mindspore.set_train(mode)

    def draw_alike(self, seed: int) -> None:
        """Let both drop the same entries from now on."""
        numbers = np.random.default_rng(seed).random
        for module in self.torch.modules():
            if isinstance(module, SeenDropout):
                module.draw = numbers
        self.mindspore.draw_with(np.random.default_rng(seed).random)


class SeenDropout(nn.Module):
    """Dropout by numbers that are given to it."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.draw: Numbers = np.random.default_rng(0).random

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return features
        kept = torch.from_numpy(self.draw(tuple(features.shape)) >= self.rate)
        return torch.where(kept, features / (1 - self.rate), 0.0)


def recipe_of(**method: Any) -> Recipe:
    """A recipe of VD on small images, its backbone `test_resnet` unless `method` names another; no data set is read."""
    backbone = {"name": "test_resnet", "weights": "none", **method.pop("backbone", {})}
    data = {"name": "sysu-mm01", "root": "data", "height": 64, "width": 32}
    return make_recipe({"data": data, "method": {"name": "variational_distillation", "backbone": backbone, **method}})


def pair_of(recipe: Recipe, classes: int = 7, *, seed: int = 0, spread: float = 1.0) -> Pair:
    """Both networks of the recipe with the same random weights, no parameter or statistic left as it starts.

    Args:
        spread: of the classifiers' weights, so that predictions differ.
    """
    torch.manual_seed(seed)
    method = build_method(recipe.method, classes, normalisation=recipe.data.normalisation)
    assert isinstance(method, InTorch)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, value in method.state_dict().items():
            if "classifier" in name and value.ndim == 2:
                value.normal_(0, spread * value.shape[1] ** -0.5, generator=generator)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 2, generator=generator)
            elif value.is_floating_point() and value.ndim == 1:
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
    for parent in list(method.modules()):
        for key, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                setattr(parent, key, SeenDropout(child.p))
    cell = build(recipe, classes)
    load_torch(cell, {name: value.numpy() for name, value in method.state_dict().items()})
    return Pair(method, cell)


def batch_of(people: int = 4, images: int = 4, *, size: tuple[int, int] = (64, 32), seed: int = 0) -> Drawn:
    """P people with K images each, half of them infrared, in an order of their own; an identity looks like itself."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(people), images)
    modalities = np.tile(np.arange(images) % 2, people)
    order = rng.permutation(len(labels))
    looks = rng.normal(size=(people, 3, *size))
    noise = rng.normal(size=(len(labels), 3, *size))
    values = (looks[labels] + noise).astype(np.float32)
    return Drawn(values[order], labels[order].astype(np.int64), modalities[order].astype(np.int64))
