"""MixStyle: in training, mix the style of an image's maps with that of another image of the batch.

Source: Zhou et al., "Domain generalization with MixStyle", ICLR 2021, equations 4 to 6. Style is the mean and the
deviation of each channel of a map. With `across` the other image has the other modality: the paper's mixing of
two domains, with visible and infrared images as domains. Draws come from torch's global generator, as for dropout:
they are determined by a run's seed, restored by checkpoints, and independent of the number of loader processes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.said import Said
from crossreid.models.stages import feature_rows, has_blocks, stage_paths
from crossreid.models.tokens import forward_small
from crossreid.options import Options

_MODALITIES: Said[Tensor] = Said("modalities of the images in the encoder")


class MixStyleOptions(Options):
    stages: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (),
        description="Stages after which styles are mixed, 0 for the stem. The paper uses [1, 2] or [1, 2, 3].",
    )
    probability: float = Field(0.5, ge=0, le=1, description="Probability that a stage mixes the styles of a batch.")
    alpha: float = Field(
        0.1,
        gt=0,
        description="alpha of the distribution Beta(alpha, alpha) from which the mixing coefficients are drawn.",
    )
    across: bool = Field(
        False,
        description="Mix with the style of an image of the other modality, instead of any image of the batch.",
    )


def mix_styles(maps: Tensor, partners: Tensor, shares: Tensor, *, axes: tuple[int, ...] = (2, 3)) -> Tensor:
    """Return maps whose style is a mixture: `shares` `(B,)` of their own, the rest from the maps at `partners` `(B,)`.

    The styles are constants to the gradient. Computed in float32.

    Args:
        axes: those of height and width.
    """
    with torch.autocast(maps.device.type, enabled=False):
        wide = maps.to(torch.promote_types(maps.dtype, torch.float32))
        mean = wide.mean(axes, keepdim=True).detach()
        deviation = (wide.var(axes, correction=0, keepdim=True).detach() + 1e-6).sqrt()
        share = shares.to(wide.dtype).view(-1, *[1] * (maps.ndim - 1))
        mixed_mean, mixed_deviation = (share * own + (1 - share) * own[partners] for own in (mean, deviation))
        return ((wide - mean) / deviation * mixed_deviation + mixed_mean).to(maps.dtype)


def draw_partners(count: int, modalities: Tensor | None, device: torch.device) -> Tensor:
    """For each of `count` images another one: a permutation `(count,)`, or with modalities `(count,)` one of the other.

    An image is its own partner if there is none of the other modality.
    """
    if modalities is None:
        return torch.randperm(count, device=device)
    order = torch.rand(count, count, device=device)
    foreign = modalities[:, None] != modalities[None, :]
    own = torch.arange(count, device=device)
    return torch.where(foreign.any(1), order.masked_fill(~foreign, -1.0).argmax(1), own)


def put_mixstyle_after_stages(network: nn.Module, name: str, options: MixStyleOptions) -> None:
    """Make the stages that `options` name mix the styles of their output maps in training, in place; no key changes.

    Raises:
        CrossreidError: the network has no such stage, or the stage does not return maps.
    """
    rows = stage_paths(network, name)
    channels = {row["module"]: row["num_chs"] for row in feature_rows(network)}
    tokens = has_blocks(network)  # tokens are not maps, whatever the stage
    for index in options.stages:
        if index >= len(rows) and not tokens:
            raise CrossreidError(
                f"method.backbone.mixstyle.stages names stage {index}, but backbone {name!r} has stages 0 to {len(rows) - 1}."
            )
        stage = network if tokens else network.get_submodule(rows[index])
        axes = None if tokens else _axes(network, stage, channels[rows[index]])
        if axes is None:
            raise CrossreidError(
                f"backbone {name!r}: its stage {index} does not hand on maps of channels, whose style could be mixed. "
                "Leave out `method.backbone.mixstyle`, or choose a convolutional network."
            )
        # Plain attributes, so that a copy of the stage has its own; the hook has no state.
        stage.mixstyle, stage.mixstyle_axes = options, axes  # type: ignore[assignment]
        stage.register_forward_hook(_mix)


@contextlib.contextmanager
def images_of(modalities: Tensor | None) -> Iterator[None]:
    """Within the block, images passed to encoders are of these modalities `(B,)`."""
    with _MODALITIES.saying(modalities):
        yield


def _mix(stage: nn.Module, _inputs: Any, output: Tensor) -> Tensor | None:
    options: Any = stage.mixstyle
    if not stage.training:
        return None
    modalities = _MODALITIES.get() if options.across else None
    if options.across and (modalities is None or len(modalities) != len(output)):
        raise CrossreidError(
            "method.backbone.mixstyle.across: this method gives the encoder no modalities at this stage. Choose across=false, "
            "baseline or agw, or stages behind those that each modality has for itself."
        )
    count, device = len(output), output.device
    partners = draw_partners(count, modalities, device)
    # Not validated, because validation would wait for the device; the options have been.
    alpha = torch.full((), options.alpha, device=device)
    shares = torch.distributions.Beta(alpha, alpha, validate_args=False).sample((count,))
    shares = torch.where(torch.rand((), device=device) < options.probability, shares, 1.0)
    axes: Any = stage.mixstyle_axes
    return mix_styles(output, partners, shares, axes=axes)


@torch.no_grad()
def _axes(network: nn.Module, stage: nn.Module, channels: int) -> tuple[int, int] | None:
    """The axes of height and width in what `stage` returns for a small image; None if that is not a map."""
    found: list[Any] = []
    hook = stage.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    try:
        forward_small(network)
    finally:
        hook.remove()
    maps = found[-1] if found else None
    if not isinstance(maps, Tensor) or maps.ndim != 4:
        return None
    if maps.shape[1] == channels:
        return 2, 3
    return (1, 2) if maps.shape[3] == channels else None
