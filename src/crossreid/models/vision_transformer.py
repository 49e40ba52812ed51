"""A timm vision transformer in parts: its tokens before the first block, and its blocks.

timm's `forward_features` runs all of it at once. Side information is added between the two parts, and a
jigsaw of patches omits the last block; both use these functions, which are bit-identical to timm's if
nothing is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.models import checkpoint
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from crossreid.errors import CrossreidError


def refuse_other_than_transformers(network: nn.Module, name: str, key: str) -> None:
    """Raise `CrossreidError` if `key` of the backbone's options needs a vision transformer and `network` is not one."""
    mixed = bool(getattr(network, "rope_mixed", False))  # its rotations differ between blocks
    if not isinstance(network, VisionTransformer | Eva) or mixed:
        raise CrossreidError(
            f"{key} is for vision transformers of timm (ViT, DeiT, DINOv2, CLIP, EVA-02, DINOv3), and backbone {name!r} is none that "
            "can be taken apart. Leave it out, or choose one, for example vit_small_patch16_224."
        )


def embedded_tokens(network: nn.Module, images: Tensor, offset: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """Images `(B, 3, H, W)` to tokens `(B, P + N, W)` before the first block; P are class and register tokens.

    Args:
        offset: `(B, 1, W)`, added to every token after the positions.

    Returns:
        The tokens, and the rotations `(N, ...)` if positions are rotations (EVA-02); otherwise None.
    """
    found = network._pos_embed(network.patch_embed(images))  # type: ignore[operator]
    tokens, rotations = found if isinstance(found, tuple) else (found, None)
    if offset is not None:
        tokens = tokens + offset.to(tokens.dtype)
    if isinstance(network, VisionTransformer):  # an Eva has already dropped patches, if it drops any
        tokens = network.patch_drop(tokens)
    return network.norm_pre(tokens), rotations  # type: ignore[operator]


def through_blocks(network: nn.Module, blocks: Sequence[nn.Module], tokens: Tensor, rotations: Tensor | None) -> Tensor:
    """Pass tokens `(B, P + N, W)` through some of the blocks, recomputed in the backward pass if timm is set to."""
    given: dict[str, Any] = {} if rotations is None else {"rope": rotations}
    for block in blocks:
        recomputed = bool(getattr(network, "grad_checkpointing", False)) and torch.is_grad_enabled()
        tokens = checkpoint(block, tokens, **given) if recomputed else block(tokens, **given)
    return tokens


def tokens_of(network: nn.Module, images: Tensor, offset: Tensor | None = None) -> Tensor:
    """`network.forward_features(images)`, with `offset` `(B, 1, W)` added to the tokens before the first block."""
    tokens, rotations = embedded_tokens(network, images, offset)
    tokens = through_blocks(network, list(network.blocks), tokens, rotations)  # type: ignore[arg-type]
    return network.norm(tokens)  # type: ignore[operator]
