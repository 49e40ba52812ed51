"""LightGlue (Lindenberger, Sarlin and Pollefeys, ICCV 2023) on DISK or ALIKED features, by kornia, where that is installed.

Weights are files that the user has: nothing is downloaded. They are the state dicts that kornia itself loads: DISK's
(`depth-save.pth`) or ALIKED's, and LightGlue's of the same features (`disk_lightglue.pth`). The score is the sum of the
confidences of matches of at least `confidence`, as WildFusion counts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from crossreid.errors import CrossreidError
from crossreid.files import sha256_of
from crossreid.fusion.local_matching import Described, register_matcher
from crossreid.options import Options


class LightGlueOptions(Options):
    extractor: str = Field(description="File of the extractor's weights, or `random` to try the code.")
    matcher: str = Field(description="File of LightGlue's weights for these features, or `random`.")
    features: Literal["disk", "aliked"] = Field("disk", description="The kind of features.")
    size: int = Field(512, ge=32, le=4096, description="Pixels of the longer side that images are scaled to.")
    keypoints: int = Field(512, ge=8, le=20000, description="Most keypoints per image, strongest first.")
    confidence: float = Field(0.5, ge=0, le=1, description="Least confidence of a match that counts.")
    device: str = Field("cpu", description="cpu, or cuda.")


@register_matcher("lightglue")
class LightGlueMatcher:
    """DISK or ALIKED features matched by LightGlue."""

    def __init__(self, **options: Any) -> None:
        self.options = LightGlueOptions.model_validate(options)
        feature = _kornia()
        self._extractor = _extractor(feature, self.options).to(self.options.device).eval()
        self._matcher = _matcher(feature, self.options).to(self.options.device).eval()
        own = self.options
        self.settings = f"lightglue {own.features} {_digest(own.extractor)} {own.size} {own.keypoints}"

    @torch.inference_mode()
    def describe(self, image: np.ndarray) -> Described:
        """points `(K, 2)` in pixels of the scaled image, descriptors `(K, D)`, size `(2,)`, its width and height."""
        scale = self.options.size / max(image.shape[:2])
        height, width = (max(16, round(side * scale)) for side in image.shape[:2])
        pixels = torch.tensor(image).to(self.options.device).permute(2, 0, 1)[None].float() / 255
        pixels = torch.nn.functional.interpolate(
            pixels, (height, width), mode="bilinear", antialias=True, align_corners=False
        )
        if self.options.features == "disk":
            found = self._extractor(pixels, n=self.options.keypoints, pad_if_not_divisible=True)[0]
        else:
            found = self._extractor(pixels)[0]
        points, descriptors = found.keypoints.cpu().numpy(), found.descriptors.cpu().numpy()
        size = np.array([width, height], dtype=np.float32)
        return {"points": points.astype(np.float32), "descriptors": descriptors.astype(np.float32), "size": size}

    @torch.inference_mode()
    def compare(self, first: Described, second: Described) -> float:
        if not len(first["points"]) or not len(second["points"]):
            return 0.0
        found = self._matcher({"image0": self._tensors(first), "image1": self._tensors(second)})
        return float(found["scores"][0].sum())

    def match(self, first: np.ndarray, second: np.ndarray) -> float:
        return self.compare(self.describe(first), self.describe(second))

    def _tensors(self, described: Described) -> dict[str, torch.Tensor]:
        names = {"keypoints": "points", "descriptors": "descriptors", "image_size": "size"}
        return {name: torch.from_numpy(described[own])[None].to(self.options.device) for name, own in names.items()}


def _extractor(feature: Any, options: LightGlueOptions) -> torch.nn.Module:
    aliked = options.features == "aliked"
    network = feature.ALIKED("aliked-n16", max_num_keypoints=options.keypoints) if aliked else feature.DISK()
    if options.extractor != "random":
        state = _state(options.extractor)
        _load(network, state.get("extractor", state), options.extractor)
    return network


def _matcher(feature: Any, options: LightGlueOptions) -> torch.nn.Module:
    # Named features would be downloaded; without a name the same network is built from their settings.
    settings = {key: value for key, value in feature.LightGlue.features[options.features].items() if key != "weights"}
    network = feature.LightGlue(None, weights=None, filter_threshold=options.confidence, **settings)
    if options.matcher != "random":
        state = _state(options.matcher)
        for layer in range(network.conf.n_layers):  # as files of the first release name them
            for part in ("self_attn", "cross_attn"):
                state = {k.replace(f"{part}.{layer}", f"transformers.{layer}.{part}", 1) if k.startswith(f"{part}.{layer}.")
                         else k: v for k, v in state.items()}  # fmt: skip
        _load(network, state, options.matcher)
    return network


def _state(path: str) -> dict[str, Any]:
    """The tensors of a file, without running anything that it holds.

    Raises:
        CrossreidError: it is not there, or is no file of weights.
    """
    if not Path(path).is_file():
        raise CrossreidError(f"{path} not found; expected a file of weights as kornia loads it.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged files torch raises what it comes across
        raise CrossreidError(
            f"{path} cannot be read as weights ({type(error).__name__}). Download it again."
        ) from error
    if not isinstance(found, Mapping):
        raise CrossreidError(f"{path}: expected tensors by name, found {type(found).__name__}.")
    return dict(found)


def _load(network: torch.nn.Module, state: Mapping[str, Any], path: str) -> None:
    learned = {name for name, _ in network.named_parameters()}
    try:
        missing = learned & set(network.load_state_dict(dict(state), strict=False).missing_keys)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CrossreidError(f"{path} does not fit this network: {str(error).splitlines()[-1].strip()}") from error
    if missing:
        raise CrossreidError(
            f"{path} does not fit this network: {len(missing)} of its {len(learned)} tensors are missing, {min(missing)} for "
            "example. Are the weights those of the features that were named?"
        )


def _digest(path: str) -> str:
    return path if path == "random" else sha256_of(Path(path))


def _kornia() -> Any:
    try:
        import kornia.feature
    except ImportError as error:
        raise CrossreidError(
            "LightGlue needs kornia, which is in none of the extras: pip install kornia. `sift` does not need it."
        ) from error
    return kornia.feature
