"""A MindSpore network where a torch network is expected: what validates, evaluates and compares takes it as any other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class CellNetwork(nn.Module):
    """A cell with `embed(images, modalities)`; tensors go in and come out as torch's, on the CPU. It has no gradient."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell
        self.nothing = nn.Parameter(torch.zeros(0), requires_grad=False)  # says where its tensors lie

    def train(self, mode: bool = True) -> CellNetwork:
        """Put the cell into training or evaluation mode."""
        super().train(mode)
        self.cell.set_train(mode)
        return self

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to `(B, D)`; of variational distillation they have length 1, as embeddings do."""
        found = self.cell.embed(as_cell_tensor(images), modalities.cpu().numpy())
        return torch.from_numpy(np.array(found.asnumpy(), dtype=np.float32))

    def embed(self, images: Tensor, modalities: Tensor) -> Tensor:
        """`(B, 3, H, W)`, `(B,)` to L2-normalised embeddings `(B, D)`, float32."""
        return nn.functional.normalize(self.features(images, modalities), dim=1)


def as_cell_tensor(tensor: Tensor) -> Any:
    """A torch tensor as MindSpore's."""
    import mindspore

    return mindspore.Tensor(tensor.detach().cpu().contiguous().numpy())
