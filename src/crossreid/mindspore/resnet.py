"""timm's ResNets as MindSpore cells, made from the torch network with all that a recipe changed in it.

Plain and deep stems, basic and bottleneck blocks, shortcuts by a strided convolution or behind average pooling, groups; the last
stage's stride and the last activation as `crossreid.models` left them; the release's channel attention before stages 2 to 4.
Left out: squeeze-and-excitation and its relatives, blurred pooling, dropped blocks and paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mindspore import Parameter, Tensor, ops
from mindspore import nn as cells
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from crossreid.mindspore.layers import UnsupportedLayerError, copied, layer_of

LEFT_OUT = {"se": "channel attention", "drop_path": "dropped paths"}
GAIN = "affinity_gain"
STAGES = ("layer1", "layer2", "layer3", "layer4")


class Block(cells.Cell):
    """One of timm's BasicBlock or Bottleneck: convolutions with norm and activation, the shortcut added before the last of these."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        for name, said in LEFT_OUT.items():
            if getattr(block, name, None) is not None:
                raise UnsupportedLayerError(f"MindSpore: expected blocks without {said}, found {name} in one.")
        for name in ("drop_block", "aa"):
            if not isinstance(getattr(block, name, None), nn.Identity):
                raise UnsupportedLayerError(f"MindSpore: expected blocks without {name}, found {getattr(block, name)}.")
        self.conv1, self.bn1, self.act1 = layer_of(block.conv1), layer_of(block.bn1), layer_of(block.act1)
        self.conv2, self.bn2, self.act2 = layer_of(block.conv2), layer_of(block.bn2), layer_of(block.act2)
        self.has_third = isinstance(block, Bottleneck)
        if self.has_third:
            self.conv3, self.bn3, self.act3 = layer_of(block.conv3), layer_of(block.bn3), layer_of(block.act3)
        self.has_downsample = block.downsample is not None
        if self.has_downsample:
            self.downsample = layer_of(block.downsample)

    def construct(self, maps: Tensor) -> Tensor:
        shortcut = self.downsample(maps) if self.has_downsample else maps
        maps = self.bn2(self.conv2(self.act1(self.bn1(self.conv1(maps)))))
        if self.has_third:
            return self.act3(self.bn3(self.conv3(self.act2(maps))) + shortcut)
        return self.act2(maps + shortcut)


class AttentiveStage(cells.Cell):
    """Blocks one after another, `(B, C, h, w)`, then x + gain softmax(-x x^T) x over channels, as VD's release has it."""

    def __init__(self, blocks: Sequence[cells.Cell], gain: Parameter) -> None:
        super().__init__()
        self.count = len(blocks)
        for place, block in enumerate(blocks):
            self.insert_child_to_cell(str(place), block)
            block.update_parameters_name(f"{place}.")
        self.affinity_gain = gain

    def construct(self, maps: Tensor) -> Tensor:
        for block in self.cells():
            maps = block(maps)
        batch, channels, height, width = maps.shape
        rows = maps.reshape(batch, channels, height * width)
        unlike = ops.softmax(-ops.bmm(rows, rows.swapaxes(1, 2)), axis=2)
        return maps + self.affinity_gain * ops.bmm(unlike, rows).reshape(batch, channels, height, width)


class ResNetCell(cells.Cell):
    """Images `(B, 3, H, W)` to the feature map `(B, C, h, w)` of a timm ResNet.

    Raises:
        UnsupportedLayerError: the network has what has no cell here.
    """

    def __init__(self, network: ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.act1 = layer_of(network.conv1), layer_of(network.bn1), layer_of(network.act1)
        self.maxpool = layer_of(network.maxpool)
        self.layer1, self.layer2, self.layer3, self.layer4 = (stage_of(getattr(network, name)) for name in STAGES)

    def construct(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.act1(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(maps))))


def stage_of(stage: nn.Sequential) -> cells.Cell:
    """The blocks of one of timm's stages, with the attention behind them where there is one."""
    kinds = [type(block) for block in stage]
    if other := {kind.__name__ for kind in kinds if kind not in (BasicBlock, Bottleneck)}:
        raise UnsupportedLayerError(
            f"MindSpore: expected stages of BasicBlock and Bottleneck, found {', '.join(sorted(other))}. "
            "Train this network with torch."
        )
    blocks = [Block(block) for block in stage]
    attentive = hasattr(stage, GAIN)
    if len(stage._forward_hooks) > attentive:
        raise UnsupportedLayerError("MindSpore: expected stages without hooks but the attention's, found another.")
    if not attentive:
        return cells.SequentialCell(*blocks)
    return AttentiveStage(blocks, copied(getattr(stage, GAIN), GAIN))


def network_of(network: nn.Module, name: str) -> ResNetCell:
    """A backbone's network, called `name` in the recipe, as a cell.

    Raises:
        UnsupportedLayerError: it is no ResNet of timm's, or one with more than is supported here.
    """
    if type(network) is not ResNet:
        raise UnsupportedLayerError(
            f"MindSpore: expected a backbone that is one of timm's ResNets (resnet50, resnet18, resnet10t, ...), found {name!r}, "
            f"a {type(network).__name__}. Train it with torch."
        )
    return ResNetCell(network)
