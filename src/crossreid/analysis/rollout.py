"""Where a transformer looks: attention rollout, the attention of all blocks traced back to the patches.

Source: Abnar and Zuidema, "Quantifying attention flow in transformers", ACL 2020. With A_l the attention of block l,
averaged over its heads, and the residual connection counted as a half, `R_l = (A_l / 2 + I / 2) R_(l-1)`, `R_0 = I`. A
row of R says how much each input token contributes to an output token. The map is the mean over the patches of the rows
of the tokens that form the embedding: the patches, or the class token if only that is used.

It depends only on the image: unlike Grad-CAM, it does not depend on what the embedding is compared with. It needs
blocks that attend to the whole image, as in ViT, DeiT, DINOv2, EVA and BEiT. Swin's attend within shifted windows, and
have no rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from crossreid.analysis.grad_cam import Attention, grad_cam
from crossreid.data.records import DataError
from crossreid.methods.method import Encoding, Network
from crossreid.models.backbones import Backbone
from crossreid.models.jigsaw import JigsawBackbone
from crossreid.models.stages import has_blocks
from crossreid.models.tokens import patch_grid, prefix_tokens
from crossreid.models.two_stream import TwoStream

MapKind = Literal["grad-cam", "rollout"]
MAP_KINDS: tuple[MapKind, ...] = get_args(MapKind)


def map_kinds(named: str) -> tuple[MapKind, ...]:
    """Return the kinds that `grad-cam`, `rollout` or `both` mean. Raises `DataError` for any other word."""
    if named == "both":
        return MAP_KINDS
    for kind in MAP_KINDS:
        if named == kind:
            return (kind,)
    raise DataError(f"maps {named!r}: expected {', '.join(MAP_KINDS)} or both.")


def attention_maps(
    method: Network, image: Tensor, modality: int, direction: np.ndarray, kind: MapKind = "grad-cam"
) -> list[Attention]:
    """Return the maps of one image `(3, H, W)` of that kind; Grad-CAM if there is no rollout. Each states its kind.

    Args:
        direction: `(D,)`, what the image's embedding is compared with.

    Raises:
        DataError: an encoder returns tokens that form no grid.
    """
    if kind == "rollout" and has_rollout(method):
        return rollout(method, image, modality, direction)
    return grad_cam(method, image, modality, direction)


def has_rollout(method: Network) -> bool:
    """Return whether rollout is defined: every encoder is a transformer whose blocks attend to the whole image."""
    encoders = list(method.encoders)
    return bool(encoders) and all(_attends_to_all(encoder) for encoder in encoders)


def rollout(method: Network, image: Tensor, modality: int, direction: np.ndarray) -> list[Attention]:
    """Return the attention rollout of one image `(3, H, W)` for each encoder that it passes, in the order of
    `method.map_layers`.

    An encoder that sees the image twice (in colour and in grey) is explained for the second time. The method's mode is
    restored.

    Raises:
        DataError: an encoder's blocks do not attend to the whole image.
    """
    if not has_rollout(method):
        raise DataError(
            "attention rollout needs transformers whose blocks attend to the whole image, like ViT's; this network has "
            "convolutions, or attention within windows. Use grad-cam."
        )
    device = next(method.parameters()).device
    names = {module: name for name, module in method.named_modules()}
    size = (int(image.shape[1]), int(image.shape[2]))
    passed: set[nn.Module] = set()
    training = method.training
    method.eval()
    try:
        look = _watched(method.map_layers, lambda layer, _given, _output: passed.add(layer))
        with torch.no_grad(), look, _attention(method) as attended:
            images = image[None].to(device, torch.float32)
            features = method.features(images, torch.full((1,), modality, dtype=torch.long, device=device))[0]
    finally:
        method.train(training)
    towards = torch.nn.functional.normalize(torch.tensor(direction, dtype=torch.float32, device=device), dim=0)
    similarity = float(features @ towards / features.norm())
    found = []
    for chain in _chains(method, attended):
        if chain.layer in passed:
            name = names[chain.layer]
            heat = _heat(chain, [attended[module] for module in chain.modules], patch_grid(chain.embedding, size), name)
            found.append(Attention(name, heat, similarity, "rollout"))
    return found


def rolled_out(attention: Sequence[Tensor]) -> Tensor:
    """Return R `(N, N)` from the attention `(heads, N, N)` of each block, first block first."""
    total = torch.eye(attention[0].shape[-1], dtype=torch.float64)
    for block in attention:
        mean = block.double().mean(0).cpu()
        total = (mean + torch.eye(len(mean), dtype=torch.float64)) / 2 @ total
    return total


class _Chain(NamedTuple):
    """The attention modules of an encoder or a stream, in order; what they belong to, and what forms the embedding."""

    layer: nn.Module  # the layer of the map
    modules: list[nn.Module]
    embedding: Any  # for the patches
    prefix: int  # tokens that are not patches
    of_class: bool  # whether the class token is the embedding


def _heat(chain: _Chain, attention: Sequence[Tensor], grid: tuple[int, int] | None, name: str) -> np.ndarray:
    prefix = chain.prefix
    tokens = attention[0].shape[-1] if attention else 0
    if (
        grid is None
        or grid[0] * grid[1] != tokens - prefix
        or any(block.shape[-2:] != (tokens, tokens) for block in attention)
    ):
        raise DataError(
            f"{name}: its blocks do not attend to the same tokens on one grid, so there is no rollout. Use grad-cam."
        )
    total = rolled_out(attention)
    rows = total[:1] if chain.of_class else total[prefix:]
    heat: np.ndarray = rows[:, prefix:].mean(0).reshape(grid).float().numpy()
    return heat


def _chains(method: Network, attended: dict[nn.Module, Tensor]) -> Iterator[_Chain]:
    for encoder in method.encoders:
        if isinstance(encoder, TwoStream):
            streams = list(encoder.streams)
            for layer in encoder.map_layers:
                others = {m for stream in streams if layer not in set(stream.modules()) for m in stream.modules()}
                inside = set(encoder.modules()) - others
                own = [module for module in attended if module in inside]
                assert encoder.inputs is not None
                yield _Chain(layer, own, encoder.inputs.embedding, encoder.prefix, of_class=False)
            continue
        whole, layer = _whole(encoder), encoder.patch_map if isinstance(encoder, JigsawBackbone) else encoder
        network = whole.network
        inside = set(network.modules())
        own = [module for module in attended if module in inside]
        embedding = getattr(network, "patch_embed", None)
        yield _Chain(layer, own, embedding, prefix_tokens(network), of_class=whole.class_token)


def _whole(encoder: Backbone | JigsawBackbone) -> Backbone:
    """Return the backbone itself; for a jigsaw of patches, the one whose last block sees all of them."""
    return encoder.whole if isinstance(encoder, JigsawBackbone) else encoder


def _attends_to_all(encoder: Encoding) -> bool:
    blocks = encoder.blocks if isinstance(encoder, TwoStream) else _blocks(_whole(encoder).network)
    return bool(blocks) and all(len(_attending(block)) == 1 for block in blocks)


def _blocks(network: nn.Module) -> list[nn.Module]:
    return list(network.blocks) if has_blocks(network) else []  # type: ignore[arg-type]


def _attending(block: nn.Module) -> list[nn.Module]:
    """Return the modules of a block that compute attention in either of timm's two ways, fused or step by step."""
    return [
        module
        for module in block.modules()
        if hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module)
    ]


@contextmanager
def _attention(method: Network) -> Iterator[dict[nn.Module, Tensor]]:
    """Compute attention step by step in the block; each module's last `(heads, N, N)` is stored, in order of calls."""
    attended: dict[nn.Module, Tensor] = {}
    modules = [module for encoder in method.encoders for module in _attending(encoder)]
    owners = {module.attn_drop: module for module in modules}  # type: ignore[misc]
    fused = [(module, module.fused_attn) for module in modules]

    def keep(dropout: nn.Module, given: Any, _output: Tensor) -> None:
        owner = owners[dropout]
        attended.pop(owner, None)
        attended[owner] = given[0][0].detach()

    try:
        for module in modules:
            module.fused_attn = False  # type: ignore[assignment]
        with _watched(list(owners), keep):  # type: ignore[arg-type]
            yield attended
    finally:
        for module, was in fused:
            module.fused_attn = was


@contextmanager
def _watched(modules: Sequence[nn.Module], look: Callable[..., Any]) -> Iterator[None]:
    def only_look(module: nn.Module, given: Any, output: Tensor) -> None:
        look(module, given, output)

    hooks = [module.register_forward_hook(only_look) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
