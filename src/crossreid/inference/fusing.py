"""Batch norms folded into the convolutions before them: the same function with fewer passes over memory."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any, TypeVar

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from crossreid.data.records import Modality
from crossreid.methods.method import Network

TOLERANCE = 1e-4
N = TypeVar("N", bound=Network)


@torch.inference_mode(False)
@torch.no_grad()
def fused(network: N, height: int, width: int) -> N:
    """Return a network in evaluation mode with each convolution fused with the batch norm that alone takes its output.

    The pairs are found by running the network on random images of both modalities. If fusing changes the embeddings of
    those images by more than 1e-4, `network` is returned unchanged.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, height, width, generator=generator)
    modalities = torch.tensor([Modality.VISIBLE, Modality.INFRARED] * 2)
    pairs, expected = _pairs(network, images, modalities)
    if not pairs:
        return network
    result = copy.deepcopy(network)
    for first, second in pairs:
        convolution, norm = result.get_submodule(first), result.get_submodule(second)
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        _put(result, first, fuse_conv_bn_eval(convolution, norm))
        rest = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
        _put(result, second, rest.eval())
    same = torch.allclose(result.embed(images, modalities), expected, atol=TOLERANCE, rtol=0)
    return result if same else network


def _pairs(network: Network, images: Tensor, modalities: Tensor) -> tuple[list[tuple[str, str]], Tensor]:
    """Return the names of each (convolution, batch norm) that always follow each other, and the images' embeddings."""
    made: dict[int, tuple[str, Tensor]] = {}  # keeps the tensors alive, so that ids are not reused
    calls: Counter[str] = Counter()
    follows: Counter[tuple[str, str]] = Counter()

    def convolved(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            calls[name] += 1
            made[id(output)] = (name, output)

        return hook

    def normed(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            calls[name] += 1
            if id(inputs[0]) in made:
                follows[made[id(inputs[0])][0], name] += 1

        return hook

    hooks = []
    try:
        for name, module in network.named_modules():
            if module._forward_hooks or module._forward_pre_hooks:
                continue  # something else reads or changes the tensor in between
            if type(module) is nn.Conv2d:
                hooks.append(module.register_forward_hook(convolved(name)))
            elif type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_mean is not None:
                hooks.append(module.register_forward_hook(normed(name)))
        embeddings = network.embed(images, modalities)
    finally:
        for hook in hooks:
            hook.remove()
    pairs = [pair for pair, count in follows.items() if count == calls[pair[0]] == calls[pair[1]]]
    return pairs, embeddings


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, key = name.rpartition(".")
    setattr(network.get_submodule(parent), key, module)
