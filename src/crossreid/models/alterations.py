"""In-place changes to a backbone, for any network that names its stages.

The re-ID habit of keeping the last stage at the resolution of the one before (last stride 1; Luo et al., "Bag of
tricks", CVPRW 2019) is applied to whichever layers the last stage strides with, not to the attribute names of one
architecture.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from timm.layers import BlurPool2d
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.attention import BottleneckAttention, NonLocal
from crossreid.models.channel_affinity import put_affinity_after
from crossreid.models.product_attention import ProductAttention
from crossreid.models.stages import feature_rows, last_stage_paths, map_size, stage_paths
from crossreid.models.tokens import forward_small

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.PReLU)

_TAKEN_OUT: set[tuple[type, str, object]] = set()  # printed forms of timm networks whose stride was removed before


def stride_one(network: nn.Module, name: str) -> None:
    """Give every strided layer after the second-to-last stage a stride of one, in place.

    Two small images verify the result, unless an identically built timm network has been verified before: the branches
    of a method are often identical, and so are the runs that a process opens.

    Raises:
        CrossreidError: the change does not double the height and the width of the network's feature map.
    """
    of_timm = type(network).__module__.startswith("timm.")  # other networks may not print all they are built of
    alike = (type(network), repr(network), getattr(network, "built_for", None)) if of_timm else None
    known = alike in _TAKEN_OUT
    before = None if known else map_size(network)
    for path in last_stage_paths(network, name):
        layer = network.get_submodule(path)
        if getattr(layer, "stride", 1) in (1, (1, 1)):
            continue
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
            if layer.kernel_size[0] % 2 == 0:  # an even kernel would now make the map a row and a column smaller
                layer.padding = "same"
        elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d | BlurPool2d):
            parent, _, key = path.rpartition(".")
            setattr(network.get_submodule(parent), key, nn.Identity())
    if known:
        return
    with warnings.catch_warnings():
        # Torch warns once per process about the cost of that padding, which is intended.
        warnings.filterwarnings("ignore", message="Using padding='same' with even kernel")
        after = map_size(network)
    if before is None or after != (2 * before[0], 2 * before[1]):
        raise CrossreidError(
            f"backbone {name!r}: the stride of its last stage cannot be taken out. "
            "Set `method.backbone.last_stride_one=false` for it."
        )
    if alike is not None:
        _TAKEN_OUT.add(alike)


def take_last_activation(network: nn.Module, name: str, *, whole_block: bool = False) -> None:
    """Replace the activation that the feature map comes out of by the identity, in place.

    Args:
        whole_block: also replace every other activation of the module that contains it, in a ResNet the last block. If
            one module serves all positions of a block, as in torchvision, they can only be removed together.

    Raises:
        CrossreidError: the map does not come out of an activation, or that activation is also used elsewhere.
    """
    calls: list[tuple[str, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: calls.append((path, output)))
        for path, module in network.named_modules()
        if isinstance(module, ACTIVATIONS)
    ]
    try:
        shown = forward_small(network)
    finally:
        for hook in hooks:
            hook.remove()
    path = calls[-1][0] if calls else ""
    shared = sum(other == path for other, _ in calls) > 1 and not whole_block
    if shown is None or not calls or calls[-1][1] is not shown[1] or shared:
        raise CrossreidError(
            f"backbone {name!r}: its feature map does not come out of an activation. "
            "Set `method.backbone.last_activation=true` for it."
        )
    parent, _, key = path.rpartition(".")
    block = network.get_submodule(parent)
    taken = [key]
    if whole_block and parent:
        taken = [inner for inner, module in block.named_modules() if isinstance(module, ACTIVATIONS)]
    for inner in taken:
        owner, _, key = inner.rpartition(".")
        setattr(block.get_submodule(owner), key, nn.Identity())


def put_bam_after_stages(network: nn.Module, name: str, *, product: bool = False) -> None:
    """Add a `BottleneckAttention`, or with `product` a `ProductAttention`, at the end of stages 1 to 3, in place.

    Raises:
        CrossreidError: the network's stages are not sequences of blocks.
    """
    rows = stage_paths(network, name)
    channels = {row["module"]: row["num_chs"] for row in feature_rows(network)}
    for row in rows[-4:-1]:
        stage = network.get_submodule(row)
        if not isinstance(stage, nn.Sequential):
            raise CrossreidError(
                f"backbone {name!r}: its stage {row} is no sequence of blocks that attention can follow. "
                "Set `method.backbone.attention=none` for it, or choose a ResNet."
            )
        stage.add_module("bam", (ProductAttention if product else BottleneckAttention)(channels[row]))


def put_non_local_after_blocks(
    network: nn.Module, name: str, counts: Sequence[int], *, width: int | None = None
) -> None:
    """Add a `NonLocal` after each of the last `counts[i]` blocks of stage i of the last `len(counts)` stages, in place.

    Args:
        width: channels inside each of them; by default half of those outside.

    Raises:
        CrossreidError: the network has fewer stages, or one of them is not a sequence of that many blocks.
    """
    rows = stage_paths(network, name)
    channels = {row["module"]: row["num_chs"] for row in feature_rows(network)}
    if len(counts) > len(rows):
        raise CrossreidError(
            f"method.backbone.non_local has {len(counts)} numbers, backbone {name!r} {len(rows)} stages."
        )
    for path, count in zip(rows[-len(counts) :], counts, strict=True):
        stage = network.get_submodule(path)
        blocks = list(stage.named_children()) if isinstance(stage, nn.Sequential) else []
        if count > len(blocks):
            raise CrossreidError(
                f"method.backbone.non_local asks for {count} blocks of stage {path} of backbone {name!r}, "
                f"which is a sequence of {len(blocks)}. Ask for fewer."
            )
        for key, _ in blocks:
            delattr(stage, key)
        for place, (key, block) in enumerate(blocks):
            stage.add_module(key, block)
            if place >= len(blocks) - count:
                stage.add_module(f"non_local_{key}", NonLocal(channels[path], width=width))


def put_attention_before_stages(network: nn.Module, name: str) -> None:
    """Apply `channel_affinity` to the input of stages 2 to 4, the last three, with a learned gain each, in place.

    Raises:
        CrossreidError: the network's stages do not return maps `(B, C, H, W)`.
    """
    modules = dict(network.named_modules())
    sources = [row for row in stage_paths(network, name)[-4:-1] if row in modules]
    convolutional = map_size(network) is not None
    for source in sources:
        put_affinity_after(modules[source])
    if not sources or not convolutional or map_size(network) is None:
        raise CrossreidError(
            f"backbone {name!r} has no stages that hand on maps of channels. "
            "Set `method.backbone.stage_attention=false` for it, or choose a convolutional network."
        )
