"""The weights of an encoder, cut into stems and streams or not, under the names of a whole backbone, and back.

A network can thus take another one's weights: a two-stream network those of a whole encoder, or vice versa.
Tables whose size depends on the image, a transformer's positions and its windows' tables, are resampled.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal

from timm.layers import resize_rel_pos_bias_table
from torch import Tensor, nn

from crossreid.models.position_tables import Grid, grid_of, on_grid

ADAPTED = ".base_layer."  # peft's name for a layer with an adapter
Origin = Literal["shared", "visible", "infrared"]
# For a network in streams: the copies of a stage that belong to another origin.
_OTHERS: dict[str, tuple[str, ...]] = {
    "shared": ("infrared_stem.", "streams.1."),
    "visible": ("infrared_stem.", "streams.0."),
    "infrared": ("visible_stem.", "streams.0."),
}
_COPIES = (("infrared_stem.", "visible_stem."), ("streams.1.", "streams.0."))


def keys_in_whole(parts: nn.Module, whole: nn.Module) -> dict[str, str]:
    """The name in `whole` of each tensor of a network cut out of it, including copies of stages."""
    names = {id(tensor): name for name, tensor in _tensors(whole)}
    own = dict(_tensors(parts))
    found: dict[str, str] = {}
    for name in parts.state_dict():
        first = next((stem + name.removeprefix(copy) for copy, stem in _COPIES if name.startswith(copy)), name)
        if id(own[first]) in names:
            found[name] = names[id(own[first])]
    return found


def whole_keys(encoder: nn.Module) -> dict[str, str]:
    """The name of each tensor of an encoder in a whole backbone without adapters."""
    names: Mapping[str, str] = {name: name for name in encoder.state_dict()}
    if is_cut(encoder):
        # Since then, batch norms may have been replaced by ones per domain, which count no batches, or adapters merged.
        kept: Any = encoder.keys_in_whole
        now = ((name if name in names else name.replace(ADAPTED, "."), whole) for name, whole in kept.items())
        names = {name: whole for name, whole in now if name in names}
    return {name: whole.replace(ADAPTED, ".") for name, whole in names.items()}


def as_whole(encoder: nn.Module, origin: Origin) -> dict[str, Tensor]:
    """An encoder's weights under their names in a whole backbone.

    Args:
        origin: which copy to take of stages that exist more than once: the shared stream after the visible stem, or a
            modality's stem and the specific stream.
    """
    keys, state = whole_keys(encoder), encoder.state_dict()
    specific = any(name.startswith("streams.1.") for name in keys)
    others = tuple(part for part in _OTHERS[origin] if specific or part != "streams.0.")
    return {whole: state[name] for name, whole in keys.items() if not (is_cut(encoder) and name.startswith(others))}


def is_cut(encoder: nn.Module) -> bool:
    """Whether it was cut at its stages."""
    return hasattr(encoder, "keys_in_whole")


def resampled_to(
    given: Mapping[str, Tensor], source: nn.Module, encoder: nn.Module
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of `source` under the names of `encoder`, for the size it was built for; and which were resampled."""
    own, old, new = encoder.state_dict(), _grid(source), _grid(encoder)
    result, changed = dict(given), []
    for name, tensor in given.items():
        expected = own[name]
        if name.endswith("pos_embed") and old is not None and new is not None and old != new:
            if not _are_positions(tensor, expected, old, new):
                continue
            result[name] = on_grid(tensor, old, new, prefix=expected.shape[1] - new[0] * new[1])
        elif name.endswith("relative_position_bias_table") and tensor.shape != expected.shape:
            module: Any = encoder.get_submodule(name.rpartition(".")[0])
            shape = (int(expected.shape[0]), int(expected.shape[1]))
            result[name] = resize_rel_pos_bias_table(tensor, new_window_size=module.window_size, new_bias_shape=shape)
        else:
            continue
        changed.append(name)
    return result, changed


def _are_positions(table: Tensor, expected: Tensor, old: Grid, new: Grid) -> bool:
    """Whether both are positions `(1, prefix + h w, D)` of these grids, with equally many tokens before the patches."""
    if table.ndim != 3 or expected.ndim != 3 or table.shape[2] != expected.shape[2]:
        return False
    prefix = expected.shape[1] - new[0] * new[1]
    return prefix >= 0 and table.shape[1] - old[0] * old[1] == prefix


def _grid(encoder: nn.Module) -> Grid | None:
    """The grid of the first network in an encoder that has positions, a whole one or a stem; None if there is none."""
    return next((grid for module in encoder.modules() if (grid := grid_of(module)) is not None), None)


def _tensors(module: nn.Module) -> itertools.chain[tuple[str, Tensor]]:
    return itertools.chain(
        module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    )
