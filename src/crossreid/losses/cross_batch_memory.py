"""Cross-batch memory (XBM): a batch is also compared with the embeddings of earlier batches, which drift slowly.

Source: Wang et al., "Cross-batch memory for embedding learning", CVPR 2020, algorithm 1 with the contrastive loss. As
in the authors' release, the pairs within the batch, with gradient to both sides, are a separate term from the first
step on.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from crossreid.errors import CrossreidError
from crossreid.losses.pairs import pair_masks
from crossreid.losses.weighing import register_loss

Over = Literal["anchors", "pairs"]


def contrastive_loss(similarity: Tensor, positives: Tensor, negatives: Tensor, *, margin: float, over: Over) -> Tensor:
    """The contrastive loss of cosines `(A, B)`: 1 - s of positive pairs plus s of the negative pairs above `margin`.

    Summed over pairs and averaged over the A anchors, as published, or if `over` is `pairs` the mean over the positive
    pairs plus the mean over the negative pairs above the margin, which does not grow with the memory.
    """
    violating = negatives & (similarity > margin)
    pull, push = ((1 - similarity) * positives).sum(), (similarity * violating).sum()
    if over == "anchors":
        return (pull + push) / len(similarity)
    return pull / positives.sum().clamp_min(1) + push / violating.sum().clamp_min(1)


@register_loss("cross_batch_memory")
class CrossBatchMemory(nn.Module):
    """The contrastive loss within the batch, plus that of the batch against a queue of the last `size` embeddings.

    From step `start` on, batches enter the queue before they are compared with it, and no sample is compared with
    itself. The queue has no gradient and is saved in the checkpoint. A batch larger than the queue is refused.

    Args:
        width: D.
        size: embeddings that the queue holds; a few thousand, or as many as there are training images.
        start: number of steps before it is used, because embeddings change too fast at first.
        margin: of negative pairs, a cosine.
        memory_weight: weight of the comparison with the queue relative to that within the batch.
        over: what the loss is averaged over.
    """

    memory: Tensor
    memory_labels: Tensor
    position: Tensor
    steps: Tensor

    def __init__(
        self,
        width: int,
        classes: int,
        *,
        size: Annotated[int, Field(ge=1)] = 4096,
        start: Annotated[int, Field(ge=0)] = 1000,
        margin: Annotated[float, Field(ge=-1, lt=1)] = 0.5,
        memory_weight: Annotated[float, Field(ge=0)] = 1.0,
        over: Over = "anchors",
    ) -> None:
        super().__init__()
        self.size, self.start, self.margin, self.memory_weight, self.over = size, start, margin, memory_weight, over
        self.register_buffer("memory", torch.zeros(size, width))
        self.register_buffer("memory_labels", torch.full((size,), -1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """`(B, D)`, normalised here, `(B,)` int64, to a scalar.

        Raises:
            CrossreidError: the batch is larger than the queue.
        """
        if len(features) > self.size:
            raise CrossreidError(
                f"cross_batch_memory: a batch of {len(features)} embeddings does not fit into a queue of {self.size}. Raise its "
                "`size`."
            )
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(features.float(), dim=1)
            among, own = unit @ unit.T, torch.arange(len(labels), device=labels.device)
            within = self._loss(among, *pair_masks(labels))
            if self.training:
                # Without waiting for the device: before the start the same rows are written, but as empty ones.
                used = self.steps >= self.start
                own = (self.position + own) % self.size
                self.memory.index_copy_(0, own, unit.detach())
                self.memory_labels.index_copy_(0, own, torch.where(used, labels, -1))
                self.position.copy_((self.position + len(labels) * used) % self.size)
                self.steps.add_(1)
            # A copy, so that a gradient computed after the next batch has entered still belongs to this one.
            memory, known = self.memory.clone(), self.memory_labels
            same = labels[:, None] == known[None, :]
            positives = same.scatter(1, own[:, None], False) if self.training else same
            across = self._loss(unit @ memory.T, positives, ~same & (known >= 0)[None, :])
        return within + self.memory_weight * across

    def _loss(self, similarity: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        return contrastive_loss(similarity, positives, negatives, margin=self.margin, over=self.over)
