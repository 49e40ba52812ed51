"""From images to embeddings: by a method's network, or directly from pixels for comparison."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from crossreid.data.evaluation_loading import evaluation_batches, readable_batches
from crossreid.data.images import load_image
from crossreid.data.normalisation import IMAGENET, Normalisation
from crossreid.data.pixel_cache import CacheChoice
from crossreid.data.records import DataError, Record
from crossreid.data.tracklets import Place
from crossreid.data.transforms import EvalTransform, Interpolation
from crossreid.errors import CrossreidError
from crossreid.options import Options


class EvaluationOptions(Options):
    metric: Literal["cosine", "euclidean"] = Field("cosine", description="Metric for comparing embeddings.")
    batch: int = Field(64, ge=1, description="Images per forward pass.")
    unit_length: bool = Field(True, description="Normalise embeddings to length 1 before comparing them.")
    flip: bool = Field(False, description="Average the embeddings of an image and its mirror image.")
    sets: tuple[Literal["i2i", "i2v", "v2i", "v2v"], ...] = Field(
        (),
        description="Comparisons to score, images (i) or videos (v) as query and as gallery; empty for those of "
        "the data set.",
    )
    frames: int = Field(
        8, ge=0, description="Frames to embed per video, one from each of this many equal chunks; 0 for all."
    )
    frame: Place = Field(
        "middle",
        description="The frame to take from a chunk. `first` takes chunks of ceil(length / frames) and repeats the last frame "
        "past the end, as in VKD's release.",
    )
    trials: int = Field(10, ge=1, description="Gallery draws to average over, if the protocol draws.")
    seed: int = Field(0, ge=0, description="Seed of these draws if no official list is found.")
    draw: Literal["official", "seeded", "random-choice"] = Field(
        "official",
        description="How SYSU-MM01's gallery is drawn: by the `official` permutations (seeded if the copy lacks "
        "them), `seeded`, or by `random-choice` as in much public code.",
    )

    @model_validator(mode="after")
    def _length_counts(self) -> Self:
        if self.metric == "cosine" and not self.unit_length:
            raise CrossreidError(
                "unit_length=false: cosine distance does not depend on the length of embeddings; expected euclidean"
            )
        return self


@torch.inference_mode()
def embed(
    method: nn.Module,
    records: Sequence[Record],
    *,
    height: int,
    width: int,
    interpolation: Interpolation = "bilinear",
    normalisation: Normalisation = IMAGENET,
    options: EvaluationOptions | None = None,
    workers: int = 0,
    cache: CacheChoice | None = None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    advance: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Return embeddings `(N, D)` float32 of the records, in their order, by `method.embed` in evaluation mode.

    With `unit_length` off, `method.features` is used.

    Args:
        method: anything with `embed(images, modalities)`; its mode is restored afterwards. One that takes side
            information also gets the cameras of the records.
        autocast: creates the context of each forward pass, for reduced precision.
        advance: called with the number of embedded images after each batch.
    """
    options = options or EvaluationOptions()
    rows: list[Tensor] = []
    with _evaluating(method) as device:
        batches = evaluation_batches(
            records, height=height, width=width, batch=options.batch, workers=workers, interpolation=interpolation,
            normalisation=normalisation, device=device, cache=cache,
        )  # fmt: skip
        for images, modalities in batches:
            images, modalities = images.to(device), modalities.to(device)
            cameras = _cameras(records[len(rows) * options.batch :][: len(images)]).to(device)
            with autocast():
                embedded = embeddings_of if options.unit_length else features_of_images
                embeddings = embedded(method, images, modalities, cameras, flip=options.flip)
            rows.append(embeddings.cpu())
            if advance is not None:
                advance(len(images))
    return torch.cat(rows).numpy()


@torch.inference_mode()
def embed_sets(
    method: nn.Module,
    sets: Sequence[Sequence[Record]],
    *,
    height: int,
    width: int,
    interpolation: Interpolation = "bilinear",
    normalisation: Normalisation = IMAGENET,
    options: EvaluationOptions | None = None,
    workers: int = 0,
    cache: CacheChoice | None = None,
    skip: bool = False,
    advance: Callable[..., object] | None = None,
) -> np.ndarray:
    """Return embeddings `(N, D)` float32 of N sets of images, of any size: the mean of their `method.features`.

    They are normalised to length 1, unless the options say otherwise.

    An image in several sets passes the network once; nothing is padded.

    Args:
        method: anything with `features(images, modalities)`; its mode is restored afterwards. One that takes side
            information also gets the cameras of the records.
        skip: leave an unreadable image out of its sets, with a warning; else it is an error that names the image.
        advance: called once with (0, images), then with the number of embedded images after each batch.

    Raises:
        DataError: a set is empty, or none of its images can be read.
    """
    options = options or EvaluationOptions()
    owners: dict[Record, list[int]] = {}
    for place, records in enumerate(sets):
        if not records:
            raise DataError(f"set {place} of {len(sets)} is empty; expected at least one image.")
        for record in records:
            owners.setdefault(record, []).append(place)
    images_of = list(owners)
    if advance is not None:
        advance(0, len(images_of))
    sums: Tensor | None = None
    counts = torch.zeros(len(sets))
    read = np.zeros(len(images_of), dtype=bool)
    with _evaluating(method) as device:
        batches = readable_batches(
            images_of, height=height, width=width, batch=options.batch, workers=workers,
            interpolation=interpolation, normalisation=normalisation, skip=skip, device=device, cache=cache,
        )  # fmt: skip
        for images, modalities, places in batches:
            if len(images):
                images, modalities = images.to(device), modalities.to(device)
                cameras = _cameras([images_of[int(place)] for place in places]).to(device)
                features = features_of_images(method, images, modalities, cameras, flip=options.flip).cpu()
                pairs = [(row, own) for row, place in enumerate(places) for own in owners[images_of[int(place)]]]
                rows, own = torch.tensor(pairs).T
                sums = torch.zeros(len(sets), features.shape[1]) if sums is None else sums
                sums.index_add_(0, own, features[rows])
                counts.index_add_(0, own, torch.ones(len(own)))
                read[places.numpy()] = True
            if advance is not None:
                advance(len(images))
    bad = [str(images_of[place].path) for place in np.flatnonzero(~read)]
    if bad:
        warnings.warn(f"{len(bad)} unreadable images were left out of their sets: {', '.join(bad[:5])}", stacklevel=2)
    empty = (counts == 0).nonzero()
    if len(empty):
        first = sets[int(empty[0])][0]
        raise DataError(
            f"identity {first.identity!r}, camera {first.camera}: none of the images of {first.path} and its tracklet "
            "can be read. Run `crossreid check DATASET ROOT --deep` and remove what it names."
        )
    assert sums is not None
    means = sums / counts[:, None]
    return (nn.functional.normalize(means, dim=1) if options.unit_length else means).numpy()


def embeddings_of(
    method: nn.Module, images: Tensor, modalities: Tensor, cameras: Tensor | None = None, *, flip: bool
) -> Tensor:
    """Return embeddings `(B, D)` float32, L2-normalised; with `flip`, of the sum of the image's and its mirror image's.

    Cameras `(B,)` are for a method that takes side information; None if they are unknown.
    """
    given = {"cameras": cameras} if _takes_cameras(method) else {}
    embeddings = method.embed(images, modalities, **given)  # type: ignore[operator]
    if flip:
        embeddings = embeddings + method.embed(images.flip(3), modalities, **given)  # type: ignore[operator]
    return nn.functional.normalize(embeddings.float(), dim=1)


def features_of_images(
    method: nn.Module, images: Tensor, modalities: Tensor, cameras: Tensor | None = None, *, flip: bool
) -> Tensor:
    """Return features `(B, D)` float32, to be averaged over a set; with `flip`, the mean of the image's and its mirror
    image's.

    Cameras as in `embeddings_of`.
    """
    features_of, given = method.features, [modalities]
    if _takes_cameras(method):
        features_of, given = method.features_by_camera, [modalities, cameras]  # type: ignore[list-item]
    features = features_of(images, *given)  # type: ignore[operator]
    if flip:
        features = (features + features_of(images.flip(3), *given)) / 2  # type: ignore[operator]
    return features.float()


def _takes_cameras(method: nn.Module) -> bool:
    return bool(getattr(method, "takes_side_information", False))


def _cameras(records: Sequence[Record]) -> Tensor:
    return torch.tensor([record.camera for record in records], dtype=torch.long)


@contextmanager
def _evaluating(method: nn.Module) -> Iterator[torch.device]:
    """Yield the method's device, with the method in evaluation mode; its mode is restored afterwards."""
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
    interpolation: Interpolation = "bilinear",
    normalisation: Normalisation = IMAGENET,
    options: EvaluationOptions | None = None,
    workers: int = 0,
    cache: CacheChoice | None = None,
    tested: bool = False,
    advance: Callable[[int], object] | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return v `(N, W)` and z `(N, Z)`, float32, of the records for each stream of a three-branch `method`, not
    normalised.

    `tested` returns what test features are made of, which differs from the network's output if z is random.
    """
    options = options or EvaluationOptions()
    if not hasattr(method, "observe"):
        raise CrossreidError(
            "the method has no branches to observe; expected variational_distillation, information_bottleneck or "
            "variational_information_bottleneck."
        )
    look = method.test_features if tested else method.observe
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    with _evaluating(method) as device, torch.random.fork_rng():
        batches = evaluation_batches(
            records, height=height, width=width, batch=options.batch, workers=workers, interpolation=interpolation,
            normalisation=normalisation, device=device, cache=cache,
        )  # fmt: skip
        torch.manual_seed(0)  # a random z is the same every time
        for images, modalities in batches:
            for name, (v, z) in look(images.to(device), modalities.to(device)).items():  # type: ignore[operator]
                found.setdefault(name, []).append((v.float().cpu(), z.float().cpu()))
            if advance is not None:
                advance(len(images))
    return {
        name: (torch.cat([v for v, _ in parts]).numpy(), torch.cat([z for _, z in parts]).numpy())
        for name, parts in found.items()
    }


class Pixels(nn.Module):
    """Raw pixels instead of a network's features: maps `(B, 3, H, W)` to `(B, H * W)`, as `pixels` does."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(0))

    def features(self, images: Tensor, modalities: Tensor) -> Tensor:
        grey = images.mean(1).flatten(1)
        return nn.functional.normalize(grey - grey.mean(1, keepdim=True), dim=1)


def pixels(records: Sequence[Record], *, height: int = 32, width: int = 16) -> np.ndarray:
    """Return raw pixels as embeddings `(N, height * width)`: the small grey image, with mean and contrast removed."""
    transform = EvalTransform(height, width)
    rows = []
    for record in records:
        grey = transform(load_image(record, at_least=(height, width))).mean(0).flatten()
        rows.append(nn.functional.normalize(grey - grey.mean(), dim=0))
    return torch.stack(rows).numpy()
