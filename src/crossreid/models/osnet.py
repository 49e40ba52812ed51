"""OSNet: omni-scale features from streams of different depth, weighted by one gate; and OSNet-AIN, with instance norm.

Sources: Zhou et al., "Omni-scale feature learning for person re-identification", ICCV 2019, section 3 and table 1; Zhou
et al., "Learning generalisable omni-scale representations for person re-identification", TPAMI 2021, whose search
places instance normalisation inside the residual branch of four of the six blocks (figure 5), and in the first layer.

Module names are those of torchreid, so that its files load; the fully connected layer after the pooling, of 512, is
left out: what follows the maps is up to the method. The maps are already a sixteenth of the image size: the last stage
has no stride.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossreid.models.backbone_registry import register_backbone

CHANNELS = (64, 256, 384, 512)  # of the stem and the three stages, for width 1
SCALES = 4
WIDTHS = {"x1_0": 1.0, "x0_75": 0.75, "x0_5": 0.5, "x0_25": 0.25}
# For each block of OSNet-AIN, whether its residual branch is normalised per image.
AIN = ((True, True), (False, True), (True, False))


class ConvNorm(nn.Module):
    """A convolution, an optional normalisation and an optional ReLU."""

    def __init__(
        self, inside: int, outside: int, size: int = 1, stride: int = 1, *, norm: str = "batch", relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, size, stride, size // 2, bias=False)
        self.bn = None
        if norm != "none":
            self.bn = nn.BatchNorm2d(outside) if norm == "batch" else nn.InstanceNorm2d(outside, affine=True)
        self.relu = nn.ReLU() if relu else None

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.conv(maps)
        maps = maps if self.bn is None else self.bn(maps)
        return maps if self.relu is None else self.relu(maps)


class LightConv(nn.Module):
    """A 3 x 3 convolution factored into one across channels and one within each, the paper's "Lite 3 x 3"."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(maps))))


class LightStream(nn.Module):
    """`depth` light convolutions, one after another, as OSNet-AIN names them."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(LightConv(channels) for _ in range(depth)))

    def forward(self, maps: Tensor) -> Tensor:
        return self.layers(maps)


class ScaleGate(nn.Module):
    """Weight channels of maps by the image's channel means: one gate, shared by all streams (equation 3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        pooled = maps.mean(dim=(2, 3), keepdim=True)
        return maps * torch.sigmoid(self.fc2(self.relu(self.fc1(pooled))))


class OmniScaleBlock(nn.Module):
    """x plus the gated sum of streams with receptive fields of 3, 5, 7 and 9 pixels.

    Args:
        ain: whether modules are named as in OSNet-AIN.
        norm: `none`; `inside`, per image in the residual branch, instead of batch norm; `outside`, per image of the
            sum.
    """

    def __init__(self, inside: int, outside: int, *, ain: bool, norm: str) -> None:
        super().__init__()
        middle = outside // 4
        self.conv1 = ConvNorm(inside, middle)
        if ain:
            self.conv2 = nn.ModuleList(LightStream(middle, depth) for depth in range(1, SCALES + 1))
        else:
            for depth, letter in enumerate("abcd", start=1):
                lights = [LightConv(middle) for _ in range(depth)]
                self.add_module(f"conv2{letter}", lights[0] if depth == 1 else nn.Sequential(*lights))
        self.gate = ScaleGate(middle)
        self.conv3 = ConvNorm(middle, outside, norm="none" if norm == "inside" else "batch", relu=False)
        self.downsample = None if inside == outside else ConvNorm(inside, outside, relu=False)
        self.IN = None if norm == "none" else nn.InstanceNorm2d(outside, affine=True)
        self.norm = norm
        self.relu = nn.ReLU()

    @property
    def streams(self) -> list[nn.Module]:
        """The streams, the shallowest first."""
        if hasattr(self, "conv2"):
            return list(self.conv2)
        return [self.get_submodule(f"conv2{letter}") for letter in "abcd"]

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        squeezed = self.conv1(maps)
        first, *others = (self.gate(stream(squeezed)) for stream in self.streams)
        residual = self.conv3(sum(others, first))
        if self.IN is not None and self.norm == "inside":
            residual = self.IN(residual)
        total = residual + shortcut
        return self.relu(self.IN(total) if self.IN is not None and self.norm == "outside" else total)


class OSNet(nn.Module):
    """Images `(B, 3, H, W)` to maps `(B, 512 width, H / 16, W / 16)`.

    Args:
        width: factor of the numbers of channels.
        ibn: instance normalisation of the first layer and of the sums of the first stage.
        ain: OSNet-AIN.
    """

    def __init__(self, width: float = 1.0, *, ibn: bool = False, ain: bool = False) -> None:
        super().__init__()
        stem, *stages = (int(channels * width) for channels in CHANNELS)
        self.conv1 = ConvNorm(3, stem, 7, 2, norm="instance" if ibn or ain else "batch")
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.order = ["conv1", "maxpool"]
        inside = stem
        for stage, channels in enumerate(stages):
            norms = ["inside" if inner else "none" for inner in AIN[stage]] if ain else ["none"] * 2
            if ibn and stage == 0:
                norms = ["outside"] * 2
            blocks: list[nn.Module] = []
            for norm in norms:
                blocks.append(OmniScaleBlock(inside, channels, ain=ain, norm=norm))
                inside = channels
            shrink = [nn.Sequential(ConvNorm(channels, channels), nn.AvgPool2d(2, 2))] if stage < 2 else []
            self._append(f"conv{stage + 2}", nn.Sequential(*blocks, *([] if ain else shrink)))
            if ain and shrink:
                self._append(f"pool{stage + 2}", shrink[0])
        self._append("conv5", ConvNorm(inside, inside))
        ends = ["conv1", "pool2" if ain else "conv2", "pool3" if ain else "conv3", "conv5"]
        self.feature_info = [
            {"module": end, "num_chs": channels, "reduction": reduction}
            for end, channels, reduction in zip(ends, (stem, *stages), (2, 8, 16, 16), strict=True)
        ]
        self.num_features = inside
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def _append(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.order.append(name)

    def forward_features(self, images: Tensor) -> Tensor:
        maps = images
        for name in self.order:
            maps = self.get_submodule(name)(maps)
        return maps

    forward = forward_features


def _register(name: str, width: float, *, ibn: bool = False, ain: bool = False) -> None:
    @register_backbone(name, last_stride=False)
    def make() -> nn.Module:
        return OSNet(width, ibn=ibn, ain=ain)


for _name, _width in WIDTHS.items():
    _register(f"osnet_{_name}", _width)
    _register(f"osnet_ain_{_name}", _width, ain=True)
_register("osnet_ibn_x1_0", 1.0, ibn=True)
