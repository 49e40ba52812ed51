"""What `crossreid export` reports of a file that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Target = Literal["onnx", "openvino", "torch-export"]
ExportPrecision = Literal["float32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What a precision below float32 costs, against the run's own network in float32 on its test images.

    Attributes:
        mean_cosine, least_cosine: of the embeddings of the same image, over `images` images.
        scores: by name (`mAP`, `rank-1`), the float32 network's and this file's, fractions in [0, 1]; empty where the run's
            data set is not at hand.
        protocol: by which they were measured.
        calibrated_on: of int8, how many training images gave the ranges; else 0.
    """

    mean_cosine: float
    least_cosine: float
    images: int
    scores: Mapping[str, tuple[float, float]]
    protocol: str = ""
    calibrated_on: int = 0


@dataclass(frozen=True, slots=True)
class Exported:
    """The file, D, and the largest difference from torch in any value of any embedding.

    Attributes:
        difference, images, compared_on: of the network in float32, from which a file of lower precision was made; on how many images
            of what.
        trained: how much of its training the run has had, where that is not all of it.
        log: the file of what the exporter printed, where it printed anything.
        card: the model card beside the file.
        batch: the one number of images that the file takes at once; None where it takes any.
    """

    path: Path
    dimension: int
    difference: float
    images: int
    trained: str = ""
    target: Target = "onnx"
    precision: ExportPrecision = "float32"
    fidelity: Fidelity | None = None
    log: Path | None = None
    card: Path | None = None
    compared_on: str = "rendered people"
    batch: int | None = None
