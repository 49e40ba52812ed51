"""What is done to a decoded image before a network sees it, as a run's recipe or an exported file says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from crossreid.data.levels import Levels, checked
from crossreid.data.transforms import MEAN, STD, EvalTransform, Interpolation
from crossreid.errors import CrossreidError


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Resizing (antialiased) to `height` by `width` pixels, values 0 to 1 less `mean` by `std`, channels as `colours` names.

    `levels` say how 16 bits become 8; they are written where they are others than `full`, so that all other models keep their
    fingerprints.
    """

    height: int
    width: int
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    colours: str = "RGB"
    levels: Levels = "full"

    @property
    def transform(self) -> EvalTransform:
        """`(H, W, 3)` uint8 RGB to `(3, height, width)` float32."""
        return EvalTransform(self.height, self.width, self.interpolation)

    def to_json(self) -> dict[str, Any]:
        given = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        levels = given.pop("levels")
        if isinstance(levels, dict):
            levels = {str(camera): list(value) for camera, value in sorted(levels.items())}
        return given if levels == "full" else given | {"levels": levels}

    @classmethod
    def from_json(cls, given: Mapping[str, Any], where: Path) -> Preprocessing:
        """What `to_json` wrote.

        Raises:
            CrossreidError: a key is missing, or this version does not do that preprocessing; `where` is named.
        """
        try:
            read = cls(
                int(given["height"]), int(given["width"]), given["interpolation"],
                tuple(given["mean"]), tuple(given["std"]), given["colours"], checked(given.get("levels", "full")),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CrossreidError(f"{where}: its preprocessing is incomplete ({error!r}). Export it again.") from error
        ours = cls(read.height, read.width, read.interpolation, levels=read.levels)
        if read != ours or read.interpolation not in get_args(Interpolation) or min(read.height, read.width) < 1:
            raise CrossreidError(
                f"{where}: expected images of {ours.colours} with mean {ours.mean}, deviation {ours.std}, resized by "
                f"{' or '.join(get_args(Interpolation))}; the file says {read}. Export it again with this version."
            )
        return read
