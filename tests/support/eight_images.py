"""A batch of eight images of four identities, one of which is alone, in both modalities."""

import torch

from crossreid.data.batch import Batch

CLASSES = 4


def batch_of():
    generator = torch.Generator().manual_seed(1)
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 2, 3])
    modalities = torch.tensor([0, 1, 0, 1, 0, 1, 1, 0])
    return Batch(torch.randn(8, 3, 32, 16, generator=generator), labels, modalities, torch.zeros_like(labels))
