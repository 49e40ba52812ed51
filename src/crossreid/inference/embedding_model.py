"""A model that embeds: prepared images in, embeddings out, whichever runtime computes them."""

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
from crossreid.runs.preprocessing import Preprocessing
from crossreid.training.bf16 import refuse_broken_bf16

Precision = Literal["float32", "bf16"]


class EmbeddingModel(ABC):
    """A network that embeds images.

    Attributes:
        source: the run's folder, the exported file, or `PretrainedNetwork.path` of a network that was not trained here.
        method: the method's name; `pretrained` of a network that was not trained here.
        preprocessing: what `transform` does to a decoded image.
        dimension: D of its embeddings.
        fingerprint: 64 hexadecimal digits; equal if and only if embeddings may be compared.
        flip: whether an image's mirror image is embedded with it, as the recipe's evaluation does.
        runtime: torch or onnx.
        precision: float32, the reference, or bf16.
        trained: how much of its training it has had, where that is not all of it; else empty.
        calibration: what `crossreid calibrate` made of it, by which scores are probabilities; None where nothing did.
    """

    source: Path
    method: str
    preprocessing: Preprocessing
    dimension: int
    fingerprint: str
    flip: bool
    runtime: Literal["torch", "onnx"]
    precision: Precision
    device: torch.device
    trained: str = ""
    calibration: Calibration | None = None

    @property
    def transform(self) -> EvalTransform:
        """`(H, W, 3)` uint8 RGB, as `crossreid.data.images.load_image` returns it, to `(3, height, width)` float32."""
        return self.preprocessing.transform

    @abstractmethod
    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        """Transformed images `(B, 3, H, W)`, `Modality` values `(B,)` to `(B, D)` float32, L2-normalised, on the CPU."""

    @abstractmethod
    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        """Likewise, but not normalised: what is averaged over a tracklet before it is brought to length 1."""

    def embed_sets(self, images: Tensor, modalities: Tensor, sets: Sequence[Sequence[int]]) -> Tensor:
        """`(S, D)` embeddings of S sets (tracklets), each the positions of its images among `images`.

        Raises:
            CrossreidError: a set without an image.
        """
        if any(len(positions) == 0 for positions in sets):
            raise CrossreidError("a set is empty; expected an image or more.")
        features = self.features(images, modalities)
        means = torch.stack([features[list(positions)].mean(0) for positions in sets])
        return nn.functional.normalize(means, dim=1)

    def with_precision(self, precision: Precision) -> EmbeddingModel:
        """Embed in float32 or bf16 from now on; returns the model itself.

        Raises:
            CrossreidError: an unknown precision, or one that this runtime or processor has not.
        """
        if precision not in get_args(Precision):
            raise CrossreidError(f"precision {precision!r}: expected float32 or bf16.")
        if precision == "bf16":
            if self.runtime == "onnx":
                raise CrossreidError(
                    f"{self.source}: an exported file computes in float32. Use precision float32 with it."
                )
            if self.device.type == "cpu":
                refuse_broken_bf16()
        self.precision = precision
        return self


def prepared(model: EmbeddingModel, records: Sequence[Record]) -> tuple[Tensor, Tensor]:
    """The images of records as the model takes them, `(N, 3, H, W)` float32, and their modalities `(N,)` int64."""
    size = (model.preprocessing.height, model.preprocessing.width)
    images = torch.stack([model.transform(load_image(record, at_least=size)) for record in records])
    return images, torch.tensor([int(record.modality) for record in records])
