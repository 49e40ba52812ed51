"""A network in torch: a run's, or one that was not trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crossreid.evaluation.embedding import embeddings_of, features_of_images
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.methods.method import Network
from crossreid.runs.preprocessing import Preprocessing


class TorchModel(EmbeddingModel):
    """A run's network, or one that was not trained here. `network` is the method itself, in evaluation mode."""

    runtime = "torch"
    precisions = ("float32", "bf16")

    def __init__(
        self, source: Path, network: Network, method: str, preprocessing: Preprocessing, fingerprint: str, flip: bool,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.source, self.method, self.preprocessing = source, method, preprocessing
        self.fingerprint, self.flip, self.device, self.precision = fingerprint, flip, device, "float32"
        self.network = network.eval().to(device)
        blank = torch.zeros(1, 3, preprocessing.height, preprocessing.width)
        self.dimension = self.embed(blank, torch.zeros(1)).shape[1]

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._through(embeddings_of, images, modalities)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._through(features_of_images, images, modalities)

    @torch.inference_mode()
    def _through(self, what: Any, images: Tensor, modalities: Tensor) -> Tensor:
        images = images.to(self.device, non_blocking=True).to(memory_format=torch.channels_last)
        modalities = modalities.to(self.device, dtype=torch.int64, non_blocking=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            found: Tensor = what(self.network, images, modalities, flip=self.flip)
        return found.cpu()
