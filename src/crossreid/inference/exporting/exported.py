"""What `crossreid export` reports about a file that it wrote."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Target = Literal["onnx", "openvino", "torch-export"]
ExportPrecision = Literal["float32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The cost of a precision below float32, against the run's own network in float32 on its test images.

    Attributes:
        mean_cosine, least_cosine: between the two embeddings of the same image, over `images` images.
        scores: by name (`mAP`, `rank-1`), the float32 network's and this file's, fractions in [0, 1]; empty if the
            run's data set is not available.
        protocol: the protocol of the scores.
        calibrated_on: for int8, the number of training images that gave the ranges; else 0.
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
        difference, images, compared_on: the difference of the network in float32, from which a file of lower precision
            was made; the number of images compared, and what they are.
        trained: how far the run was trained, if training is unfinished.
        log: the file with the exporter's output, if it printed anything.
        card: the model card beside the file.
        batch: the only number of images that the file takes at once; None for any number.
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
