"""From images to embeddings: by a method's network, or straight from the pixels for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from crossreid.data.images import load_image
from crossreid.data.loader import evaluation_batches
from crossreid.data.records import Record
from crossreid.data.transforms import EvalTransform
from crossreid.options import Options


class EvaluationOptions(Options):
    metric: Literal["cosine", "euclidean"] = Field("cosine", description="How embeddings are compared.")
    batch: int = Field(64, ge=1, description="Images a forward pass.")
    flip: bool = Field(False, description="Average the embeddings of an image and its mirror image.")
    trials: int = Field(10, ge=1, description="Gallery draws to average over, where the protocol draws.")
    seed: int = Field(0, ge=0, description="Seed of those draws where no official list is found.")
    draw: Literal["official", "seeded", "random-choice"] = Field(
        "official",
        description="SYSU-MM01's gallery: `official` permutations (a seeded draw where the copy lacks them), `seeded`, or "
        "`random-choice` as in much public code.",
    )


@torch.inference_mode()
def embed(
    method: nn.Module,
    records: Sequence[Record],
    *,
    height: int,
    width: int,
    options: EvaluationOptions | None = None,
    workers: int = 0,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    advance: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Embeddings `(N, D)` float32 of the records, in their order, by `method.embed` in evaluation mode.

    Args:
        method: anything with `embed(images, modalities)`; it is left in the mode it was in.
        autocast: makes the context of each forward pass, for reduced precision.
        advance: called with the number of images done after each batch.
    """
    options = options or EvaluationOptions()
    rows: list[Tensor] = []
    batches = evaluation_batches(records, height=height, width=width, batch=options.batch, workers=workers)
    with _evaluating(method) as device:
        for images, modalities in batches:
            images, modalities = images.to(device), modalities.to(device)
            with autocast():
                embeddings = method.embed(images, modalities)  # type: ignore[operator]
                if options.flip:
                    embeddings = embeddings + method.embed(images.flip(3), modalities)  # type: ignore[operator]
            rows.append(nn.functional.normalize(embeddings.float(), dim=1).cpu())
            if advance is not None:
                advance(len(images))
    return torch.cat(rows).numpy()


@contextmanager
def _evaluating(method: nn.Module) -> Iterator[torch.device]:
    """The method in evaluation mode, on its device; afterwards in the mode that it was in."""
    was_training = method.training
    method.eval()
    try:
        yield next(method.parameters()).device
    finally:
        method.train(was_training)


@torch.inference_mode()
def observe(
    method: nn.Module,
    records: Sequence[Record],
    *,
    height: int,
    width: int,
    options: EvaluationOptions | None = None,
    workers: int = 0,
    tested: bool = False,
    advance: Callable[[int], object] | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """v `(N, W)` and z `(N, Z)`, float32, of the records by each stream of a three-branch `method`, not normalised.

    `tested` gives what test features are made of; it differs from what the network computes where z is random.
    """
    options = options or EvaluationOptions()
    if not hasattr(method, "observe"):
        raise ValueError(
            "the method has no branches to look into; expected variational_distillation, information_bottleneck or "
            "variational_information_bottleneck."
        )
    look = method.test_features if tested else method.observe
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    batches = evaluation_batches(records, height=height, width=width, batch=options.batch, workers=workers)
    with _evaluating(method) as device, torch.random.fork_rng():
        torch.manual_seed(0)  # a random z is the same each time
        for images, modalities in batches:
            for name, (v, z) in look(images.to(device), modalities.to(device)).items():  # type: ignore[operator]
                found.setdefault(name, []).append((v.float().cpu(), z.float().cpu()))
            if advance is not None:
                advance(len(images))
    return {
        name: (torch.cat([v for v, _ in parts]).numpy(), torch.cat([z for _, z in parts]).numpy())
        for name, parts in found.items()
    }


def pixels(records: Sequence[Record], *, height: int = 32, width: int = 16) -> np.ndarray:
    """Raw pixels as embeddings `(N, height * width)`: the grey image, small, with its mean and contrast taken out."""
    transform = EvalTransform(height, width)
    rows = []
    for record in records:
        grey = transform(load_image(record, at_least=(height, width))).mean(0).flatten()
        rows.append(nn.functional.normalize(grey - grey.mean(), dim=0))
    return torch.stack(rows).numpy()
