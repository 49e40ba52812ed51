"""A file written by `crossreid export`, for any engine: its metadata, and batches of a size that it accepts."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from crossreid.errors import CrossreidError
from crossreid.evaluation.calibration_files import from_json
from crossreid.inference.embedding_model import EmbeddingModel
from crossreid.inference.exporting.exported_file import (
    DYNAMIC,
    INPUTS,
    KEY,
    OUTPUTS,
    read_facts,
    refuse_changed_facts,
    refuse_changed_graph,
)
from crossreid.runs.preprocessing import Preprocessing

Signature = Mapping[str, tuple[str, Sequence[int | None]]]
"""Per input or output, its NumPy data type and its shape; None for a dimension of any size."""


class ExportedModel(EmbeddingModel):
    """A network in a file.

    Attributes:
        batch: the number of images that it takes at once; None for any number.
    """

    batch: int | None

    def _take(self, path: Path, said: str | None, graph: str) -> None:
        """Take over the facts in the file, and compare the digest `graph` with theirs.

        Raises:
            CrossreidError: the file has no metadata, or the graph differs.
        """
        self._facts = facts = read_facts(said, path, self.runtime)  # type: ignore[arg-type]
        self.source = path
        self.preprocessing = Preprocessing.from_json(facts["preprocessing"], path)
        self.method, self.fingerprint = facts["method"], facts["fingerprint"]
        self.dimension, self.flip = facts["dimension"], facts["flip"]
        self.trained = str(facts.get("trained", ""))
        self.batch = None if facts.get("batch", DYNAMIC) == DYNAMIC else facts["batch"]
        self.precision = facts.get("precision", "float32")
        self.precisions = (self.precision,)
        refuse_changed_graph(facts, graph, path)

    def _confirm(self, given: Signature, found: Signature) -> None:
        """Check that the graph's inputs and outputs match the file's facts, and that the facts are as written.

        Raises:
            CrossreidError: they differ.
        """
        self._refuse_other_shapes(given, found)
        refuse_changed_facts(self._facts, self.source)
        if "calibration" in self._facts:
            self.calibration = from_json(self._facts["calibration"], self.source)

    def _refuse_other_shapes(self, given: Signature, found: Signature) -> None:
        types = {name: kind for name, (kind, _) in given.items()}
        if types != INPUTS or not found.keys() >= set(OUTPUTS):
            raise CrossreidError(
                f"{self.source}: expected a graph with the inputs {', '.join(INPUTS)} and the outputs {', '.join(OUTPUTS)}; found "
                f"{', '.join(f'{name} {kind}' for name, kind in types.items()) or 'none'} and {', '.join(found) or 'none'}. "
                "Export it again."
            )
        seen = self.preprocessing
        stated = {"images": [3, seen.height, seen.width]} | {name: [self.dimension] for name in OUTPUTS}
        for name, shape in stated.items():
            rows, *own = {**given, **found}[name][1]
            if own != shape or rows not in (None, self.batch):
                raise CrossreidError(
                    f"{self.source}: its metadata {KEY!r} says {name} ({_shape([self.batch, *shape])}), its graph "
                    f"({_shape([rows, *own])}). Export it again."
                )

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._run("embeddings", images, modalities)

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        return self._run("features", images, modalities)

    def _run(self, output: str, images: Tensor, modalities: Tensor) -> Tensor:
        """Return the rows of all images; for a fixed batch size the last batch is padded with its last image."""
        if self.batch is None or len(images) == self.batch:
            return self._compute(output, images, modalities)
        rows = []
        for first in range(0, len(images), self.batch):
            positions = torch.arange(first, first + self.batch).clamp(max=len(images) - 1)
            rows.append(self._compute(output, images[positions], modalities[positions]))
        return torch.cat(rows)[: len(images)] if rows else torch.empty(0, self.dimension)

    @abstractmethod
    def _compute(self, output: str, images: Tensor, modalities: Tensor) -> Tensor:
        """Return `embeddings` or `features` of one batch that the file accepts, `(B, D)` float32, on the CPU."""


def arrays(images: Tensor, modalities: Tensor) -> dict[str, np.ndarray]:
    """Return the inputs for a runtime that takes NumPy arrays."""
    return {
        "images": np.ascontiguousarray(images.cpu().numpy(), dtype=np.float32),
        "modalities": modalities.cpu().numpy().astype(np.int64),
    }


def _shape(sizes: Sequence[int | None]) -> str:
    return ", ".join("B" if size is None else str(size) for size in sizes)
