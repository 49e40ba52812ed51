"""ResNets with instance and batch normalisation (IBN), whose early layers keep features that are invariant to
appearance.

Source: Pan et al., "Two at once: enhancing learning and generalization capacities via IBN-Net", ECCV 2018, section 3.2.
IBN-a: in the first normalisation of each block of the first three stages, half the channels are normalised per image
and half over the batch. IBN-b: the stem, and the sums that end the first two stages, are normalised per image before
their activation. SE-ResNets of the same kind have squeeze and excitation (Hu et al., CVPR 2018) in each block, ResNeXts
groups of channels (Xie et al., CVPR 2017).

Module names are those of the authors' release, so that its files load: `resnet50_ibn_a` from
`resnet50_ibn_a-d9d0bb7b.pth`, and so on.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crossreid.models.backbone_registry import register_backbone

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)


class IBN(nn.Module):
    """Normalise half the channels of `(B, C, H, W)` over each image, the rest over the batch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.by_image = channels // 2
        self.IN = nn.InstanceNorm2d(self.by_image, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.by_image)

    def forward(self, maps: Tensor) -> Tensor:
        first, second = maps[:, : self.by_image], maps[:, self.by_image :]
        return torch.cat([self.IN(first), self.BN(second)], dim=1)


class SqueezeExcitation(nn.Module):
    """Weight the channels of `(B, C, H, W)` by the means of all channels, through a bottleneck of a sixteenth."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 16
        down, up = nn.Linear(channels, inner, bias=False), nn.Linear(inner, channels, bias=False)
        self.fc = nn.Sequential(down, nn.ReLU(), up, nn.Sigmoid())

    def forward(self, maps: Tensor) -> Tensor:
        return maps * self.fc(maps.mean(dim=(2, 3)))[:, :, None, None]


class ResidualBlock(nn.Module):
    """A block of two convolutions, or a bottleneck of three, with its shortcut.

    Args:
        mixed: whether its first normalisation is an `IBN`.
        instance: whether its sum is normalised per image.
    """

    def __init__(
        self,
        inside: int,
        width: int,
        *,
        stride: int,
        bottleneck: bool,
        mixed: bool,
        instance: bool,
        excited: bool,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.out = width * (4 if bottleneck else 1)
        width *= 2 if groups > 1 else 1
        first = nn.Conv2d(inside, width, 1, bias=False) if bottleneck else _conv3(inside, width, stride)
        self.conv1, self.bn1, self.relu1 = first, IBN(width) if mixed else nn.BatchNorm2d(width), nn.ReLU()
        self.conv2, self.bn2 = _conv3(width, width, stride if bottleneck else 1, groups), nn.BatchNorm2d(width)
        if bottleneck:
            self.relu2, self.conv3 = nn.ReLU(), nn.Conv2d(width, self.out, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(self.out)
        self.se = SqueezeExcitation(self.out) if excited else None
        self.IN = nn.InstanceNorm2d(self.out, affine=True) if instance else None
        self.downsample = None
        if stride != 1 or inside != self.out:
            shortcut = nn.Conv2d(inside, self.out, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(self.out))
        self.relu = nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        shortcut = maps if self.downsample is None else self.downsample(maps)
        maps = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(maps)))))
        if hasattr(self, "conv3"):
            maps = self.bn3(self.conv3(self.relu2(maps)))
        if self.se is not None:
            maps = self.se(maps)
        maps = maps + shortcut
        return self.relu(maps if self.IN is None else self.IN(maps))


class IBNResNet(nn.Module):
    """Images `(B, 3, H, W)` to maps `(B, 2048, H / 32, W / 32)`, or 512 channels for depths 18 and 34.

    Args:
        depth: 18, 34, 50, 101 or 152.
        kind: `a` or `b`.
        excited: whether its blocks have squeeze and excitation.
        groups: of the 3 x 3 convolutions, which have twice the channels if there are several; ResNeXt 32 x 4d has
            32.
    """

    def __init__(self, depth: int, kind: str, *, excited: bool = False, groups: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.InstanceNorm2d(64, affine=True) if kind == "b" else nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.feature_info = [{"module": "relu", "num_chs": 64, "reduction": 2}]
        inside = 64
        for stage, (width, count) in enumerate(zip(WIDTHS, DEPTHS[depth], strict=True), start=1):
            blocks = []
            for index in range(count):
                block = ResidualBlock(
                    inside,
                    width,
                    stride=2 if index == 0 and stage > 1 else 1,
                    bottleneck=depth >= 50,
                    mixed=kind == "a" and stage < 4,
                    instance=kind == "b" and stage < 3 and index == count - 1,
                    excited=excited,
                    groups=groups,
                )
                inside = block.out
                blocks.append(block)
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            self.feature_info.append({"module": f"layer{stage}", "num_chs": inside, "reduction": 2 ** (stage + 1)})
        self.num_features = inside
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, images: Tensor) -> Tensor:
        maps = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, len(WIDTHS) + 1):
            maps = self.get_submodule(f"layer{stage}")(maps)
        return maps

    forward = forward_features


def _conv3(inside: int, outside: int, stride: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, 1, groups=groups, bias=False)


def _register(name: str, depth: int, kind: str, *, excited: bool = False, groups: int = 1) -> None:
    @register_backbone(name)
    def make() -> nn.Module:
        return IBNResNet(depth, kind, excited=excited, groups=groups)


for _depth in DEPTHS:
    for _kind in "ab":
        _register(f"resnet{_depth}_ibn_{_kind}", _depth, _kind)
for _depth in (50, 101, 152):
    _register(f"se_resnet{_depth}_ibn_a", _depth, "a", excited=True)
    _register(f"resnext{_depth}_ibn_a", _depth, "a", groups=32)
