"""A transformer cut between its blocks: a stem, then each block, with the inputs that depend on the grid of patches.

Stage 0 is the stem: patch embedding, positions, class and register tokens. Each block is a stage after it, and the last
one includes the norm after the blocks. The blocks' inputs besides the tokens (rotary positions, a shared relative
position bias) are the same for all copies of a stage and are computed once per batch, by `BlockInputs`.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from timm.models import checkpoint
from torch import Tensor, nn

from crossreid.models.stages import AFTER_BLOCKS
from crossreid.models.tokens import Size, patch_grid, patches_as_map, prefix_tokens

# Modules that compute positions once for all blocks, and the blocks' argument that takes their output.
_SHARED_BIASES = {"rel_pos_bias": "shared_rel_pos_bias", "shared_rel_pos": "shared_rel_pos"}


class Given(NamedTuple):
    """For a batch: the grid of patches, and each block's inputs besides the tokens, by its position."""

    grid: Size | None
    blocks: list[dict[str, Tensor]]


class BlockInputs(nn.Module):
    """The inputs of `network`'s blocks besides tokens, for images of a size."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.depth = len(network.blocks)  # type: ignore[arg-type]
        self.rope: Any = getattr(network, "rope", None)
        self.mixed = bool(getattr(network, "rope_mixed", False))
        self.dynamic = bool(getattr(network, "dynamic_img_size", False))
        self.bias: Any = None
        self.bias_name = ""
        for own, name in _SHARED_BIASES.items():
            if isinstance(module := getattr(network, own, None), nn.Module):
                self.bias, self.bias_name = module, name
        # In a tuple, so that it is not a submodule: the stem has it. Only the geometry of its convolution is read.
        self._embedding = (getattr(network, "patch_embed", None),)

    @property
    def embedding(self) -> Any:
        """The network's patch embedding."""
        return self._embedding[0]

    def forward(self, size: Size) -> Given:
        grid = patch_grid(self.embedding, size)
        blocks: list[dict[str, Tensor]] = [{} for _ in range(self.depth)]
        if self.rope is not None:
            made_for_one_size = not self.dynamic and hasattr(self.rope, "feat_shape")
            turns = self.rope.get_embed() if made_for_one_size else self.rope.get_embed(shape=grid)
            for position, given in enumerate(blocks):
                given["rope"] = turns[position] if self.mixed else turns
        if self.bias is not None:
            bias = self.bias.get_bias() if hasattr(self.bias, "get_bias") else self.bias()
            for given in blocks:
                given[self.bias_name] = bias
        return Given(grid, blocks)


class TokenStem(nn.Module):
    """Images `(B, 3, H, W)` to tokens `(B, tokens, width)`, as `network` makes them before its first block."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        stem = copy.copy(network)
        stem._modules, stem._parameters = dict(network._modules), dict(network._parameters)
        stem.blocks = nn.Sequential()
        for name in AFTER_BLOCKS:
            if isinstance(getattr(stem, name, None), nn.Module):
                setattr(stem, name, nn.Identity())
        for name in ("rope", *_SHARED_BIASES):
            if name in stem._modules:
                stem._modules[name] = None
        self.network = stem

    def forward(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        return tokens


class TokenStage(nn.Module):
    """A block: tokens to tokens; the last one, with the norm behind it, tokens to a map `(B, width, h, w)`."""

    def __init__(self, position: int, block: nn.Module, norm: nn.Module | None, prefix: int) -> None:
        super().__init__()
        self.position, self.prefix = position, prefix
        self.block, self.norm = block, norm
        self.grad_checkpointing = False  # as timm's own stages have it

    def forward(self, tokens: Tensor, given: Given) -> Tensor:
        beside: dict[str, Any] = given.blocks[self.position]  # the block's inputs besides its tokens
        recomputed = self.grad_checkpointing and torch.is_grad_enabled()
        tokens = checkpoint(self.block, tokens, **beside) if recomputed else self.block(tokens, **beside)
        return tokens if self.norm is None else patches_as_map(self.norm(tokens), self.prefix, given.grid)


def token_stages(network: nn.Module) -> tuple[list[nn.Module], BlockInputs]:
    """The stem and the blocks of a network that `has_blocks`, in order, and the module for their additional inputs."""
    norm = getattr(network, "norm", None)
    last = norm if isinstance(norm, nn.Module) else nn.Identity()
    blocks = list(network.blocks)  # type: ignore[arg-type]
    stages = [
        TokenStage(i, block, last if i == len(blocks) - 1 else None, prefix_tokens(network))
        for i, block in enumerate(blocks)
    ]
    return [TokenStem(network), *stages], BlockInputs(network)
