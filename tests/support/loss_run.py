"""A small real run with every loss that remembers something, a margin head and fixed batches, as a process of its own makes it."""

import os
import sys
from pathlib import Path

import torch

from crossreid.data.batch import Batch
from crossreid.methods.baseline import Baseline, BaselineOptions
from crossreid.training.loop import fit
from crossreid.training.options import TrainingOptions

STEPS, CLASSES = 4, 4
LOSSES = {
    "circle": 0.02,
    "hetero_centre_triplet": 0.5,
    "centre": 0.01,
    "cross_batch_memory": {"size": 20, "start": 1},
}


def batch_of(step):
    """Every identity once in each modality."""
    generator = torch.Generator().manual_seed(step)
    labels, modalities = torch.arange(8) // 2, torch.arange(8) % 2
    return Batch(torch.randn(8, 3, 32, 16, generator=generator), labels, modalities, torch.zeros_like(labels))


def own(batch, rows):
    return Batch(*(None if part is None else part[rows] for part in batch))


def main(out):
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    torch.manual_seed(0)
    backbone = {"name": "test_resnet", "weights": "none"}
    head = {"name": "subcentre", "scale": 16.0}
    options = BaselineOptions(backbone=backbone, head=head, losses=LOSSES, losses_features="neck")
    rows = slice(rank * 8 // world, (rank + 1) * 8 // world)
    fit(
        Baseline(options, CLASSES),
        lambda epoch, first: [own(batch_of(step), rows) for step in range(first, STEPS)],
        steps_per_epoch=STEPS,
        options=TrainingOptions(
            epochs=1, accelerator="cpu", devices=world, freeze_batch_statistics=True,
            optimiser={"name": "sgd", "lr": 1e-3}, schedule={"kind": "constant"},
        ),
        out=Path(out),
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
