"""Every method trains in bf16: its losses are those of float32 but for the arithmetic, and stay finite as weights move."""

import pytest
import torch

from crossreid.data.batch import Batch
from crossreid.methods import METHODS, build_method
from crossreid.training.options import TrainingOptions
from crossreid.training.processes import make_fabric
from crossreid.training.state import initial_state
from crossreid.training.step import train_step

TRANSFORMER = {"name": "vit_tiny_patch16_224", "weights": "none", "input_size": (32, 32)}
NON_LOCAL = {"name": "test_resnet", "weights": "none", "non_local": (0, 1, 1, 0)}
OWN = {"agw": {"backbone": NON_LOCAL}, "transreid": {"backbone": TRANSFORMER}}


def batch_of(name):
    labels, modalities = torch.arange(16) // 4, torch.arange(16) % 2
    shape = (16, 3, 32, 32)
    if name == "view_distillation":
        modalities, shape = modalities[:, None].repeat(1, 2), (16, 2, 3, 32, 32)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return Batch(images, labels, modalities, torch.zeros_like(modalities))


def losses_of_two_steps(name, precision):
    torch.manual_seed(0)
    given = {"backbone": {"name": "test_resnet", "weights": "none"}, **OWN.get(name, {})}
    method = build_method(METHODS[name].options(**given), 6)
    options = TrainingOptions(accelerator="cpu", precision=precision, clip=1.0)
    state = initial_state(method, options, make_fabric(options))
    state.training_mode(options)
    found = []
    for _ in range(2):
        train_step(state, batch_of(name), options, steps_per_epoch=4)
        found.append(state.losses)
    return found


@pytest.mark.parametrize(
    "name", [name for name, method in METHODS.items() if method.owner.__module__.startswith("crossreid.")]
)
def test_losses_in_bf16_are_those_of_float32_but_for_rounding(name):
    exact, found = (losses_of_two_steps(name, precision) for precision in ("32-true", "bf16-mixed"))
    for one, other in zip(exact, found, strict=True):
        assert other == pytest.approx(one, rel=0.05, abs=0.05)
    assert found != exact, "it was computed in bf16"
