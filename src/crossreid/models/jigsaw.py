"""The jigsaw patch module: a transformer with two copies of its last block, one for all patches and one for groups of
shuffled patches.

Source: He et al., "TransReID: Transformer-based object re-identification", ICCV 2021, section 3.2 and figure 3. With
the tokens z_cls, z_1 ... z_N before the last block,

    shift:    z_1 ... z_N  becomes  z_(m+1) ... z_N, z_1 ... z_m
    shuffle:  position i of k equally long groups, group by group, becomes position of group i mod k (as in ShuffleNet)
    global:   block([z_cls; z_1 ... z_N])
    local j:  block'([z_cls; the j-th of the shuffled patches' parts]), one block' for all parts

so that each part contains patches from all over the image. If N is not a multiple of a number of groups, the first ones
are longer by one; the released code repeats one patch and leaves the last ones out. It also moves m - 1 patches for a
given m; here it is m, as in the paper.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.pooling import GeneralisedMean
from crossreid.models.tokens import patch_grid
from crossreid.models.vision_transformer import embedded_tokens, refuse_other_than_transformers, through_blocks


def jigsaw_order(patches: int, *, shift: int, groups: int, device: torch.device | None = None) -> Tensor:
    """The order `(patches,)` of the shifted and shuffled patches, as indices."""
    places, length = torch.arange(patches, device=device), -(-patches // groups)
    shuffled = (places % length * groups + places // length).argsort()
    return (shuffled + shift) % patches


class PatchMap(nn.Module):
    """Patches `(B, N, W)` as a map `(B, W, h, w)`; a separate module, so that analyses of maps find it."""

    def forward(self, patches: Tensor, grid: tuple[int, int]) -> Tensor:
        return patches.transpose(1, 2).unflatten(2, grid)


class JigsawBackbone(nn.Module):
    """Images `(B, 3, H, W)` to the global feature and one feature per part, `(B, width)` each, the global one first.

    Args:
        shift: number of patches moved to the end; 0 for none.
        shuffle_groups: number of groups between which patches are shuffled; 1 for no shuffling.
        parts: number of local features; 0 for only the global one.

    Raises:
        CrossreidError: the backbone is not a vision transformer of timm, or images of its size have fewer patches than
            `parts`. For networks that take any size, the latter is raised for the first images.
    """

    block: nn.Module
    norm: nn.Module

    def __init__(self, options: BackboneOptions, *, shift: int, shuffle_groups: int, parts: int) -> None:
        super().__init__()
        self.whole = Backbone(options)
        network: Any = self.whole.network
        refuse_other_than_transformers(network, options.name, "method.name=transreid")
        self.width, self.prefix = self.whole.width, int(network.num_prefix_tokens)
        self.shift, self.shuffle_groups, self.parts = shift, shuffle_groups, parts
        self.patch_map = PatchMap()
        self._kept: dict[tuple[int, torch.device], tuple[Tensor, ...]] = {}
        if options.input_size is not None and (grid := patch_grid(network.patch_embed, options.input_size)) is not None:
            self._refuse_few(grid[0] * grid[1])
        if parts:
            self.block = copy.deepcopy(network.blocks[-1])
            self.norm = copy.deepcopy(network.norm)
            if self.whole.pooling is not None:
                self.pooling: GeneralisedMean = copy.deepcopy(self.whole.pooling)

    @property
    def last_stage(self) -> list[str]:
        """Paths of the modules of the last stage; the local block and its norm are copies of some of them."""
        return [f"whole.{path}" for path in self.whole.last_stage] + (["block", "norm"] if self.parts else [])

    def leading_stages(self, count: int) -> list[nn.Module]:
        """The modules of the network's first `count` stages, each by itself; the local block belongs to none."""
        return self.whole.leading_stages(count)

    def forward(
        self, images: Tensor, modalities: Tensor | None = None, cameras: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Modalities and cameras `(B,)` are for side information; None if unknown."""
        whole = self.whole
        network: Any = whole.network
        side = whole.side_information
        offset = None if side is None else side(modalities, cameras)
        tokens, rotations = embedded_tokens(network, images, offset)
        blocks = list(network.blocks)
        tokens = through_blocks(network, blocks[:-1], tokens, rotations)
        maps = self.patch_map(
            tokens[:, self.prefix :], patch_grid(network.patch_embed, (int(images.shape[2]), int(images.shape[3])))
        )
        tokens = torch.cat([tokens[:, : self.prefix], maps.flatten(2).transpose(1, 2)], dim=1)
        seen = network.norm(through_blocks(network, blocks[-1:], tokens, rotations))
        features = [self._pooled(seen, whole.pooling)]
        if self.parts:
            for places in self._places(int(tokens.shape[1]) - self.prefix, images.device):
                part = torch.cat([tokens[:, : self.prefix], tokens[:, self.prefix + places]], dim=1)
                turned = None if rotations is None else rotations[..., places, :]
                local = self.norm(through_blocks(network, [self.block], part, turned))
                features.append(self._pooled(local, getattr(self, "pooling", None)))
        return tuple(features)

    def _places(self, patches: int, device: torch.device) -> tuple[Tensor, ...]:
        """The patches of each part; stored on the device, so that no step waits for a copy."""
        if torch.compiler.is_dynamo_compiling():  # the compiler cannot trace a dictionary as a cache
            return self._parted(patches, device)
        if (patches, device) not in self._kept:
            with torch.inference_mode(False):  # tensors created in that mode could not be used in training later
                self._kept[patches, device] = self._parted(patches, device)
        return self._kept[patches, device]

    def _parted(self, patches: int, device: torch.device) -> tuple[Tensor, ...]:
        self._refuse_few(patches)
        order = jigsaw_order(patches, shift=self.shift, groups=self.shuffle_groups, device=device)
        return order.tensor_split(self.parts)

    def _refuse_few(self, patches: int) -> None:
        """A part without patches would be the mean of nothing, or of the class token alone."""
        if patches < self.parts:
            raise CrossreidError(
                f"method.parts is {self.parts}, but the images have {patches} patch{'es' if patches != 1 else ''}, and each part "
                "needs one. Set fewer parts, or larger images (data.height, data.width)."
            )

    def _pooled(self, tokens: Tensor, pooling: GeneralisedMean | None) -> Tensor:
        """Pool `(B, P + N, width)` to `(B, width)` as the backbone's options say."""
        if self.whole.class_token:
            return tokens[:, 0]
        patches = tokens[:, self.prefix :]
        return patches.mean(1) if pooling is None else pooling(patches.transpose(1, 2).unsqueeze(-1))
