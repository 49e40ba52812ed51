"""A backbone cut at its stages: sequences of modules, stem first, that together form the network.

A transformer whose blocks all see the same tokens is cut between any two of them (`token_stages`), any other network
where its `feature_info` says that a stage ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.backbones import Backbone
from crossreid.models.stages import has_blocks, stage_paths
from crossreid.models.token_stages import BlockInputs, Given, TokenStage, token_stages
from crossreid.models.tokens import Size, forward_small


class Cut(NamedTuple):
    """The stages of a network in order, and the module for the additional inputs of a transformer's blocks."""

    stages: list[nn.Module]
    inputs: BlockInputs | None

    def given(self, size: Size) -> Given | None:
        """The additional inputs for images of `size` (H, W)."""
        return None if self.inputs is None else self.inputs(size)


def through(stages: Iterable[nn.Module], maps: Tensor, given: Given | None) -> Tensor:
    """Pass `maps` through the stages in order."""
    for stage in stages:
        maps = stage(maps, given) if isinstance(stage, TokenStage) else stage(maps)
    return maps


def cut(backbone: Backbone, name: str) -> Cut:
    """The stages of `backbone`, in order; what follows the last stage belongs to it. The last one returns
    `(B, width, h, w)`.

    For a transformer, stage 0 is its stem, and each block is a stage after it. Any other network is cut where its
    `feature_info` says that a stage ends, once a small image has shown that it is a plain sequence there: each part's
    input is the previous part's output, with nothing in between.

    Raises:
        CrossreidError: it is neither.
    """
    found = _between_blocks(backbone) if has_blocks(backbone.network) else _at_stages(backbone, name)
    if found is None:
        raise CrossreidError(
            f"backbone {name!r} is no sequence of stages or blocks that could be cut. Choose a convolutional network, for "
            "example a ResNet, a ViT or a Swin transformer, or a method with whole encoders."
        )
    return found


def _between_blocks(backbone: Backbone) -> Cut | None:
    """The transformer's stem and blocks; None if the network is more than their sequence.

    The inputs of each block and of the norm are compared, not only the map: layers whose scale starts near 0 would hide
    a difference.
    """
    network = backbone.network
    found = Cut(*token_stages(network))
    taken: list[Tensor] = []
    blocks: list[nn.Module] = list(network.blocks)  # type: ignore[arg-type]
    norm = getattr(network, "norm", None)
    watched = [*blocks, norm] if isinstance(norm, nn.Module) else blocks
    hooks = [module.register_forward_pre_hook(lambda _module, inputs: taken.append(inputs[0])) for module in watched]
    training = backbone.training
    backbone.eval()
    try:
        shown = forward_small(network)
        if shown is None:
            return None
        image, _ = shown
        size = (image.shape[2], image.shape[3])
        with torch.no_grad():
            taken.clear()
            runs = [backbone(image)]
            expected = list(taken)
            taken.clear()
            runs.append(through(found.stages, image, found.given(size)))
    except (RuntimeError, TypeError, ValueError, AttributeError):
        return None
    finally:
        backbone.train(training)
        for hook in hooks:
            hook.remove()
    if len(expected) != len(watched) or len(taken) != len(watched):
        return None
    return (
        found
        if all(_alike(one, other) for one, other in zip([*expected, runs[0]], [*taken, runs[1]], strict=True))
        else None
    )


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def _at_stages(backbone: Backbone, name: str) -> Cut | None:
    """The modules of each stage; None if they are not a chain."""
    network = backbone.network
    ends = stage_paths(network, name)
    parts = _parts(network, ends)
    order, last_axis = _traced(network, parts)
    runs: list[list[tuple[str, nn.Module]]] = [[] for _ in ends]
    place = 0
    for path in order:
        runs[place].append((path.replace(".", "_"), parts[path]))
        if place < len(ends) - 1 and _holds(path, ends[place]):
            place += 1
    if not order or not all(runs):
        return None
    if last_axis:
        runs[-1].append(("channels_first", ChannelsFirst()))
    return Cut([nn.Sequential(OrderedDict(run)) for run in runs], None)


class ChannelsFirst(nn.Module):
    """Maps `(B, h, w, width)` to `(B, width, h, w)`."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.permute(0, 3, 1, 2)


def _holds(path: str, end: str) -> bool:
    return end == path or end.startswith(f"{path}.")


def _parts(network: nn.Module, ends: list[str]) -> dict[str, nn.Module]:
    """The outermost modules that no cut passes through, by path."""
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


def _traced(network: nn.Module, parts: dict[str, nn.Module]) -> tuple[list[str], bool]:
    """The parts in the order an image passes them, and whether maps are channels last; none if they are not a chain."""
    calls: list[tuple[str, Tensor, Tensor]] = []
    hooks = [
        part.register_forward_hook(lambda _module, inputs, output, path=path: calls.append((path, inputs[0], output)))
        for path, part in parts.items()
    ]
    try:
        shown = forward_small(network)
    finally:
        for hook in hooks:
            hook.remove()
    if shown is None:
        return [], False
    image, maps = shown
    starts = [position for position, (_, given, _) in enumerate(calls) if given is image]
    passed: Tensor = image
    for _, given, output in calls[starts[-1] :] if starts else []:  # rejected sizes may have left earlier calls
        if given is not passed:
            return [], False
        passed = output
    whole = passed is maps and maps.ndim == 4 and network.num_features in (maps.shape[1], maps.shape[-1])
    order = [path for path, _, _ in calls[starts[-1] :]] if whole and starts else []
    return order, bool(order) and maps.shape[1] != network.num_features
