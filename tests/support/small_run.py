"""A small real run, started as a process of its own: by the tests of killing, resuming and several processes."""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from crossreid.training.loop import fit
from crossreid.training.options import TrainingOptions
from crossreid.training.signals import Interrupted

STEPS, BATCH = 8, 16


class Small(nn.Module):
    """An encoder with batch norm and dropout; one loss of each sample, one that compares all samples."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(16, 4)
        self.gather = lambda tensor: tensor

    def train_with(self, gather):
        self.gather = gather

    @property
    def encoders(self):
        return [self.encoder]

    def losses(self, batch):
        features = self.encoder(batch[0])
        features, logits, labels = map(self.gather, (features, self.classifier(features), batch[1]))
        away = torch.cdist(features, features)
        other = labels[:, None] != labels[None, :]
        hinge = (F.relu(2 - away) * other).sum() / other.sum()
        return {"identity": F.cross_entropy(logits.float(), labels), "ranking": hinge}


def batches(rank=0, world=1, pause=0.0):
    share = BATCH // world

    def of_epoch(epoch, first_step):
        for step in range(first_step, STEPS):
            generator = torch.Generator().manual_seed(1000 * epoch + step)
            images, labels = torch.randn(BATCH, 8, generator=generator), torch.randint(4, (BATCH,), generator=generator)
            time.sleep(pause)
            yield images[rank * share : (rank + 1) * share], labels[rank * share : (rank + 1) * share]

    return of_epoch


def run(
    out,
    *,
    epochs=3,
    pause=0.0,
    dropout=0.3,
    validate=None,
    loader=None,
    method=None,
    steps=STEPS,
    continue_with=(),
    **options,
):
    world = int(os.environ.get("WORLD_SIZE", 1))
    rank = int(os.environ.get("RANK", 0))
    training = TrainingOptions(epochs=epochs, accelerator="cpu", devices=world, **options)
    return fit(
        method or Small(dropout),
        loader or batches(rank, world, pause),
        steps_per_epoch=steps,
        options=training,
        out=Path(out),
        validate=validate,
        continue_with=continue_with,
    )


def one_of(kind, out):
    """A run of a kind, as a process of its own makes it."""
    noise = lambda method: {"rank-1": float(torch.rand(()))}  # noqa: E731
    if kind == "killable":
        run(out, pause=0.03, checkpoint_steps=3, ema=0.9, validate=noise)
    elif kind == "lasting":
        run(out, pause=5.0)  # 2 minutes: until the test ends it
    elif kind == "stoppable":
        try:
            run(out, pause=0.06, validate=noise)
        except Interrupted as interrupt:
            sys.exit(128 + interrupt.signal_number)
    elif kind == "disagreeing":
        up = 1 if int(os.environ["RANK"]) == 0 else -1
        numbers = iter((0.0, 0.1 * up, 0.2 * up))
        run(out, dropout=0.0, freeze_batch_statistics=True, validate=lambda method: {"rank-1": next(numbers)})
    else:
        more = {"freeze": ["backbone"], "unfreeze_after": 1.5} if kind == "frozen" else {}
        run(out, dropout=0.0, freeze_batch_statistics=True, optimiser={"lr": 1e-2}, **more)


if __name__ == "__main__":
    one_of(*sys.argv[1:])
