"""Any timm backbone that names its stages, as an encoder: images in, a feature map out.

The re-ID habit of keeping the last stage at the resolution of the one before (last stride 1; Luo et al., "Bag of
tricks", CVPRW 2019) is applied to whatever the last stage strides with, not to one architecture's attribute names.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import timm
import torch
from pydantic import Field
from timm.layers import BlurPool2d
from torch import Tensor, nn

from crossreid.errors import CrossreidError
from crossreid.models.attention import BottleneckAttention, NonLocal
from crossreid.models.channel_affinity import put_affinity_after
from crossreid.options import Options

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.LeakyReLU, nn.ELU, nn.PReLU)


class WeightsError(CrossreidError):
    """Weights that cannot be read or do not fit the network they were meant for."""


class BackboneOptions(Options):
    name: str = Field("resnet50", description="Name of a timm model that names its stages.")
    weights: str = Field(
        "imagenet",
        description="`imagenet` (by timm's name, from the internet), `none`, or a local .safetensors / .pth file.",
    )
    last_stride_one: bool = Field(True, description="Keep the last stage at the resolution of the one before it.")
    last_activation: bool = Field(True, description="Keep the activation that the feature map comes out of.")
    attention: Literal["none", "bam"] = Field(
        "none", description="`bam`: a bottleneck attention module after each of stages 1 to 3."
    )
    non_local: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="How many blocks of each of the last stages a non-local block follows; AGW's is [0, 2, 3, 0]."
    )
    stage_attention: bool = Field(
        False, description="Channel attention by affinity, with a learned gain, before each of stages 2 to 4."
    )


class Backbone(nn.Module):
    """A timm network without its head: `(B, 3, H, W)` to a feature map `(B, width, h, w)`.

    A transformer's tokens come as a map `(B, width, tokens, 1)`, without its class and register tokens.

    Raises:
        CrossreidError: no such timm model, or one that an option of `options` cannot be applied to.
        WeightsError: its weights are not there or do not fit.
    """

    def __init__(self, options: BackboneOptions) -> None:
        super().__init__()
        self.network = create_network(options)
        self.width = int(self.network.num_features)  # type: ignore[arg-type]
        if options.last_stride_one:
            stride_one(self.network, options.name)
        if not options.last_activation:
            take_last_activation(self.network, options.name)
        if options.attention == "bam":
            put_bam_after_stages(self.network, options.name)
        if any(options.non_local):
            put_non_local_after_blocks(self.network, options.name, options.non_local)
        if options.stage_attention:
            put_attention_before_stages(self.network, options.name)
        paths = last_stage(self.network, options.name) if _feature_rows(self.network) else []
        self.last_stage = [f"network.{path}" for path in paths]

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.network.forward_features(images)  # type: ignore[operator]
        if maps.ndim == 3:
            tokens = maps[:, int(getattr(self.network, "num_prefix_tokens", 0)) :]
            return tokens.transpose(1, 2).unsqueeze(-1)
        if maps.shape[1] != self.width and maps.shape[-1] == self.width:
            return maps.permute(0, 3, 1, 2)
        return maps


def create_network(options: BackboneOptions) -> nn.Module:
    """The timm network that `options` names, without its classifier, with the weights asked for."""
    if not timm.is_model(options.name):
        near = difflib.get_close_matches(options.name, timm.list_models(), n=3)
        raise CrossreidError(
            f"backbone {options.name!r} is no timm model. "
            + (f"Near it: {', '.join(near)}." if near else "See timm.list_models() for the names.")
        )
    imagenet = options.weights == "imagenet"
    try:
        network = _headless(options.name, pretrained=imagenet)
    except Exception as error:
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if not imagenet:
            raise CrossreidError(f"backbone {options.name!r} cannot be built by timm ({reason}).") from error
        raise WeightsError(
            f"ImageNet weights of {options.name!r} could not be fetched by timm ({reason}). "
            "Expected internet access or a filled cache. "
            "Give a local file with `method.backbone.weights=FILE`, or `none` to start from random weights."
        ) from error
    if options.weights not in ("imagenet", "none"):
        load_local_weights(network, Path(options.weights), options.name)
    return network


def _headless(name: str, *, pretrained: bool) -> nn.Module:
    # Transformers take any image size only when asked to, and other networks refuse to be asked.
    for extra in ({"global_pool": "", "dynamic_img_size": True}, {"global_pool": ""}):
        try:
            network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **extra)
        except (TypeError, AssertionError):
            continue
        return network
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def load_local_weights(network: nn.Module, path: Path, name: str) -> None:
    """Load a local .safetensors or .pth state dict; a classifier in the file is left aside, nothing else is.

    Raises:
        WeightsError: the file is missing, unreadable, or its keys or shapes are not those of the network.
    """
    given = read_state(path)
    expected = network.state_dict()
    classifier = classifier_keys(network, given)
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    missing = sorted(expected.keys() - given.keys() - optional)
    unexpected = sorted(given.keys() - expected.keys() - classifier)
    shapes = [
        f"{key}: expected {tuple(expected[key].shape)}, found {tuple(given[key].shape)}"
        for key in expected.keys() & given.keys()
        if expected[key].shape != given[key].shape
    ]
    faults = [
        f"{len(keys)} {what} ({', '.join(sorted(keys)[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("keys missing", missing), ("keys unknown", unexpected), ("shapes that differ", shapes))
        if keys
    ]
    if faults:
        raise WeightsError(
            f"weights in {path} do not fit the backbone {name!r}: {'; '.join(faults)}. "
            "Give a file written for this architecture, or change `method.backbone.name`."
        )
    network.load_state_dict({key: value for key, value in given.items() if key in expected}, strict=False)


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors file, or from a .pth file without running any code in it."""
    if not path.is_file():
        raise WeightsError(f"weights file {path} not found. Expected `imagenet`, `none`, or an existing file.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Mapping[str, object] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"weights file {path} cannot be read as tensors ({reason}). "
            "Expected .safetensors, or a .pth that holds tensors only."
        ) from error
    for wrapper in ("state_dict", "model"):
        inner = state.get(wrapper) if isinstance(state, Mapping) else None
        if isinstance(inner, Mapping):
            state = inner
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"weights file {path} holds no plain state dict. Expected names mapped to tensors.")
    return {str(key).removeprefix("module."): value for key, value in state.items() if isinstance(value, Tensor)}


def classifier_keys(network: nn.Module, given: Mapping[str, Tensor]) -> set[str]:
    """The keys of `given` that belong to the classifier the network was built without."""
    config = getattr(network, "pretrained_cfg", None) or {}
    names = config.get("classifier") or "fc"
    prefixes = tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))
    return {key for key in given if key.startswith((*prefixes, "fc.", "classifier."))}


def stages(network: nn.Module, name: str) -> list[str]:
    """Module names of the network's stages, stem first, from timm's own description of them."""
    rows = _feature_rows(network)
    if not rows:
        raise CrossreidError(f"backbone {name!r} does not name its stages. Choose a timm model with `feature_info`.")
    return [row["module"] for row in rows]


def _feature_rows(network: nn.Module) -> list[dict[str, Any]]:
    info: Any = getattr(network, "feature_info", None) or []
    return info if isinstance(info, list) else info.info


def last_stage(network: nn.Module, name: str) -> list[str]:
    """Names of the modules that follow the last stage but one."""
    rows = stages(network, name)
    previous = rows[-2] if len(rows) > 1 else ""
    paths = [path for path, _ in network.named_modules()]
    earlier = (i for i, path in enumerate(paths) if path == previous or path.startswith(f"{previous}."))
    return paths[max(earlier, default=len(paths)) + 1 :]


def take_last_activation(network: nn.Module, name: str) -> None:
    """Replace by nothing the activation that the feature map comes out of, in place.

    Raises:
        CrossreidError: the map does not come out of an activation that is used there alone.
    """
    calls: list[tuple[str, Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: calls.append((path, output)))
        for path, module in network.named_modules()
        if isinstance(module, ACTIVATIONS)
    ]
    training = network.training
    try:
        with torch.no_grad():
            maps = network.eval().forward_features(torch.zeros(1, 3, 96, 96))  # type: ignore[operator]
    except (RuntimeError, AssertionError, AttributeError):
        calls.clear()
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    path = calls[-1][0] if calls else ""
    if not calls or calls[-1][1] is not maps or sum(other == path for other, _ in calls) > 1:
        raise CrossreidError(
            f"backbone {name!r}: its feature map does not come out of an activation. "
            "Set `method.backbone.last_activation=true` for it."
        )
    parent, _, key = path.rpartition(".")
    setattr(network.get_submodule(parent), key, nn.Identity())


def put_bam_after_stages(network: nn.Module, name: str) -> None:
    """A `BottleneckAttention` at the end of stages 1 to 3, those before the last, in place.

    Raises:
        CrossreidError: the network's stages are no sequences of blocks.
    """
    rows = stages(network, name)
    channels = {row["module"]: row["num_chs"] for row in _feature_rows(network)}
    for row in rows[-4:-1]:
        stage = network.get_submodule(row)
        if not isinstance(stage, nn.Sequential):
            raise CrossreidError(
                f"backbone {name!r}: its stage {row} is no sequence of blocks that attention can follow. "
                "Set `method.backbone.attention=none` for it, or choose a ResNet."
            )
        stage.add_module("bam", BottleneckAttention(channels[row]))


def put_non_local_after_blocks(network: nn.Module, name: str, counts: Sequence[int]) -> None:
    """A `NonLocal` after each of the last `counts[i]` blocks of stage i of the last `len(counts)`, in place.

    Raises:
        CrossreidError: the network has not as many stages, or one of them is no sequence of as many blocks.
    """
    rows = stages(network, name)
    channels = {row["module"]: row["num_chs"] for row in _feature_rows(network)}
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
                stage.add_module(f"non_local_{key}", NonLocal(channels[path]))


def stride_one(network: nn.Module, name: str) -> None:
    """Give every strided layer that follows the last stage but one a stride of one, in place.

    Raises:
        CrossreidError: that does not double the height and the width of the network's feature map.
    """
    before = _map_size(network)
    for path in last_stage(network, name):
        layer = network.get_submodule(path)
        if getattr(layer, "stride", 1) in (1, (1, 1)):
            continue
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
            if layer.kernel_size[0] % 2 == 0:  # an even kernel would now take a row and a column off the map
                layer.padding = "same"
        elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d | BlurPool2d):
            parent, _, key = path.rpartition(".")
            setattr(network.get_submodule(parent), key, nn.Identity())
    after = _map_size(network)
    if before is None or after != (2 * before[0], 2 * before[1]):
        raise CrossreidError(
            f"backbone {name!r}: the stride of its last stage cannot be taken out. "
            "Set `method.backbone.last_stride_one=false` for it."
        )


def put_attention_before_stages(network: nn.Module, name: str) -> None:
    """Attention by `channel_affinity` on what stages 2 to 4, the last three, take in, with a learned gain each, in place.

    Raises:
        CrossreidError: the network's stages do not hand on maps `(B, C, H, W)`.
    """
    modules = dict(network.named_modules())
    sources = [row for row in stages(network, name)[-4:-1] if row in modules]
    convolutional = _map_size(network) is not None
    for source in sources:
        put_affinity_after(modules[source])
    if not sources or not convolutional or _map_size(network) is None:
        raise CrossreidError(
            f"backbone {name!r} has no stages that hand on maps of channels. "
            "Set `method.backbone.stage_attention=false` for it, or choose a convolutional network."
        )


@torch.no_grad()
def _map_size(network: nn.Module) -> tuple[int, int] | None:
    """Height and width of the map `(1, width, h, w)` of a small square image; None where it gives no such map."""
    training = network.training
    try:
        maps = network.eval().forward_features(torch.zeros(1, 3, 96, 96))  # type: ignore[operator]
    except (RuntimeError, AssertionError, AttributeError):
        return None
    finally:
        network.train(training)
    return tuple(maps.shape[2:]) if maps.ndim == 4 and maps.shape[1] == network.num_features else None
