"""The faster precision of a model on this machine, measured by embedding some of the images in both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from crossreid.data.evaluation_loading import planned_batches
from crossreid.data.records import Record
from crossreid.inference.embedding_model import EmbeddingModel, Precision
from crossreid.training.bf16 import bf16_is_broken

WORTH_IT = 1.1
ALIKE = 0.99
ROUNDS, SECONDS = 3, 10.0
CLEAR = 3.0  # if bf16 is this many times slower in one round, it is not tried again


def faster_precision(model: EmbeddingModel, records: Sequence[Record], *, batch: int = 64) -> tuple[Precision, str]:
    """Return float32, or bf16 if it is at least 1.1 times as fast with cosines of at least 0.99; and the reason.

    A file with only one precision keeps it.

    The first images are embedded in both in turn, at most three times or for about 10 seconds, or only once if bf16 is
    far slower, as it is without bf16 units. The model is left in the returned precision.
    """
    if "bf16" not in model.precisions:
        return model.precisions[0], f"the only one of this file in {model.runtime}"
    if model.device.type == "cpu" and bf16_is_broken():
        return "float32", "this processor announces AMX, but bf16 ends in an illegal instruction here"
    seen = model.preprocessing
    images, modalities, positions, _ = next(
        planned_batches(
            records, [range(min(batch, len(records)))], height=seen.height, width=seen.width,
            interpolation=seen.interpolation, normalisation=seen.normalisation, skip=True,
        )
    )  # fmt: skip
    if not len(positions):
        return "float32", "none of the first images can be read"
    seconds: dict[Precision, list[float]] = {"float32": [], "bf16": []}
    rows = {}
    begun = time.perf_counter()
    while len(seconds["bf16"]) < ROUNDS and (len(seconds["bf16"]) < 1 or time.perf_counter() - begun < SECONDS):
        if seconds["bf16"] and seconds["bf16"][0] > CLEAR * seconds["float32"][0]:
            break
        for precision, taken in seconds.items():
            model.with_precision(precision)
            if precision not in rows:
                model.embed(images[:2], modalities[:2])  # warm-up: the first call is not representative
            start = time.perf_counter()
            rows[precision] = model.embed(images, modalities)
            taken.append(time.perf_counter() - start)
    gain = median(seconds["float32"]) / median(seconds["bf16"])
    cosine = float((rows["float32"] * rows["bf16"]).sum(1).min())
    chosen: Precision = "bf16" if gain >= WORTH_IT and cosine >= ALIKE else "float32"
    model.with_precision(chosen)
    return chosen, f"bf16 is {gain:.1f} times as fast on {len(positions)} images, cosine at least {cosine:.4f}"
