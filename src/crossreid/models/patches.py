"""Overlapping patches of a vision transformer: a stride smaller than their size.

Source: He et al., "TransReID", ICCV 2021, section 3.1: with stride S and patches of P pixels, an image of H x W has
floor((H + S - P) / S) x floor((W + S - P) / S) of them; their positions are interpolated.
"""

from __future__ import annotations

from typing import Any

from timm.layers import resample_abs_pos_embed
from torch import nn

from crossreid.errors import CrossreidError


def overlap_patches(network: nn.Module, name: str, stride: int) -> None:
    """Set the stride of `network`'s patches, in pixels, in place.

    A network that takes any image size resamples its grid of positions to the patches of an image, as it does for
    other sizes; one of a fixed size is given a grid for its new number of patches.

    Raises:
        CrossreidError: the network has no patches or no position embedding, or patches smaller than the stride.
    """
    embed: Any = getattr(network, "patch_embed", None)
    convolution = getattr(embed, "proj", None)
    if not isinstance(convolution, nn.Conv2d) or not hasattr(network, "pos_embed") or not hasattr(network, "blocks"):
        raise CrossreidError(
            f"method.backbone.transformer.patch_stride is {stride}, but backbone {name!r} is no vision transformer with one grid of "
            "patches. Set it to null, or choose one, for example vit_small_patch16_224."
        )
    size = convolution.kernel_size
    if stride > min(size):  # pixels would be skipped
        raise CrossreidError(
            f"method.backbone.transformer.patch_stride is {stride}, but the patches of backbone {name!r} are "
            f"{size[0]} x {size[1]} pixels; expected at most {min(size)}."
        )
    convolution.stride = (stride, stride)
    if getattr(network, "dynamic_img_size", False):
        return
    old = embed.grid_size
    new = tuple((side - patch) // stride + 1 for side, patch in zip(embed.img_size, size, strict=True))
    if network.pos_embed is not None:
        prefix = 0 if network.no_embed_class else network.num_prefix_tokens
        grid = resample_abs_pos_embed(network.pos_embed.data, new, old, num_prefix_tokens=prefix)
        network.pos_embed = nn.Parameter(grid)
    embed.grid_size, embed.num_patches = new, new[0] * new[1]
    rope: Any = getattr(network, "rope", None)
    if rope is not None and hasattr(rope, "update_feat_shape"):
        rope.update_feat_shape(list(new))
