"""Names of networks that were not trained here: backbone, weights and input size instead of a run's folder.

Where a run's folder is expected, `backbone:NAME,size=HxW,flip=false,weights=FILE` names such a network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossreid.errors import CrossreidError
from crossreid.files import sha256_of

NOT_TRAINED = "pretrained, not trained here"
NOT_TRAINED_TITLE = NOT_TRAINED.capitalize()
HEIGHT, WIDTH = 256, 128

_PREFIX = "backbone:"
_FORM = re.compile(r"backbone:(?P<name>[^,]+),size=(?P<size>\d+x\d+),flip=(?P<flip>true|false),weights=(?P<weights>.+)")
_SHOWN = 12  # hexadecimal digits shown of a file's digest


@dataclass(frozen=True, slots=True)
class PretrainedNetwork:
    """A network by name. `weights` is `imagenet`, which means timm's weights for the name, or a file; height and width
    are those of its input, in pixels; `flip`: also embed an image's mirror image.

    Raises:
        CrossreidError: an invalid name, no weights, or an impossible size.
    """

    name: str
    weights: str = "imagenet"
    height: int = HEIGHT
    width: int = WIDTH
    flip: bool = False

    def __post_init__(self) -> None:
        if not self.name or "," in self.name:
            raise CrossreidError(f"backbone {self.name!r}: expected the name of one network, for example resnet50.")
        if self.weights in ("none", ""):
            raise CrossreidError(
                f"weights {self.weights or 'none'!r}: an untrained network is useless here. Expected imagenet, or a file of weights."
            )
        if self.weights != "imagenet":
            object.__setattr__(self, "weights", str(Path(self.weights).absolute()))

    @property
    def path(self) -> Path:
        """Return its name for use where a run's folder is expected."""
        flip = str(self.flip).lower()
        return Path(f"{_PREFIX}{self.name},size={self.height}x{self.width},flip={flip},weights={self.weights}")

    @property
    def facts(self) -> dict[str, Any]:
        """Return name, weights, the SHA-256 of a weights file, input size and flip."""
        digest = {"sha256": self._digest()} if self.weights != "imagenet" else {}
        return {
            "backbone": self.name, "weights": Path(self.weights).name, **digest, "height": self.height,
            "width": self.width, "flip": self.flip, "trained": NOT_TRAINED,
        }  # fmt: skip

    def __str__(self) -> str:
        """Return `NAME, weights imagenet`, or the same with a file's name and the beginning of its SHA-256."""
        if self.weights == "imagenet":
            return f"{self.name}, weights imagenet"
        return f"{self.name}, weights {Path(self.weights).name}, SHA-256 {self._digest()[:_SHOWN]}"

    def _digest(self) -> str:
        path = Path(self.weights)
        if not path.is_file():
            raise CrossreidError(f"weights file {path} not found. Expected `imagenet`, or an existing file.")
        return sha256_of(path)


def pretrained_at(path: Path | str) -> PretrainedNetwork | None:
    """Return the network named instead of a run's folder; None for a path.

    Raises:
        CrossreidError: it starts like such a name but is not one.
    """
    text = str(path)
    if not text.startswith(_PREFIX):
        return None
    found = _FORM.fullmatch(text)
    if found is None:
        if set(text) & set(",="):
            raise CrossreidError(
                f"{text}: expected backbone:NAME,size=HxW,flip=true or false,weights=imagenet or FILE."
            )
        return PretrainedNetwork(text.removeprefix(_PREFIX))
    height, width = size_of(found["size"])
    return PretrainedNetwork(found["name"], found["weights"], height, width, found["flip"] == "true")


def size_of(text: str) -> tuple[int, int]:
    """Parse `256x128` into (256, 128). Raises `CrossreidError` for anything else."""
    if re.fullmatch(r"\d{1,5}x\d{1,5}", text) is None:
        raise CrossreidError(f"size {text!r}: expected HEIGHTxWIDTH in pixels, for example 256x128.")
    height, width = map(int, text.split("x"))
    return height, width


def lasting(run: Path) -> Path:
    """Return the absolute path of a run or an exported file; a named network unchanged."""
    return run if pretrained_at(run) is not None else run.absolute()
