"""Names of networks that were not trained here: by backbone, weights and size of the input, without a run's folder.

Wherever a run's folder is expected, `backbone:NAME,size=HxW,flip=false,weights=FILE` stands for such a network.
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
_SHOWN = 12  # hexadecimal digits of a digest that tell two files apart


@dataclass(frozen=True, slots=True)
class PretrainedNetwork:
    """A network by name. `weights` are `imagenet`, those that timm brings for the name, or a file; height and width are
    of its input, in pixels; `flip`: an image's mirror image is embedded with it.

    Raises:
        CrossreidError: a name that cannot be one, no weights, or an impossible size.
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
                f"weights {self.weights or 'none'!r}: an untrained network is of no use here. Expected imagenet, or a file of weights."
            )
        if self.weights != "imagenet":
            object.__setattr__(self, "weights", str(Path(self.weights).absolute()))

    @property
    def path(self) -> Path:
        """What stands for it where a run's folder is expected."""
        flip = str(self.flip).lower()
        return Path(f"{_PREFIX}{self.name},size={self.height}x{self.width},flip={flip},weights={self.weights}")

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of it: name, weights, the SHA-256 of a file of weights, size of the input, flip."""
        digest = {"sha256": self._digest()} if self.weights != "imagenet" else {}
        return {
            "backbone": self.name, "weights": Path(self.weights).name, **digest, "height": self.height,
            "width": self.width, "flip": self.flip, "trained": NOT_TRAINED,
        }  # fmt: skip

    def __str__(self) -> str:
        """`NAME, weights imagenet`, or with a file's name and the beginning of its SHA-256."""
        if self.weights == "imagenet":
            return f"{self.name}, weights imagenet"
        return f"{self.name}, weights {Path(self.weights).name}, SHA-256 {self._digest()[:_SHOWN]}"

    def _digest(self) -> str:
        path = Path(self.weights)
        if not path.is_file():
            raise CrossreidError(f"weights file {path} not found. Expected `imagenet`, or an existing file.")
        return sha256_of(path)


def pretrained_at(path: Path | str) -> PretrainedNetwork | None:
    """The network that stands in the place of a run's folder; None for a path.

    Raises:
        CrossreidError: it begins as such a name and is none.
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
    """`256x128` to (256, 128). Raises `CrossreidError` for anything else."""
    if re.fullmatch(r"\d{1,5}x\d{1,5}", text) is None:
        raise CrossreidError(f"size {text!r}: expected HEIGHTxWIDTH in pixels, for example 256x128.")
    height, width = map(int, text.split("x"))
    return height, width


def lasting(run: Path) -> Path:
    """The absolute path of a run or an exported file; a named network as it is."""
    return run if pretrained_at(run) is not None else run.absolute()
