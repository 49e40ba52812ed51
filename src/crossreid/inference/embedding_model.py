"""A model that embeds: prepared images in, embeddings out, with any runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from crossreid.data.images import load_image
from crossreid.data.records import Record
from crossreid.data.transforms import EvalTransform
from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration import Calibration
from crossreid.inference.engines.names import Engine
from crossreid.runs.preprocessing import Preprocessing
from crossreid.training.bf16 import refuse_broken_bf16

Precision = Literal["float32", "bf16", "fp16", "int8"]


class EmbeddingModel(ABC):
    """A network that embeds images.

    Attributes:
        source: the run's folder, the exported file, or `PretrainedNetwork.path` for a network that was not trained
            here.
        method: the method's name; `pretrained` for a network that was not trained here.
        preprocessing: what `transform` does to a decoded image.
        dimension: D of its embeddings.
        fingerprint: 64 hexadecimal digits; equal if and only if embeddings are comparable.
        flip: whether the mirror image is embedded too, as in the recipe's evaluation.
        runtime: the engine: torch, onnx, openvino or torch-export.
        precision: float32 (the reference), bf16, or that of an exported file: fp16 or int8.
        precisions: the supported ones, the initial one first.
        trained: how far it was trained, if training is unfinished; else empty.
        calibration: the output of `crossreid calibrate`, which turns scores into probabilities; None if there is none.
    """

    source: Path
    method: str
    preprocessing: Preprocessing
    dimension: int
    fingerprint: str
    flip: bool
    runtime: Engine
    precision: Precision
    precisions: tuple[Precision, ...] = ("float32",)
    device: torch.device
    trained: str = ""
    calibration: Calibration | None = None

    @property
    def transform(self) -> EvalTransform:
        """`(H, W, 3)` uint8 RGB, as returned by `crossreid.data.images.load_image`, to `(3, height, width)` float32."""
        return self.preprocessing.transform

    @abstractmethod
    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        """Embed transformed images `(B, 3, H, W)` of `Modality` `(B,)`: `(B, D)` float32, L2-normalised, on the CPU."""

    @abstractmethod
    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        """As `embed`, but not normalised: features are averaged over a tracklet before L2 normalisation."""

    def embed_sets(self, images: Tensor, modalities: Tensor, sets: Sequence[Sequence[int]]) -> Tensor:
        """Return `(S, D)` embeddings of S sets (tracklets), each given by the indices of its images in `images`.

        Raises:
            CrossreidError: a set has no image.
        """
        if any(len(positions) == 0 for positions in sets):
            raise CrossreidError("a set is empty; expected at least one image.")
        features = self.features(images, modalities)
        means = torch.stack([features[list(positions)].mean(0) for positions in sets])
        return nn.functional.normalize(means, dim=1)

    def with_precision(self, precision: Precision) -> EmbeddingModel:
        """Embed in one of `precisions` from now on; returns the model itself.

        Raises:
            CrossreidError: an unknown precision, or one not supported by this model, runtime or processor.
        """
        if precision not in get_args(Precision):
            raise CrossreidError(f"precision {precision!r}: expected {' or '.join(get_args(Precision))}.")
        if precision not in self.precisions:
            raise CrossreidError(
                f"{self.source}: {self._what} supports {' or '.join(self.precisions)}, not {precision}. Use precision "
                f"{self.precisions[0]}."
            )
        if precision == "bf16" and self.device.type == "cpu":
            refuse_broken_bf16()
        self.precision = precision
        return self

    @property
    def _what(self) -> str:
        """The engine's name, for messages."""
        return "a network of torch" if self.runtime == "torch" else f"this exported file in {self.runtime}"


def prepared(model: EmbeddingModel, records: Sequence[Record]) -> tuple[Tensor, Tensor]:
    """Return the records' images, transformed for the model, `(N, 3, H, W)` float32, and modalities `(N,)` int64."""
    size = (model.preprocessing.height, model.preprocessing.width)
    images = torch.stack([model.transform(load_image(record, at_least=size)) for record in records])
    return images, torch.tensor([int(record.modality) for record in records])
