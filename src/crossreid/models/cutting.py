"""A backbone cut at its stages: runs of modules, stem first, that one after another are the network."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.backbones import Backbone
from crossreid.models.stages import stage_paths, trial_image


def cut_at_stages(backbone: Backbone, name: str) -> list[nn.Sequential]:
    """The modules of each stage of `backbone`, in order; what follows the last stage belongs to it.

    A network is cut where its `feature_info` says that a stage ends, once a small image has shown that it is a plain sequence there:
    each part takes what the part before it gives, and nothing happens in between.

    Raises:
        CrossreidError: it is no such sequence, as most transformers are not.
    """
    network = backbone.network
    ends = stage_paths(network, name)
    parts = _parts(network, ends)
    order = _traced(network, parts)
    runs: list[list[tuple[str, nn.Module]]] = [[] for _ in ends]
    place = 0
    for path in order:
        runs[place].append((path.replace(".", "_"), parts[path]))
        if place < len(ends) - 1 and _holds(path, ends[place]):
            place += 1
    if not order or not all(runs):
        raise CrossreidError(
            f"backbone {name!r} is no sequence of stages that could be cut. Choose a convolutional network, for example a "
            "ResNet, or a method with whole encoders."
        )
    return [nn.Sequential(OrderedDict(run)) for run in runs]


def _holds(path: str, end: str) -> bool:
    return end == path or end.startswith(f"{path}.")


def _parts(network: nn.Module, ends: list[str]) -> dict[str, nn.Module]:
    """The outermost modules that no cut goes through, by path."""
    found: dict[str, nn.Module] = {}

    def look(module: nn.Module, prefix: str) -> None:
        for key, child in module.named_children():
            path = f"{prefix}{key}"
            cut = isinstance(child, nn.Sequential | nn.ModuleList) and any(e.startswith(f"{path}.") for e in ends)
            if cut:
                look(child, f"{path}.")
            else:
                found[path] = child

    look(network, "")
    return found


@torch.no_grad()
def _traced(network: nn.Module, parts: dict[str, nn.Module]) -> list[str]:
    """The parts in the order in which an image passes them; empty where that is no chain."""
    calls: list[tuple[str, Tensor, Tensor]] = []
    hooks = [
        part.register_forward_hook(lambda _module, inputs, output, path=path: calls.append((path, inputs[0], output)))
        for path, part in parts.items()
    ]
    image = trial_image(network)
    training = network.training
    try:
        maps = network.eval().forward_features(image)  # type: ignore[operator]
    except (RuntimeError, AssertionError, AttributeError):
        return []
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    passed: Tensor = image
    for _, given, output in calls:
        if given is not passed:
            return []
        passed = output
    whole = passed is maps and maps.ndim == 4 and maps.shape[1] == network.num_features
    return [path for path, _, _ in calls] if whole else []
