"""torchvision's classification networks that timm lacks, as backbones under torchvision's names, with its weights.

Only their convolutions up to the last map are used; a classifier, or a convolution in its place, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models._api import WeightsEnum

from crossreid.data.normalisation import Normalisation
from crossreid.models.backbone_registry import register_backbone
from crossreid.models.hub import it_answers
from crossreid.models.weight_files import WeightsError

# The modules that an image passes up to the last map, in order, by prefix of a network's name.
PARTS: dict[str, tuple[str, ...]] = {
    "alexnet": ("features",),
    "squeezenet": ("features",),
    "mobilenet_v": ("features",),
    "efficientnet_v2_": ("features",),
    "swin_": ("features", "norm"),
    "mnasnet": ("layers",),
    "regnet_": ("stem", "trunk_output"),
    "shufflenet_v2_": ("conv1", "maxpool", "stage2", "stage3", "stage4", "conv5"),
    "googlenet": (
        *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"),
        *("inception4a", "inception4b", "inception4c", "inception4d", "inception4e", "maxpool4"),
        *("inception5a", "inception5b"),
    ),
}
NAMES = (
    *("alexnet", "googlenet", "squeezenet1_0", "squeezenet1_1"),
    *("shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "shufflenet_v2_x1_5", "shufflenet_v2_x2_0"),
    *("mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"),
    *("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small"),
    *("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
    *("regnet_x_400mf", "regnet_x_800mf", "regnet_x_1_6gf", "regnet_x_3_2gf", "regnet_x_8gf", "regnet_x_16gf"),
    *("regnet_x_32gf", "regnet_y_400mf", "regnet_y_800mf", "regnet_y_1_6gf", "regnet_y_3_2gf", "regnet_y_8gf"),
    *("regnet_y_16gf", "regnet_y_32gf", "regnet_y_128gf"),
    *("swin_t", "swin_s", "swin_b", "swin_v2_t", "swin_v2_s", "swin_v2_b"),
)
# GoogLeNet's weights came from another library; torchvision's forward converts ImageNet's scale to that library's.
HALVES = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BARE: dict[str, dict[str, Any]] = {"googlenet": {"aux_logits": False, "init_weights": True}}
# Pooling or merging patches, not a stride, makes their last map smaller.
NO_LAST_STRIDE = ("alexnet", "squeezenet", "swin_")
PROBE = 64


class Torchvision(nn.Module):
    """The parts of a torchvision network that an image passes up to the last map, under torchvision's names.

    A stage ends where the next module makes the map smaller, as a small image shows.
    """

    def __init__(self, whole: nn.Module, parts: Sequence[str]) -> None:
        super().__init__()
        for part in parts:
            self.add_module(part, whole.get_submodule(part))
        self.parts = tuple(parts)
        shapes = self._passed()
        self.feature_info = [
            {"module": path, "num_chs": channels}
            for (path, channels, side), after in zip(shapes, [*shapes[1:], None], strict=True)
            if after is None or after[2] < side
        ]
        self.num_features = shapes[-1][1]

    def forward_features(self, images: Tensor) -> Tensor:
        maps = images
        for part in self.parts:
            maps = self.get_submodule(part)(maps)
        return maps

    forward = forward_features

    @torch.no_grad()
    def _passed(self) -> list[tuple[str, int, int]]:
        """Each module of the chain, with the channels and one side of its map for a small image."""
        found, training = [], self.training
        self.eval()
        maps = torch.zeros(1, 3, PROBE, PROBE)
        for part in self.parts:
            module = self.get_submodule(part)
            chain = module.named_children() if isinstance(module, nn.Sequential) else [("", module)]
            for name, inner in chain:
                maps = inner(maps)
                last = maps.shape[1] != maps.shape[2]  # Swin is channels last; maps of a square image are square
                channels, side = (maps.shape[1], maps.shape[2]) if last else (maps.shape[3], maps.shape[1])
                found.append((f"{part}.{name}".rstrip("."), channels, side))
        self.train(training)
        return found


def _weights(name: str) -> WeightsEnum:
    weights: WeightsEnum = get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    return weights


def _fetched(name: str) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of a network, from its cache or the internet.

    Raises:
        WeightsError: they are not in the cache and cannot be downloaded.
    """
    weights = _weights(name)
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]
    reason = "they are not in its cache, and their host cannot be reached"
    if cached.is_file() or it_answers(weights.url):
        try:
            return dict(weights.get_state_dict(progress=False, check_hash=True))
        except Exception as error:  # network, disk, or a damaged file
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    raise WeightsError(
        f"ImageNet weights of {name!r} could not be fetched by torchvision ({reason}). "
        "Expected internet access or a filled cache. "
        "Give a local file with `method.backbone.weights=FILE`, or `none` to start from random weights."
    )


def _register(name: str) -> None:
    wanted = _weights(name).transforms()
    seen = HALVES if name == "googlenet" else Normalisation(tuple(wanted.mean), tuple(wanted.std))  # type: ignore[arg-type]
    parts = next(parts for beginning, parts in PARTS.items() if name.startswith(beginning))

    @register_backbone(
        name,
        mean=seen.mean,
        std=seen.std,
        interpolation=wanted.interpolation.value,
        last_stride=not name.startswith(NO_LAST_STRIDE),
    )
    def make(pretrained: bool = False) -> nn.Module:
        network = Torchvision(get_model(name, weights=None, **BARE.get(name, {})), parts)
        if pretrained:
            given, own = _fetched(name), network.state_dict().keys()
            network.load_state_dict({key: value for key, value in given.items() if key in own})
        return network


for _name in NAMES:
    _register(_name)
