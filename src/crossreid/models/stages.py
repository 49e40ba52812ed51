"""The stages of a backbone by the paths of their modules, as named by its `feature_info`, stem first.

Cuts, freezing and rates use the same numbers: stage 0 is the stem. For a transformer whose blocks all see the
same tokens, such as a ViT, the stem is what comes before the blocks, and each block is a stage after it. For any other
network stage 0 is what its `feature_info` names first: a ResNet's stem; for Swin, ConvNeXt and PVT, which do not name
their stem, the stem and the first stage.
"""

from __future__ import annotations

from typing import Any

from timm.models import group_parameters
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.tokens import forward_small

# Modules that follow a transformer's blocks, or are only used with a classifier.
AFTER_BLOCKS = ("norm", "fc_norm", "head", "head_dist", "head_drop", "attn_pool")


def has_blocks(network: nn.Module) -> bool:
    """Whether the network names its blocks, one after another, as its stages: `blocks.0`, `blocks.1` and so on."""
    rows = [row["module"] for row in feature_rows(network)]
    blocks = getattr(network, "blocks", None)
    named = isinstance(blocks, nn.Sequential | nn.ModuleList) and hasattr(network, "patch_embed")
    return named and bool(rows) and rows == [f"blocks.{i}" for i in range(len(blocks))]  # type: ignore[arg-type]


def stage_paths(network: nn.Module, name: str) -> list[str]:
    """Paths of the modules that end the network's stages, stem first.

    Raises:
        CrossreidError: the network does not name its stages.
    """
    rows = feature_rows(network)
    if not rows:
        raise CrossreidError(
            f"backbone {name!r} does not name its stages. Choose a model with `feature_info`, or turn off what changes stages, "
            "last_stride_one among them."
        )
    return [row["module"] for row in rows]


def feature_rows(network: nn.Module) -> list[dict[str, Any]]:
    """The network's rows on its stages, one each: `module` (path), `num_chs`, `reduction`; none if it has none."""
    info: Any = getattr(network, "feature_info", None) or []
    return info if isinstance(info, list) else info.info


def last_stage_paths(network: nn.Module, name: str) -> list[str]:
    """Paths of the modules after the second-to-last stage."""
    rows = stage_paths(network, name)
    previous = rows[-2] if len(rows) > 1 else ""
    paths = [path for path, _ in network.named_modules()]
    earlier = (i for i, path in enumerate(paths) if path == previous or path.startswith(f"{previous}."))
    return paths[max(earlier, default=len(paths)) + 1 :]


def leading_modules(network: nn.Module, count: int) -> list[nn.Module]:
    """The modules of the network's first `count` stages, stem first: each by itself, without its submodules.

    Parameters of the network itself, such as a transformer's positions, belong to its stem. What follows the last stage
    belongs to it.

    Raises:
        CrossreidError: the network does not name its stages, or has fewer.
    """
    ends = [row["module"] for row in feature_rows(network)]
    blocks = has_blocks(network)
    refuse_more_stages(count, len(ends) + blocks)
    if count == 0:
        return []
    modules = list(network.named_modules())
    if count == len(ends) + blocks:
        return [module for _, module in modules]
    if blocks:
        later = ("blocks", *AFTER_BLOCKS)
        stem = [module for path, module in modules if path.partition(".")[0] not in later]
        return stem + [module for block in list(network.blocks)[: count - 1] for module in block.modules()]  # type: ignore[arg-type]
    end = ends[count - 1]
    last = max(i for i, (path, _) in enumerate(modules) if path == end or path.startswith(f"{end}."))
    return [module for _, module in modules[: last + 1]]


def layers_behind(network: nn.Module) -> dict[str, int]:
    """The number of layers, as numbered by timm, that come after that of each parameter, by its name.

    Empty if the network does not number them.
    """
    if not hasattr(network, "group_matcher"):
        return {}
    numbers: dict[str, int] = group_parameters(network, network.group_matcher(coarse=False), reverse=True)  # type: ignore[operator]
    last = max(numbers.values(), default=0)
    return {name: last - number for name, number in numbers.items()}


def refuse_more_stages(count: int, stages: int) -> None:
    """Raise `CrossreidError` if `count` stages of an encoder are requested that has fewer, or names none."""
    if count > stages:
        found = f"has {stages} stages, its stem among them" if stages else "does not name its stages"
        raise CrossreidError(
            f"{count} stages are asked for, but the encoder {found}. Name a stage before, or `backbone` for whole encoders."
        )


def build_for(network: nn.Module, size: tuple[int, int]) -> None:
    """Record on a network the single image size `(height, width)` that it is built for."""
    network.built_for = size  # type: ignore[assignment]


def map_size(network: nn.Module) -> tuple[int, int] | None:
    """Height and width of the map `(1, width, h, w)` of a small square image; None if it returns no such map."""
    shown = forward_small(network)
    if shown is None:
        return None
    _, maps = shown
    if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[1] != network.num_features:
        return None
    return int(maps.shape[2]), int(maps.shape[3])
