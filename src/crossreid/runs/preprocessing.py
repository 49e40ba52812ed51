"""Preprocessing of a decoded image before the network, as a run's recipe or an exported file defines it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from crossreid.data.levels import Levels, checked
from crossreid.data.normalisation import IMAGENET, Normalisation, Triple
from crossreid.data.transforms import EvalTransform, Interpolation
from crossreid.errors import CrossreidError


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Antialiased resizing to `height` by `width` pixels, values in [0, 1] minus `mean`, divided by `std`, channels as
    `colours`.

    `levels` says how 16-bit values become 8-bit; it is written only if it is not `full`, so that all other models keep
    their fingerprints.
    """

    height: int
    width: int
    interpolation: Interpolation = "bilinear"
    mean: Triple = IMAGENET.mean
    std: Triple = IMAGENET.std
    colours: str = "RGB"
    levels: Levels = "full"

    @property
    def normalisation(self) -> Normalisation:
        return Normalisation(self.mean, self.std)

    @property
    def transform(self) -> EvalTransform:
        """Return the transform of `(H, W, 3)` uint8 RGB to `(3, height, width)` float32."""
        return EvalTransform(self.height, self.width, self.interpolation, self.normalisation)

    def to_json(self) -> dict[str, Any]:
        given = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        levels = given.pop("levels")
        if isinstance(levels, dict):
            levels = {str(camera): list(value) for camera, value in sorted(levels.items())}
        return given if levels == "full" else given | {"levels": levels}

    @classmethod
    def from_json(cls, given: Mapping[str, Any], where: Path) -> Preprocessing:
        """Read what `to_json` returned.

        Raises:
            CrossreidError: a key is missing, or this version does not support that preprocessing; `where` is named.
        """
        try:
            read = cls(
                int(given["height"]), int(given["width"]), given["interpolation"],
                _triple(given["mean"]), _triple(given["std"]), given["colours"], checked(given.get("levels", "full")),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CrossreidError(f"{where}: its preprocessing is incomplete ({error!r}). Export it again.") from error
        known = read.colours == "RGB" and read.interpolation in get_args(Interpolation)
        if not known or min(read.height, read.width) < 1 or min(read.std) <= 0:
            raise CrossreidError(
                f"{where}: expected RGB images of at least one pixel, deviations above 0, resized by "
                f"{' or '.join(get_args(Interpolation))}; the file says {read}. Export it again with this version."
            )
        return read


def _triple(given: Any) -> Triple:
    red, green, blue = (float(value) for value in given)
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"{given!r} is not three finite numbers")
    return red, green, blue
