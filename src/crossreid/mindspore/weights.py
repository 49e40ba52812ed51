"""A recipe's network as a MindSpore cell, and weights between both frameworks, every name accounted for.

Parameters have the same names on both sides, batch norm's running statistics and counts included, so that weights move without a
table of names: what is missing, unknown or of another shape is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from mindspore import Tensor

from crossreid.errors import CrossreidError
from crossreid.methods.building import build_method
from crossreid.methods.variational_distillation import VariationalDistillation as InTorch
from crossreid.mindspore.limits import refuse_network
from crossreid.mindspore.variational_distillation import VariationalDistillation
from crossreid.runs.recipe import Recipe

SHOWN = 5


def build(recipe: Recipe, classes: int) -> VariationalDistillation:
    """The recipe's network for so many training identities, with freshly drawn weights, as a cell that evaluates.

    torch draws the weights, from the state that its generator is in and leaves.

    Raises:
        CrossreidError: the recipe asks for what is not supported here, which is named.
    """
    refuse_network(recipe)
    normalisation = recipe.data.normalisation
    with torch.random.fork_rng(devices=[]):
        method = build_method(recipe.method.without_download(), classes, normalisation=normalisation)
    assert isinstance(method, InTorch)  # by its name, which was looked at
    cell = VariationalDistillation(method, normalisation)
    cell.set_train(False)
    return cell


def load_torch(cell: VariationalDistillation, state: Mapping[str, np.ndarray]) -> None:
    """Give the cell the weights of a torch network's `state_dict`, as numpy arrays, in place; all or none.

    Raises:
        CrossreidError: names that one side lacks, or another shape.
    """
    parameters = dict(cell.parameters_and_names())
    missing, unknown = sorted(parameters.keys() - state.keys()), sorted(state.keys() - parameters.keys())
    if missing or unknown:
        found = [f"{_some(names)} {said}" for names, said in ((missing, "missing"), (unknown, "unknown")) if names]
        raise CrossreidError(
            f"weights do not fit: expected the {len(parameters)} names of this network, found {' and '.join(found)}. "
            "Give the weights of a run of the same recipe."
        )
    for name, parameter in parameters.items():
        if tuple(state[name].shape) != tuple(parameter.shape):
            raise CrossreidError(
                f"weights do not fit: expected {name} of shape {tuple(parameter.shape)}, found {tuple(state[name].shape)}. "
                "Give the weights of a run of the same recipe, trained on as many identities."
            )
    for name, parameter in parameters.items():
        parameter.set_data(Tensor(np.array(state[name]), parameter.dtype))


def torch_state(cell: VariationalDistillation) -> dict[str, np.ndarray]:
    """The cell's weights by the names, of the shapes and of the types of the torch network's `state_dict`."""
    return {name: np.array(parameter.asnumpy()) for name, parameter in cell.parameters_and_names()}


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
