"""What follows a backbone: average pooling and BN neck, bottlenecks, classifiers of identities and modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from crossreid.models.backbone_options import BackboneOptions
from crossreid.models.backbones import Backbone
from crossreid.models.mixstyle import images_of
from crossreid.options import Options


class BottleneckOptions(Options):
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (1024, 512), description="Widths of the hidden layers, each followed by ReLU."
    )
    width: int = Field(256, ge=1, description="Width of the representation z.")
    batch_norm: bool = Field(False, description="Batch norm before each ReLU.")
    doubled: bool = Field(
        False, description="Make z twice as wide as `width`, as in the authors' release (512 for a `z_dim` of 256)."
    )
    initialisation: Literal["fan_in", "release"] = Field(
        "fan_in",
        description="`fan_in`: Kaiming normal by fan-in; `release`: by fan-out, with the scales of batch norm from "
        "N(1, 0.02).",
    )

    @property
    def out(self) -> int:
        return self.width * (2 if self.doubled else 1)


class MapHead(nn.Module):
    """Average pooling and BN neck after a backbone: maps `(B, width, h, w)` to the observation v `(B, width)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.neck = bn_neck(width)

    def pool(self, maps: Tensor) -> Tensor:
        """`(B, width, h, w)` to `(B, width)`, before the neck."""
        return maps.mean(dim=(2, 3))

    def forward(self, maps: Tensor) -> Tensor:
        return self.neck(self.pool(maps))


class Encoder(nn.Module):
    """A backbone, average pooling and the BN neck: `(B, 3, H, W)` to the observation v `(B, width)`."""

    def __init__(self, options: BackboneOptions) -> None:
        super().__init__()
        self.backbone = Backbone(options)
        self.width = self.backbone.width
        self.neck = bn_neck(self.width)

    def pool(self, images: Tensor, modalities: Tensor | None = None, cameras: Tensor | None = None) -> Tensor:
        """`(B, 3, H, W)` to the average-pooled feature map `(B, width)`, before the neck.

        Modalities and cameras `(B,)` are for a backbone with side information, modalities also for styles mixed across
        modalities; None if unknown.
        """
        given = () if self.backbone.side_information is None else (modalities, cameras)
        with images_of(modalities):
            return self.backbone(images, *given).mean(dim=(2, 3))

    def forward(self, images: Tensor, modalities: Tensor | None = None, cameras: Tensor | None = None) -> Tensor:
        return self.neck(self.pool(images, modalities, cameras))


def bn_neck(width: int) -> nn.BatchNorm1d:
    """Batch norm of `(B, width)` with its shift fixed at zero, so that the output is centred.

    Source: Luo et al., "Bag of tricks and a strong baseline for deep person re-identification", CVPRW 2019.
    """
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad_(False)
    return neck


class Bottleneck(nn.Sequential):
    """The information bottleneck B: observation v `(B, width)` to representation z `(B, options.out)`."""

    def __init__(self, width: int, options: BottleneckOptions) -> None:
        layers: list[nn.Module] = []
        for hidden in options.hidden:
            layers.append(nn.Linear(width, hidden))
            if options.batch_norm:
                layers.append(nn.BatchNorm1d(hidden))
            layers.append(nn.ReLU())
            width = hidden
        layers.append(nn.Linear(width, options.out))
        super().__init__(*layers)
        released = options.initialisation == "release"
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out" if released else "fan_in", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm1d) and released:
                nn.init.normal_(layer.weight, 1.0, 0.02)


class GaussianBottleneck(nn.Module):
    """The stochastic bottleneck of VIB: observation v `(B, width)` to a Gaussian with diagonal covariance.

    Source: Alemi et al., "Deep Variational Information Bottleneck", ICLR 2017, which also sets the deviation to
    softplus(a - 5): almost no noise at the start.
    """

    def __init__(self, width: int, options: BottleneckOptions) -> None:
        super().__init__()
        self.out = options.out
        self.layers = Bottleneck(width, options.model_copy(update={"width": 2 * options.width}))

    def forward(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation, each `(B, options.out)`, the deviation positive."""
        mean, raw = self.layers(v).split(self.out, dim=1)
        return mean, nn.functional.softplus(raw.float() - 5) + 1e-6


def linear_classifier(width: int, classes: int, *, bias: bool = False) -> nn.Linear:
    """`(B, width)` to logits `(B, classes)`, initialised near zero so that the first predictions are uniform."""
    layer = nn.Linear(width, classes, bias=bias)
    nn.init.normal_(layer.weight, std=0.001)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def hidden_classifier(width: int, classes: int, *, hidden: int | None = None, dropout: float = 0.5) -> nn.Sequential:
    """The release's classifier of z: a hidden layer, half as wide as z unless `hidden` says otherwise, before the
    logits.

    Batch norm, leaky ReLU and dropout follow the hidden layer; both linear layers have biases and are initialised near
    zero.
    """
    hidden = hidden or max(width // 2, 1)
    return nn.Sequential(
        linear_classifier(width, hidden, bias=True),
        nn.BatchNorm1d(hidden),
        nn.LeakyReLU(0.1),
        nn.Dropout(dropout),
        linear_classifier(hidden, classes, bias=True),
    )


def modality_classifier(width: int, hidden: int = 100, dropout: float = 0.5) -> nn.Sequential:
    """`(B, width)` to logits of the two modalities `(B, 2)`: two hidden layers with batch norm, ReLU and dropout.

    Source: the release of Ren and Zhang (IDKL), CVPR 2024, where the discriminator and the confuser have this form.
    """
    layers: list[nn.Module] = []
    for inner in (width, hidden):
        layers += [nn.Linear(inner, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(hidden, 2))


MetricFeatures = Literal["pooled", "unit", "neck"]


def metric_features(kind: MetricFeatures, pooled: Tensor, normed: Tensor) -> Tensor:
    """The features that a metric loss compares, `(B, width)`, given those before and after the neck.

    `pooled`: the former as they are; `unit`: the same, L2-normalised; `neck`: the latter, L2-normalised, as compared at
    test.
    """
    if kind == "pooled":
        return pooled
    return nn.functional.normalize((pooled if kind == "unit" else normed).float(), dim=1)


def concatenate_normalised(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate `(B, D_i)` into one L2-normalised `(B, sum D_i)` in float32."""
    return nn.functional.normalize(torch.cat([part.float() for part in parts], dim=1), dim=1)
